"""``python -m benchmark install-starcraft2``: StarCraft II and its maps, by ``install.sh``."""

import argparse
import subprocess
from pathlib import Path

from benchmark.envs.starcraft2.installation import INSTALL_SCRIPT, game_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where to (default: $SC2PATH, else ~/StarCraftII)"
    )
    parser.add_argument("--zip", type=Path, help="the game's archive, if you have it")
    parser.add_argument("--maps", type=Path, help="SMAC_Maps.zip or a folder, if you have it")
    parser.add_argument("--maps-only", action="store_true", help="install the maps alone")


def main(arguments: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        the script's exit code.
    """
    command = ["bash", INSTALL_SCRIPT, (arguments.folder or game_folder()).expanduser()]
    for name in ("zip", "maps"):
        if value := getattr(arguments, name):
            command += [f"--{name}", value]
    if arguments.maps_only:
        command.append("--maps-only")
    return subprocess.run(command).returncode
