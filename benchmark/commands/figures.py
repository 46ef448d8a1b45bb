"""``python -m benchmark figures``: a study's figures."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("statistics", type=Path, help="a study's statistics folder")
    parser.add_argument(
        "--output", type=Path, help="folder (default: figures, next to the statistics)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import figures, statistics

    output = arguments.output or arguments.statistics.parent / "figures"
    figures.write(statistics.read(arguments.statistics), output)
    print(output)
