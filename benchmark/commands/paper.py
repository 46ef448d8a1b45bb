"""``python -m benchmark paper``: the page on the paper's tables and figures."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--output", "-o", type=Path, default=Path("docs", "paper.md"), help="default %(default)s"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import paper

    paper.write(arguments.output)
    print(arguments.output)
