"""``python -m benchmark export``: a study's evaluations as the JSON that marl-eval reads."""

import argparse

from benchmark.commands.arguments import add_output, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    add_output(parser, "default: marl_eval.json of the study", metavar="FILE.json")
    for name, kind in (("maps", str), ("algorithms", str), ("seeds", int)):
        parser.add_argument(
            f"--{name}", type=kind, nargs="+", metavar=name[:-1].upper(), help="only these"
        )
    parser.add_argument(
        "--evaluations",
        type=int,
        metavar="N",
        help="of each run, evenly spaced (default: all; needed where maps have different budgets)",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis.export import write
    from benchmark.training.evaluations import read_evaluations
    from benchmark.training.study_folder import find

    folder = find(arguments.study).folder
    output = arguments.output or folder / "marl_eval.json"
    write(
        read_evaluations(folder / "evaluations.parquet"),
        output,
        maps=arguments.maps,
        algorithms=arguments.algorithms,
        seeds=arguments.seeds,
        evaluations=arguments.evaluations,
    )
    print(output)
