"""The methods of the benchmark. This table is the only registry: one name, one class, one file."""

import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from algorithms import plugins

if TYPE_CHECKING:
    from algorithms.learner import Learner

#: name, which is also that of the file -> class
_CLASSES = {
    "r3dm": "R3DM",
    "qmix": "QMIX",
    "acorm": "ACORM",
    "cia": "CIA",
    "gomarl": "GoMARL",
    "cds": "CDS",
    "emc": "EMC",
}
#: name -> file of a method outside this package
PLUGINS = plugins.files(os.environ.get(plugins.VARIABLE, ""), taken=_CLASSES)


class _Algorithms(Mapping[str, "type[Learner]"]):
    """name -> class, which is imported when it is first asked for: torch takes seconds."""

    def __getitem__(self, name: str) -> "type[Learner]":
        if name in PLUGINS:
            return plugins.load(PLUGINS[name])
        class_name = _CLASSES[name]  # KeyError, as of any mapping
        return getattr(importlib.import_module(f"{__name__}.{name}"), class_name)

    def __iter__(self) -> Iterator[str]:
        return iter([*_CLASSES, *PLUGINS])

    def __len__(self) -> int:
        return len(_CLASSES) + len(PLUGINS)

    def __contains__(self, name: object) -> bool:
        return name in _CLASSES or name in PLUGINS


ALGORITHMS = _Algorithms()


def source_file(name: str) -> Path:
    """The file that defines a method."""
    return PLUGINS.get(name) or Path(__file__).parent / f"{name}.py"
