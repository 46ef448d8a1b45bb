"""``python -m benchmark roles``: the roles of trained policies, in pictures and numbers."""

import argparse
from pathlib import Path

from benchmark.commands.arguments import add_output
from benchmark.commands.watch import stills
from benchmark.errors import BenchmarkError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN",
        action="append",
        required=True,
        help="a run's folder, or its policy.pt or checkpoint.pt; once per policy, all of one map",
    )
    parser.add_argument(
        "--battles", type=int, default=32, help="greedy battles of each policy (default 32)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first battle (default 0)")
    parser.add_argument(
        "--stills",
        metavar="DECISIONS",
        default="1,20,35,50",
        help="decisions that are shown, counted from 1 (default %(default)s, as in the paper)",
    )
    add_output(parser, "folder (default %(default)s)", default=Path("results", "roles"))


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.training.seeding import check_seed
    from benchmark.visualization.roles import battles, report

    steps = stills(arguments.stills, 1)
    if arguments.battles < 1:
        raise BenchmarkError(f"--battles {arguments.battles}: at least one battle")
    check_seed(arguments.seed)
    policies = battles.load(arguments.checkpoint)
    seeds = range(arguments.seed, arguments.seed + arguments.battles)
    for path in report.write(policies, seeds, steps, arguments.output):
        print(path)
