"""``python -m benchmark tables``: a study's tables."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("statistics", type=Path, help="a study's statistics folder")
    parser.add_argument(
        "--output", type=Path, help="folder (default: tables, next to the statistics)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import statistics, tables

    output = arguments.output or arguments.statistics.parent / "tables"
    tables.write(tables.make(statistics.read(arguments.statistics)), output)
    print(output)
