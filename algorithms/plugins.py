"""Methods from files outside this package, which the environment variable R3DM_METHODS names."""

import importlib.util
import os
import re
import sys
from collections.abc import Container
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, first_line

if TYPE_CHECKING:
    from algorithms.learner import Learner

VARIABLE = "R3DM_METHODS"


def files(paths: str, taken: Container[str]) -> dict[str, Path]:
    """The files of methods by the methods' names.

    Args:
        paths: of files, separated as in PATH; each defines one method and gives it its own name.
        taken: names that exist already.

    Raises:
        BenchmarkError: a file is missing, or its name cannot be used.
    """
    found: dict[str, Path] = {}
    for path in map(Path, filter(None, paths.split(os.pathsep))):
        if path.stem in taken or path.stem in found:
            raise BenchmarkError(
                f"{VARIABLE}: there is a method {path.stem!r} already; rename {path}"
            )
        if not path.is_file():
            raise BenchmarkError(f"{VARIABLE}: there is no file {path}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*\.py", path.name):
            raise BenchmarkError(
                f"{VARIABLE}: {path.name} names the method; use lower-case letters, digits and _"
                " only"
            )
        found[path.stem] = path.absolute()
    return found


@cache
def load(path: Path) -> "type[Learner]":
    """The one method that a file defines.

    Raises:
        BenchmarkError: there is not exactly one, or Python cannot load the file.
    """
    from algorithms.learner import Learner

    name = f"plugin.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # its name ends in .py
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise BenchmarkError(f"{VARIABLE}: {path} cannot be loaded ({reason})") from error
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == name]
    classes = [value for value in own if isinstance(value, type) and issubclass(value, Learner)]
    if len(classes) != 1:
        raise BenchmarkError(
            f"{VARIABLE}: {path} must define exactly one subclass of Learner, not {len(classes)}"
        )
    return classes[0]
