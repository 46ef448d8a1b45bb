"""``python -m benchmark tables``: a study's tables."""

import argparse

from benchmark.commands.arguments import add_output, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    add_output(parser, "folder (default: tables/ of the study)")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import statistics, tables
    from benchmark.training.study_folder import find

    folder = find(arguments.study).folder
    output = arguments.output or folder / "tables"
    results = statistics.of_study(folder)
    tables.write(tables.make(results), output)
    print(output)
