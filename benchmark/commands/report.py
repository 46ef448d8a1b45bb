"""``python -m benchmark report``: a study as one HTML file."""

import argparse

from benchmark.commands.arguments import add_output, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    add_output(parser, "HTML file (default: report.html of the study)")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import report
    from benchmark.published.report import section
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    output = arguments.output or found.folder / "report.html"
    report.write(found.folder, output, section, found.study)
    print(output)
