"""The command line: ``python -m benchmark COMMAND``. Each command lives in its own module."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from benchmark.errors import BenchmarkError

#: command -> module with ``add_arguments(parser)`` and ``main(arguments)``, and what it does.
COMMANDS = {
    "train": ("benchmark.commands.train", "train one run, or continue it"),
    "status": ("benchmark.training.status", "how far a study is"),
    "plan": ("benchmark.training.plan", "what a study costs, measured on this machine"),
    "doctor": (
        "benchmark.envs.starcraft2.doctor",
        "check StarCraft II and everything that it needs",
    ),
    "install-starcraft2": (
        "benchmark.envs.starcraft2.install_starcraft2",
        "install StarCraft II and its maps",
    ),
    "validate": ("benchmark.commands.validate", "compare the simulator with the real game"),
    "standin": ("benchmark.commands.standin", "set up a stand-in for StarCraft II, for tests"),
    "watch": ("benchmark.visualization.watch", "show a battle as an animation and as stills"),
    "aggregate": ("benchmark.analysis.aggregate", "gather a study's runs into one table"),
    "statistics": (
        "benchmark.analysis.statistics",
        "summarise the table with rliable's definitions",
    ),
    "tables": ("benchmark.analysis.tables", "write the tables"),
    "figures": ("benchmark.analysis.figures", "draw the figures"),
    "ablations": ("benchmark.analysis.ablations", "draw the ablations and write their tables"),
    "roles": (
        "benchmark.visualization.roles",
        "show the roles of trained policies, and measure them",
    ),
    "export": ("benchmark.analysis.export", "write a study's evaluations as marl-eval's JSON"),
    "report": ("benchmark.commands.report", "write the HTML report"),
    "published": ("benchmark.commands.published", "check published results and judge claims"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        the exit code: 0, 2 for a mistake that the message tells how to mend, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m benchmark",
        description="A reproducibility benchmark for R3DM on SMAC and SMACv2.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("benchmark").setLevel(logging.INFO)
    try:
        for name, (module, text) in COMMANDS.items():
            description = text[0].upper() + text[1:] + "."
            command = commands.add_parser(name, help=text, description=description)
            if name in arguments[:1]:  # only the chosen command pays for its imports
                modules[name] = importlib.import_module(module)
                modules[name].add_arguments(command)
        parsed = parser.parse_args(arguments)
        return modules[parsed.command].main(parsed) or 0
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
