"""Arguments that several commands have: the same name for the same thing everywhere."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.envs import BACKENDS


def add_study(parser: argparse.ArgumentParser) -> None:
    """``STUDY``, which ``training.study_folder.find`` looks up."""
    parser.add_argument(
        "study",
        metavar="STUDY",
        help="a study's file, its name in config/ or results/, or the folder of its results",
    )


def add_output(parser: argparse.ArgumentParser, help: str, **options: Any) -> None:
    """``--output``, where the command writes."""
    parser.add_argument("--output", "-o", type=Path, help=help, **options)


def add_backend(parser: argparse.ArgumentParser, help: str) -> None:
    """``--backend``, where battles are fought."""
    parser.add_argument("--backend", metavar="NAME", help=f"{' or '.join(BACKENDS)} ({help})")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Tells shtab what a shell can complete and argparse need not know: names, files and folders.

    Args:
        parser: of a command, or of one that has commands of its own.
    """
    import shtab

    from algorithms import ALGORITHMS
    from benchmark.envs.maps import MAPS
    from benchmark.training.protocol import RULES

    names: dict[str, Iterable[str]] = {
        **dict.fromkeys(["map", "maps"], MAPS),
        **dict.fromkeys(["algorithm", "algorithms", "methods"], ALGORITHMS),
        "backend": BACKENDS,
        "protocol": RULES,
    }
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                add_completion(command)
        elif action.type is Path or action.dest == "study":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest in names:
            action.choices = list(names[action.dest])
