"""A stand-in for StarCraft II: an executable that speaks the game's protocol and plays our engine.

Placed where the game's executable belongs (``$SC2PATH/Versions/Base75689/SC2_x64``), it lets the
*unmodified* smac, smacv2 and pysc2 clients play all maps of this benchmark without the game: for
tests, for continuous integration, for trying a set-up before the download. It is not StarCraft II,
and says so in its version. What it answers is in ``game``; here is the process around it.

Whoever writes code for SMAC can test it with this::

    python -m benchmark standin /tmp/StarCraftII
    SC2PATH=/tmp/StarCraftII python my_smac_program.py

A battle's randomness follows from the ``random_seed`` of its game and the number of battles before.
"""

import argparse
import os
import random
import shlex
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmark.envs.maps import MAPS
from benchmark.envs.simulator.records import BATTLE_DTYPE, UNIT_DTYPE
from benchmark.errors import BenchmarkError

EXECUTABLE = Path("Versions", "Base75689", "SC2_x64")
MAP_FOLDER = Path("Maps", "SMAC_Maps")
FLAT_MAP = "32x32_flat"  #: the file behind all SMACv2 maps
MARK = "stand-in for StarCraft II"  #: in the executable and the map files that are placeholders

_ROOT = Path(__file__).resolve().parents[4]
_PATH = "/sc2api"
_LONELY_SECONDS = 60.0  #: without a client for so long it gives up


@dataclass(frozen=True)
class Faults:
    """What goes wrong, for testing those who have to cope with it.

    ``crash``, ``hang`` and ``lame`` count requests: below 1 it is a probability for each, from 1 on
    the number of the one that fails. The others are decided when the process starts.
    """

    crash: float = 0.0  #: ends at once
    hang: float = 0.0  #: never answers again
    lame: float = 0.0  #: answers 3 seconds late
    stillborn: float = 0.0  #: probability of ending before it listens
    barren: float = 0.0  #: probability that no unit ever appears
    slow: float = 0.0  #: listens up to so many seconds late

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Reads ``"crash=0.001,slow=2"``.

        Raises:
            BenchmarkError: an unknown fault or a value that is no number from 0 on.
        """
        names = [field.name for field in fields(cls)]
        values = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            try:
                values[name] = float(value)
            except ValueError:
                values[name] = -1.0
            if name not in names or not values[name] >= 0:
                raise BenchmarkError(
                    f"fault {part!r}: expected NAME=NUMBER, names are {', '.join(names)}"
                )
        return cls(**values)


_LAME_SECONDS = 3.0


def install(
    folder: Path, faults: str = "", handicap: float = 1.0, journal: Path | None = None
) -> Path:
    """Sets a stand-in up as a StarCraft II folder, for ``$SC2PATH``, and compiles its engine.

    Args:
        folder: where to; made if missing. What lies there already must be a stand-in.
        faults: what goes wrong, see :class:`Faults`.
        handicap: share of their health and shields with which enemies begin, above 0 up to 1: with
            little of it everybody wins.
        journal: folder in which every process of it writes down what happens, see :class:`Journal`.

    Returns:
        the executable.

    Raises:
        BenchmarkError: the real game is in that folder, it cannot be written, a package is
            missing, or an argument is wrong.
    """
    Faults.parse(faults)
    if not 0 < handicap <= 1:
        raise BenchmarkError(f"handicap {handicap}: must be above 0 and at most 1")
    try:
        from benchmark.envs.starcraft2 import messages  # noqa: F401
    except ImportError:
        raise BenchmarkError(
            "the stand-in needs the game's messages; pip install protobuf s2clientprotocol"
        ) from None
    from benchmark.envs.simulator.engine import warm_up

    warm_up()
    executable = folder / EXECUTABLE
    if executable.exists() and not is_standin(executable):
        raise BenchmarkError(f"{folder} holds StarCraft II itself; choose another folder")
    options = ["--faults", faults, "--handicap", str(handicap)]
    if journal is not None:
        options += ["--journal", str(journal.resolve())]
    start = (
        f"import sys; sys.path.insert(0, {str(_ROOT)!r});"
        " from benchmark.envs.starcraft2.standin.install import main; sys.exit(main())"
    )
    # Clients pass their environment on: -I keeps its PYTHON* variables from choosing our packages.
    command = shlex.join([sys.executable, "-I", "-c", start, *options])
    try:
        executable.parent.mkdir(parents=True, exist_ok=True)
        maps = folder / MAP_FOLDER
        maps.mkdir(parents=True, exist_ok=True)
        executable.write_text(f'#!/bin/sh\n# A {MARK}.\nexec {command} "$@"\n')
        executable.chmod(0o755)
        for name in (FLAT_MAP, *(one.name for one in MAPS.values() if not one.generated)):
            (maps / f"{name}.SC2Map").write_text(f"The {MARK} needs this file, not its content.\n")
        if journal is not None:
            journal.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(
            f"cannot write to {folder}: {error.strerror}; choose another folder"
        ) from error
    return executable


def is_standin(executable: Path) -> bool:
    """Whether a game's executable is this stand-in."""
    with open(executable, "rb") as file:
        return MARK.encode() in file.read(200)


