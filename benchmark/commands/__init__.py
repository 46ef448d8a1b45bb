"""The command line: ``python -m benchmark COMMAND``, or ``r3dm-bench COMMAND`` where installed.

Each command lives in its own module.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark import files
from benchmark.commands import streams
from benchmark.commands.arguments import add_completion
from benchmark.errors import BenchmarkError

#: command -> what it does; its module here has ``add_arguments(parser)`` and ``main(arguments)``.
COMMANDS = {
    "train": "train one run, or continue it",
    "status": "how far a study is",
    "plan": "what a study costs, measured on this machine",
    "doctor": "check StarCraft II and everything that it needs",
    "install-starcraft2": "install StarCraft II and its maps",
    "validate": "compare the simulator with recordings of the real game",
    "record": "record battles, of StarCraft II above all, as evidence for validate",
    "standin": "set up a stand-in for StarCraft II, for tests",
    "watch": "show a battle as an animation and as stills",
    "aggregate": "gather a study's runs into one table",
    "statistics": "summarise the table with rliable's definitions",
    "tables": "write the tables",
    "figures": "draw the figures",
    "ablations": "draw the ablations and write their tables",
    "roles": "show the roles of trained policies, and measure them",
    "export": "write a study's evaluations as marl-eval's JSON",
    "report": "write the HTML report",
    "paper": "write docs/paper.md: the paper's tables and figures, and ours",
    "published": "check published results and test claims",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; without arguments that of the process.

    Returns:
        the exit code: 0, 2 for a mistake, which one line explains, 130 when interrupted, 141 when
        nobody reads the output any more.
    """
    if arguments is None:
        return streams.guarded(lambda: main(sys.argv[1:]))
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("benchmark").setLevel(logging.INFO)
    try:
        if any("\0" in argument for argument in arguments):
            raise BenchmarkError("an argument holds a NUL character; no name or path can")
        parsed = _parser(arguments[:1]).parse_args(arguments)
        with files.disk_errors(Path.cwd()):
            return parsed.main(parsed) or 0
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("", "algorithms", "benchmark"):
            raise
        print(
            f"error: {error.name} is not installed for {sys.executable}; activate the environment:"
            " source .venv/bin/activate (`make setup` makes it)",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _parser(first: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that comes first is imported, for the completion all are."""
    called = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="r3dm-bench" if called == "r3dm-bench" else "python -m benchmark",
        description="A reproducibility benchmark for R3DM on SMAC and SMACv2.",
    )
    parser.add_argument("--version", action=_Version)
    completing = "--print-completion" in first
    if completing:
        import shtab

        parser.prog = "r3dm-bench"  # a shell completes the names of programs
        shtab.add_argument_to(parser, "--print-completion")
    else:
        parser.add_argument(
            "--print-completion", metavar="SHELL", help="bash, zsh or tcsh: a script for that shell"
        )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        description = text[0].upper() + text[1:] + "."
        command = commands.add_parser(name, help=text, description=description)
        if completing or name in first:
            module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(main=module.main)
        if completing:
            add_completion(command)
    return parser


class _Version(argparse.Action):
    """Prints the version and the commit, which git is only asked for here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, help="print the version and the commit", **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        from benchmark.training.provenance import commit

        revision, dirty = commit()
        changed = " with local changes" if dirty else ""
        about = f" (commit {revision[:12]}{changed})" if revision else ""
        try:
            number = version("r3dm-benchmark")
        except PackageNotFoundError:  # in conda, where it is not installed
            number = "of this folder"
        print(f"r3dm-benchmark {number}{about}")
        parser.exit()
