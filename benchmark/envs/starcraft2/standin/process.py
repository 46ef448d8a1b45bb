"""The stand-in's executable: listens as the game does, serves one client, and ends with it.

pysc2 sends protobuf in *text* frames that are not UTF-8, so frames are read without decoding;
answers are binary frames.
"""

import argparse
import logging
import os
import random
import socket
import sys
import threading
import time
from dataclasses import dataclass, fields
from http import HTTPStatus
from pathlib import Path

import numpy as np

from benchmark.envs.simulator.records import BATTLE_DTYPE, UNIT_DTYPE
from benchmark.envs.starcraft2.installation import STANDIN_MARK
from benchmark.errors import BenchmarkError

_PATH = "/sc2api"
_WAIT_SECONDS = 60.0  #: for a client
_LATE_SECONDS = 3.0  #: of an answer that is late


@dataclass(frozen=True)
class Faults:
    """What goes wrong, to test how programs deal with it.

    ``crash``, ``hang`` and ``late`` count requests: below 1 it is a probability per request, from 1
    on the number of the one that fails. ``no_units`` is drawn per battle, the others per process.
    """

    crash: float = 0.0  #: ends at once
    hang: float = 0.0  #: never answers again
    late: float = 0.0  #: answers 3 seconds late
    no_start: float = 0.0  #: probability of ending before it listens
    no_units: float = 0.0  #: probability that units do not appear when they are created
    slow: float = 0.0  #: listens up to so many seconds late

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Reads ``"crash=0.001,slow=2"``.

        Raises:
            BenchmarkError: an unknown fault, or a value that is no number from 0 on or counts
                requests and is not whole.
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
            if name != "slow" and values[name] >= 1 and values[name] % 1:
                raise BenchmarkError(
                    f"fault {part!r}: give a probability below 1, or a whole number of requests"
                )
        return cls(**values)

    def happen(self, request: int) -> None:
        """Crashes, hangs or waits if it is the time of this request, counted from 1."""

        def due(when: float) -> bool:
            return request == when if when >= 1 else random.random() < when

        if due(self.crash):
            print(f"{STANDIN_MARK}: crashed, as --faults says", file=sys.stderr, flush=True)
            os._exit(1)
        if due(self.hang):
            threading.Event().wait()
        if due(self.late):
            time.sleep(_LATE_SECONDS)


class Journal:
    """A file ``PID.journal`` with the units of every observation: records of :meth:`dtype`."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / f"{os.getpid()}.journal", "wb", buffering=0)  # noqa: SIM115

    @staticmethod
    def dtype(n_units: int) -> np.dtype:
        """One record: the game loop, the battle's random stream, and its units by number."""
        return np.dtype(
            [("loop", "i8"), ("battle", BATTLE_DTYPE), ("units", UNIT_DTYPE, (n_units,))]
        )

    def write(self, loop: int, engine) -> None:
        """Adds a record of an engine."""
        record = np.zeros(1, self.dtype(len(engine.units)))
        record["loop"], record["battle"], record["units"] = loop, engine.battle, engine.units
        self._file.write(record.tobytes())


def main() -> int:
    """The executable."""
    options = _options()
    faults = Faults.parse(options.faults)
    if random.random() < faults.no_start:
        print(f"{STANDIN_MARK}: no_start, as --faults says", file=sys.stderr)
        return 1
    time.sleep(random.uniform(0.0, faults.slow))

    listener = socket.create_server((options.listen, options.port))
    # The client may connect during these imports, which take about a second.
    from websockets.sync.server import serve

    from benchmark.envs.starcraft2.standin.server import Server

    server = Server(faults.no_units, options.handicap)
    journal = Journal(options.journal) if options.journal else None

    def talk(client) -> None:
        unattended.cancel()
        try:
            _answer_all(client, server, faults, journal)
        finally:
            threading.Thread(target=web.shutdown).start()

    def check_path(client, request):
        return None if request.path == _PATH else client.respond(HTTPStatus.NOT_FOUND, "")

    # Who connects without speaking WebSocket is turned away without a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    with serve(
        talk, sock=listener, process_request=check_path, compression=None, max_size=None,
        ping_interval=None, close_timeout=1.0,
    ) as web:  # fmt: skip
        unattended = threading.Timer(_WAIT_SECONDS, web.shutdown)
        unattended.start()
        web.serve_forever()
    return 0


def _answer_all(client, server, faults: Faults, journal: Journal | None) -> None:
    """Answers a client's requests until it quits or goes."""
    from google.protobuf.message import DecodeError
    from websockets.exceptions import ConnectionClosed

    from benchmark.envs.starcraft2.messages import sc2api_pb2

    requests = 0
    try:
        while True:
            try:
                request = sc2api_pb2.Request.FromString(client.recv(decode=False))
            except DecodeError:
                client.send(server.undecodable().SerializeToString())
                continue
            requests += 1
            faults.happen(requests)
            response = server.answer(request)
            if response is None:
                return
            if journal and request.HasField("observation") and server.engine is not None:
                journal.write(server.loop, server.engine)
            client.send(response.SerializeToString())
    except ConnectionClosed:
        return


def _options() -> argparse.Namespace:
    """The game's own options, of which few matter here, and the stand-in's."""
    parser = argparse.ArgumentParser(description=f"A {STANDIN_MARK}.", allow_abbrev=False)
    parser.add_argument("-listen", default="127.0.0.1")
    parser.add_argument("-port", type=int, required=True)
    for ignored in ("-dataDir", "-tempDir", "-dataVersion"):
        parser.add_argument(ignored)
    parser.add_argument("--faults", default="")
    parser.add_argument("--handicap", type=float, default=1.0)
    parser.add_argument("--journal", type=Path)
    return parser.parse_known_args()[0]
