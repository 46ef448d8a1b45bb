"""``python -m benchmark aggregate``: a study's runs as one table."""

import argparse
import sys
from pathlib import Path

from benchmark.commands.arguments import add_output, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    parser.add_argument(
        "runs", type=Path, nargs="*", help="run or study folders (default: all of the study)"
    )
    add_output(parser, "folder (default: the study's)")
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave damaged runs out instead of stopping"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis.aggregate import aggregate, find_runs
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    output = arguments.output or found.folder
    runs = arguments.runs or find_runs(found.folder, found.study)
    summary = aggregate(runs, output, found.study, arguments.skip_broken)
    for broken in summary["broken"]:
        print(f"left out: {broken['reason']}", file=sys.stderr)
    for kind in ("missing", "changed"):
        if summary[kind]:
            print(f"{len(summary[kind])} of {len(found.runs)} runs {kind}", file=sys.stderr)
    print(output / "evaluations.parquet")
