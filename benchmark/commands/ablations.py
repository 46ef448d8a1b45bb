"""``python -m benchmark ablations``: a figure and a table for each ablation of a study."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("statistics", type=Path, help="a study's statistics folder")
    parser.add_argument("study", help="study file, or its ablations as JSON")
    parser.add_argument(
        "--output", type=Path, help="the study's folder (default: the one of the statistics)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import ablations, statistics

    output = arguments.output or arguments.statistics.parent
    declared = ablations.declared(arguments.study)
    ablations.write(statistics.read(arguments.statistics), declared, output)
    print(output)
