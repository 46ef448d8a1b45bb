"""``python -m benchmark doctor``: checks StarCraft II and everything that it needs."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--no-start", action="store_true", help="check files and versions, do not start the game"
    )


def main(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        0 if StarCraft II can be used, else 1.
    """
    from rich.console import Console

    from benchmark.envs.starcraft2.doctor import BAD, GOOD, NOTE, examine

    colours = {GOOD: "green", NOTE: "yellow", BAD: "red"}
    console, bad = Console(highlight=False, soft_wrap=True), False
    for finding in examine(start=not arguments.no_start):
        bad |= finding.state == BAD
        state = f"[{colours[finding.state]}]{finding.state:4s}[/]"
        console.print(f"{state}  {finding.subject}: ", end="")
        console.print(finding.text, markup=False)
        if finding.remedy:
            console.print(f"      {finding.remedy}", markup=False)
    if bad:
        console.print("backend starcraft2 cannot be used yet; backend simulator can")
    else:
        console.print("backend starcraft2 can be used")
    return int(bad)
