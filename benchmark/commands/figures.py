"""``python -m benchmark figures``: a study's figures."""

import argparse

from benchmark.commands.arguments import add_output, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    add_output(parser, "folder (default: figures/ of the study)")
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
    from benchmark.training.study_folder import find

    folder = find(arguments.study).folder
    output = arguments.output or folder / "figures"
    results = statistics.of_study(folder)
    results = figures.chosen(results, arguments.maps, arguments.methods)
    figures.write(results, output, plots.PAGES[arguments.style, arguments.columns])
    print(output)
