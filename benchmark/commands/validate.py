"""``python -m benchmark validate``: the simulator beside recordings of the real game."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--maps", nargs="+", metavar="MAP", help="default: all with evidence")
    parser.add_argument(
        "--evidence", type=Path, metavar="FOLDER", help="recordings and policies of the real game"
    )
    parser.add_argument("--battles", type=int, default=256, help="per policy (default 256)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write it as Markdown")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="also write the tables as CSV")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark import files
    from benchmark.envs import MAPS, find_map
    from benchmark.envs.validation import report
    from benchmark.envs.validation.evidence import DEFAULT, Evidence

    maps = [find_map(name).name for name in arguments.maps or MAPS]
    results = report.measure(Evidence(arguments.evidence or DEFAULT), maps, arguments.battles)
    text = report.as_markdown(results)
    print(text)
    if arguments.report:
        with files.atomic(arguments.report) as path:
            path.write_text(text)
    if arguments.save:
        report.save(results, arguments.save)