class Journal:
    """A file ``PID.journal`` with what the stand-in's units were whenever it was asked to observe.

    Records follow each other: :meth:`dtype` of the battle's number of units.
    """

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / f"{os.getpid()}.journal", "wb", buffering=0)  # noqa: SIM115

    @staticmethod
    def dtype(n_units: int) -> np.dtype:
        """One record: the game loop, the battle's random stream, and its units by number."""
        return np.dtype(
            [("loop", "i8"), ("battle", BATTLE_DTYPE), ("units", UNIT_DTYPE, (n_units,))]
        )

    def note(self, loop: int, engine) -> None:
        """Writes a record of an engine."""
        record = np.zeros(1, self.dtype(len(engine.units)))
        record["loop"], record["battle"], record["units"] = loop, engine.battle, engine.units
        self._file.write(record.tobytes())


def main(arguments: list[str] | None = None) -> int:
    """The executable: listens, serves one client until it goes, and ends."""
    options = _options(arguments)
    faults = Faults.parse(options.faults)
    if _happens(faults.stillborn):
        print(f"{MARK}: stillborn, as was wished", file=sys.stderr)
        return 1
    time.sleep(random.uniform(0.0, faults.slow))

    with socket.create_server((options.listen, options.port)) as listener:
        # The client may come while the rest is imported, which takes about a second.
        from benchmark.envs.starcraft2.messages import sc2api_pb2
        from benchmark.envs.starcraft2.standin.server import Game
        from benchmark.envs.starcraft2.standin.websocket import WebSocket

        client = _wait_for_client(listener, WebSocket)
    game = Game(_happens(faults.barren), options.handicap)
    journal = Journal(options.journal) if options.journal else None
    requests = 0
    while client is not None and (message := client.receive()) is not None:
        requests += 1
        _misbehave(faults, requests)
        request = sc2api_pb2.Request.FromString(message)
        response = game.answer(request)
        if response is None:
            break
        if journal is not None and request.HasField("observation") and game.engine is not None:
            journal.note(game.loop, game.engine)
        try:
            client.send(response.SerializeToString())
        except ConnectionError:
            break
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """The game's own options, of which few matter here, and the stand-in's."""
    parser = argparse.ArgumentParser(description=f"A {MARK}.", allow_abbrev=False)
    parser.add_argument("-listen", default="127.0.0.1")
    parser.add_argument("-port", type=int, required=True)
    for ignored in ("-dataDir", "-tempDir", "-dataVersion"):
        parser.add_argument(ignored)
    parser.add_argument("--faults", default="")
    parser.add_argument("--handicap", type=float, default=1.0)
    parser.add_argument("--journal", type=Path)
    return parser.parse_known_args(arguments)[0]


def _wait_for_client(listener: socket.socket, greet: Callable):
    """The first client that comes; None if none does."""
    listener.settimeout(_LONELY_SECONDS)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return None
        connection.settimeout(None)
        try:
            return greet(connection, _PATH)
        except ConnectionError:
            continue


def _happens(probability: float) -> bool:
    return random.random() < probability


def _misbehave(faults: Faults, requests: int) -> None:
    """Lets a fault happen if this request is its time."""

    def due(when: float) -> bool:
        return requests == when if when >= 1 else _happens(when)

    if due(faults.crash):
        print(f"{MARK}: crashed, as was wished", file=sys.stderr, flush=True)
        os._exit(1)
    if due(faults.hang):
        while True:
            time.sleep(3600)
    if due(faults.lame):
        time.sleep(_LAME_SECONDS)
