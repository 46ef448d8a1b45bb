"""``python -m benchmark figures``: a study's figures."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("statistics", type=Path, help="a study's statistics folder")
    parser.add_argument(
        "--output", type=Path, help="folder (default: figures, next to the statistics)"
    )
    parser.add_argument(
        "--style", choices=("paper", "slides"), default="paper", help="sizes (default paper)"
    )
    parser.add_argument(
        "--columns", type=int, choices=(1, 2), default=1, help="width, in columns (default 1)"
    )
    parser.add_argument(
        "--maps", nargs="+", default=[], metavar="MAP", help="learning curves of these maps only"
    )
    parser.add_argument(
        "--methods", nargs="+", default=[], metavar="METHOD", help="only these, e.g. r3dm acorm"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import figures, plots, statistics

    output = arguments.output or arguments.statistics.parent / "figures"
    results = statistics.read(arguments.statistics)
    results = figures.chosen(results, arguments.maps, arguments.methods)
    figures.write(results, output, plots.PAGES[arguments.style, arguments.columns])
    print(output)
