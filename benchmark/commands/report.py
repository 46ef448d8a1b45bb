"""``python -m benchmark report``: a study as one HTML file."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("folder", type=Path, help="the study's folder, e.g. results/smoke")
    parser.add_argument(
        "--study", help="study file or name, or a study as JSON: its ablations, and missing runs"
    )
    parser.add_argument("--output", type=Path, help="HTML file; report.html there when left out")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import report
    from benchmark.published.report import section
    from benchmark.training.study import find_study

    output = arguments.output or arguments.folder / "report.html"
    study = find_study(arguments.study) if arguments.study else None
    report.write(arguments.folder, output, section, study)
    print(output)
