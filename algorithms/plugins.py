"""Methods from files outside this package, which the environment variable R3DM_METHODS names."""

import importlib.util
import os
import re
import sys
from pathlib import Path

from algorithms.learner import Learner
from benchmark.errors import BenchmarkError

VARIABLE = "R3DM_METHODS"


def methods(paths: str, taken: set[str]) -> dict[str, type[Learner]]:
    """Loads methods.

    Args:
        paths: of files, separated as in PATH; each defines one method and gives it its own name.
        taken: names that exist already.

    Returns:
        the classes by name.

    Raises:
        BenchmarkError: a file is missing, its name cannot be used, or it is not one method.
    """
    found: dict[str, type[Learner]] = {}
    for path in map(Path, filter(None, paths.split(os.pathsep))):
        if path.stem in taken | found.keys():
            raise BenchmarkError(
                f"{VARIABLE}: there is a method {path.stem!r} already; rename {path}"
            )
        found[path.stem] = _method(path)
    return found


def _method(path: Path) -> type[Learner]:
    """The one method that a file defines."""
    if not path.is_file():
        raise BenchmarkError(f"{VARIABLE}: there is no file {path}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*\.py", path.name):
        raise BenchmarkError(
            f"{VARIABLE}: {path.name} names the method; use lower-case letters, digits and _ only"
        )
    name = f"outside.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = [each for each in vars(module).values() if getattr(each, "__module__", None) == name]
    classes = [each for each in own if isinstance(each, type) and issubclass(each, Learner)]
    if len(classes) != 1:
        raise BenchmarkError(
            f"{VARIABLE}: {path} must define exactly one subclass of Learner, not {len(classes)}"
        )
    return classes[0]
