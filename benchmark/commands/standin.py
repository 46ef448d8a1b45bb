"""``python -m benchmark standin``: a StarCraft II folder in which our engine plays the battles."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("folder", type=Path, help="where to; programs find it by SC2PATH")
    parser.add_argument(
        "--faults",
        default="",
        metavar="NAME=NUMBER,...",
        help="what goes wrong, to test how a program deals with it; crash, hang and late (answers)"
        " are probabilities per request, or from 1 on the number of the request; no_start (never"
        " listens) and no_units (no units appear) are probabilities per start; slow is by how many"
        " seconds a start may be late",
    )
    parser.add_argument(
        "--handicap",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of their health and shields with which enemies begin (default 1)",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FOLDER",
        help="every process records its units there, at every observation",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.envs.starcraft2.standin.install import install

    executable = install(arguments.folder, arguments.faults, arguments.handicap, arguments.journal)
    print(executable)
    print(f"export SC2PATH={arguments.folder.resolve()}")
