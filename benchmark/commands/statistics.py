"""``python -m benchmark statistics``: every number that tables and figures show."""

import argparse

from benchmark.commands.arguments import add_output, add_study
from benchmark.errors import BenchmarkError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    add_output(parser, "folder (default: statistics/ of the study)")
    parser.add_argument("--seed", type=int, help="of the bootstrap (default: the study's, or 0)")
    parser.add_argument(
        "--replications", type=int, help="of the bootstrap (default: the study's, or 50000)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import made_from, statistics
    from benchmark.training.evaluations import read_evaluations
    from benchmark.training.study import Statistics
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    folder, own = found.folder, found.study.statistics if found.study else Statistics()
    seed = own.seed if arguments.seed is None else arguments.seed
    replications = own.replications if arguments.replications is None else arguments.replications
    if replications < 1 or seed < 0:
        raise BenchmarkError("--replications must be at least 1 and --seed at least 0")
    output = arguments.output or folder / "statistics"
    digest = made_from.digest(folder)
    evaluations = read_evaluations(folder / "evaluations.parquet")
    results = statistics.compute(evaluations, seed, replications)
    statistics.write(results, output)
    made_from.note(digest, output)
    print(output)
