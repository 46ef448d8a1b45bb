"""Puts the stand-in where the game's executable belongs, in a folder for ``$SC2PATH``."""

import shlex
import sys
from pathlib import Path

from benchmark.envs.maps import MAPS
from benchmark.envs.starcraft2.installation import (
    EXECUTABLE,
    FLAT_MAP,
    MAP_FOLDER,
    STANDIN_MARK,
    is_standin,
)
from benchmark.envs.starcraft2.standin import process
from benchmark.errors import BenchmarkError
from benchmark.files import ROOT


def install(
    folder: Path, faults: str = "", handicap: float = 1.0, journal: Path | None = None
) -> Path:
    """Makes a StarCraft II folder whose executable is the stand-in, and compiles its engine.

    Args:
        folder: made if missing. A game in it must be the stand-in.
        faults: what goes wrong, see :class:`process.Faults`.
        handicap: share of their health and shields with which enemies begin, above 0 up to 1: with
            little of it everybody wins.
        journal: folder in which every process of it records its units, see
            :class:`process.Journal`.

    Returns:
        the executable.

    Raises:
        BenchmarkError: the real game is in that folder, it cannot be written, a package is
            missing, or an argument is wrong.
    """
    process.Faults.parse(faults)
    if not 0 < handicap <= 1:
        raise BenchmarkError(f"handicap {handicap}: must be above 0 and at most 1")
    try:
        import websockets  # noqa: F401

        from benchmark.envs.starcraft2 import messages  # noqa: F401
    except ImportError as error:
        raise BenchmarkError(
            f"the stand-in needs {error.name}; pip install -e '.[standin]' installs it"
        ) from None
    from benchmark.envs.simulator.engine import warm_up

    warm_up()
    executable, maps = folder / EXECUTABLE, folder / MAP_FOLDER
    placeholders = [
        maps / f"{name}.SC2Map"
        for name in {FLAT_MAP if one.generated else one.name for one in MAPS.values()}
    ]
    there = [*folder.glob("Versions/Base*/SC2_x64"), *filter(Path.exists, placeholders)]
    if not all(map(is_standin, there)):
        raise BenchmarkError(f"{folder} holds StarCraft II or its maps; choose another folder")
    options = ["--faults", faults, "--handicap", str(handicap)]
    if journal is not None:
        options += ["--journal", str(journal.resolve())]
    start = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        f" from {process.__name__} import main; sys.exit(main())"
    )
    # Clients pass their environment on: -I keeps its PYTHON* variables from choosing our packages.
    command = shlex.join([sys.executable, "-I", "-c", start, *options])
    try:
        for needed in (executable.parent, maps, journal):
            if needed is not None:
                needed.mkdir(parents=True, exist_ok=True)
        executable.write_text(f'#!/bin/sh\n# A {STANDIN_MARK}.\nexec {command} "$@"\n')
        executable.chmod(0o755)
        for placeholder in placeholders:
            placeholder.write_text(f"The {STANDIN_MARK} needs this file, not its content.\n")
    except OSError as error:
        raise BenchmarkError(
            f"cannot write to {folder}: {error.strerror}; choose another folder"
        ) from error
    return executable
