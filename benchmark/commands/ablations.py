"""``python -m benchmark ablations``: a figure and a table for each ablation of a study."""

import argparse

from benchmark.commands.arguments import add_output, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    add_output(parser, "folder of figures/ and tables/ (default: the study's)")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import ablations, statistics
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    output = arguments.output or found.folder
    results = statistics.of_study(found.folder)
    ablations.write(results, found.require().ablations, output)
    print(output)
