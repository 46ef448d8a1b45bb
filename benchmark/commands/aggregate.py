"""``python -m benchmark aggregate``: a study's runs as one table."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("output", type=Path, help="the study's folder, e.g. results/smoke")
    parser.add_argument(
        "runs", type=Path, nargs="*", help="run or study folders (default: all below OUTPUT/runs)"
    )
    parser.add_argument(
        "--study", help="study file or name, or a study as JSON: only its runs, missing ones named"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave damaged runs out instead of stopping"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.analysis.aggregate import aggregate, find_runs
    from benchmark.training.study import find_study

    study = find_study(arguments.study) if arguments.study else None
    runs = arguments.runs or find_runs(arguments.output, study)
    summary = aggregate(runs, arguments.output, study, arguments.skip_broken)
    for broken in summary["broken"]:
        print(f"left out: {broken['reason']}", file=sys.stderr)
    for kind in ("missing", "changed"):
        if summary[kind]:
            print(f"{len(summary[kind])} of {len(study.runs())} runs {kind}", file=sys.stderr)
    print(arguments.output / "evaluations.parquet")
