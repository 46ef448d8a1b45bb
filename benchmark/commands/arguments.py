"""Arguments that several commands have: the same name for the same thing everywhere."""

import argparse
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
