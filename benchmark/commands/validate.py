"""``python -m benchmark validate``: the simulator compared with recordings of the real game."""

import argparse
from pathlib import Path

from benchmark.commands.arguments import add_output
from benchmark.errors import BenchmarkError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--maps", nargs="+", metavar="MAP", help="default: all")
    parser.add_argument(
        "--evidence",
        type=Path,
        metavar="FOLDER",
        help="recordings and policies of the real game, or what `record` wrote (default:"
        " shared/real in the repository's parent folder, if it exists)",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="FOLDER",
        help="results of our runs of QMIX (default results/validity, else"
        " results/reference/validity)",
    )
    parser.add_argument("--battles", type=int, default=256, help="per policy (default 256)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write it as Markdown")
    add_output(parser, "also write the tables as CSV", metavar="FOLDER")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="also draw the figures")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark import files
    from benchmark.envs import MAPS, find_map
    from benchmark.envs.validation import figures, report
    from benchmark.envs.validation.evidence import DEFAULT, Evidence
    from benchmark.training.player import open_player

    if arguments.battles < 1:
        raise BenchmarkError(f"--battles {arguments.battles}: give at least 1")
    maps = [find_map(name).name for name in arguments.maps or MAPS]
    if arguments.evidence is not None and not arguments.evidence.is_dir():
        raise BenchmarkError(
            f"no folder {arguments.evidence}: --evidence names the folder with random_play.csv,"
            " policies.csv, policies/ and <map>_transitions.csv"
        )
    evidence = Evidence(arguments.evidence or DEFAULT)
    studies = [files.ROOT / "results" / name for name in ("validity", "reference/validity")]
    made = (path for path in studies if any(path.glob("**/run*.json")))  # has a finished run
    study = arguments.runs or next(made, studies[-1])
    results = report.measure(evidence, maps, arguments.battles, open_player, study)
    text = report.as_markdown(results)
    print(text)
    if arguments.report:
        files.write(text, arguments.report)
    if arguments.output:
        report.save(results, arguments.output)
    if arguments.figures:
        drawn = {"simulator_and_game": figures.comparison(results)}
        if results["learning"]:
            drawn["simulator_learning"] = figures.learning_curves(results["learning"])
        for name, figure in drawn.items():
            with files.atomic(arguments.figures / f"{name}.png") as path:
                figure.savefig(path, format="png")
