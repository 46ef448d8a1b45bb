"""``python -m benchmark paper``: the page on the paper's tables and figures."""

import argparse
from pathlib import Path

from benchmark.commands.arguments import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_output(parser, "file (default: %(default)s)", default=Path("docs", "paper.md"))


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import paper

    paper.write(arguments.output)
    print(arguments.output)
