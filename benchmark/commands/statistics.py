"""``python -m benchmark statistics``: every number that tables and figures show."""

import argparse
from pathlib import Path

from benchmark.errors import BenchmarkError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("evaluations", type=Path, help="a study's aggregated evaluations.parquet")
    parser.add_argument(
        "--output", type=Path, help="folder (default: statistics, next to the table)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument(
        "--replications", type=int, default=50_000, help="of the bootstrap (default 50000)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis import statistics
    from benchmark.training.evaluations import read_evaluations

    if arguments.replications < 1 or arguments.seed < 0:
        raise BenchmarkError("--replications must be at least 1 and --seed at least 0")
    output = arguments.output or arguments.evaluations.parent / "statistics"
    evaluations = read_evaluations(arguments.evaluations)
    results = statistics.compute(evaluations, arguments.seed, arguments.replications)
    statistics.write(results, output)
    print(output)
