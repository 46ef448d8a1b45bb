"""``python -m benchmark figures``: a study's figures."""

import argparse

from benchmark.commands.arguments import add_output, add_study
from benchmark.errors import BenchmarkError


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
    from benchmark.analysis import figures, made_from, plots, statistics
    from benchmark.training.study_folder import find

    page = arguments.style, arguments.columns
    if not arguments.output and (arguments.maps or arguments.methods or page != ("paper", 1)):
        raise BenchmarkError(
            "say with --output where these figures go: figures/ of the study holds its own, which"
            " its report shows"
        )
    folder = find(arguments.study).folder
    output = arguments.output or folder / "figures"
    results = statistics.of_study(folder)
    results = figures.chosen(results, arguments.maps, arguments.methods)
    figures.write(results, output, plots.PAGES[page])
    made_from.pass_on(folder / "statistics", output)
    print(output)
