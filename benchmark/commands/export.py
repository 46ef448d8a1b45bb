"""``python -m benchmark export``: a study's evaluations as the JSON that marl-eval reads."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("table", type=Path, help="evaluations.parquet of a study or of a run")
    parser.add_argument(
        "--output", type=Path, help="default: marl_eval.json next to the table", metavar="FILE.json"
    )
    for name, kind in (("maps", str), ("algorithms", str), ("seeds", int)):
        parser.add_argument(
            f"--{name}", type=kind, nargs="+", metavar=name[:-1].upper(), help="only these"
        )
    parser.add_argument(
        "--evaluations",
        type=int,
        metavar="N",
        help="of each run, evenly spaced (default: all; needed where budgets differ)",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis.export import write
    from benchmark.training.evaluations import read_evaluations

    output = arguments.output or arguments.table.with_name("marl_eval.json")
    write(
        read_evaluations(arguments.table),
        output,
        maps=arguments.maps,
        algorithms=arguments.algorithms,
        seeds=arguments.seeds,
        evaluations=arguments.evaluations,
    )
    print(output)
