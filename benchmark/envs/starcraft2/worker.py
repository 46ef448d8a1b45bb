"""A battle of StarCraft II in a process of its own: the worker, and the owner's handle on it.

The game and its clients crash, hang and leak, and both client packages cannot live in one process.
So each battle has a worker: a process that imports one client, starts one game, and answers
requests from a pipe. It runs under a ``supervisor``, which kills everything below it once the owner
is gone. The owner waits for a limited time, and never uses a worker again that failed.
"""

import contextlib
import ctypes
import importlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import psutil

from benchmark.envs.maps import Map, find_map
from benchmark.envs.options import EnvOptions
from benchmark.envs.starcraft2.installation import Settings, game_folder
from benchmark.errors import BenchmarkError
from benchmark.files import ROOT

#: Every worker has a folder of its own in here, in which it and its game put temporary files. Nodes
#: and containers may share the folder for temporary files, but do not see each other's processes.
FOLDERS = Path(
    tempfile.gettempdir(),
    f"benchmark-starcraft2-{os.getuid()}-{platform.node()}-{os.stat('/proc/self/ns/pid').st_ino}",
)
#: Names a process's folder in its environment: the mark by which ``sweep`` knows our processes.
MARK = "BENCHMARK_STARCRAFT2_FOLDER"
CLIENT = "benchmark.envs.starcraft2.client"  #: the module whose ``Client`` a worker talks to
_OWNER = "owner.json"
_STOP_SECONDS = 10.0  #: what a supervisor may take to end everything
_ABANDONED_SECONDS = 3600.0  #: after which a folder without an owner is removed
_PR_SET_PDEATHSIG = 1  #: of Linux's prctl(2)


class Broken(Exception):
    """Raised by a client: the game behaves in a way from which it cannot continue."""


class Fault(BenchmarkError):
    """A worker failed and must be replaced.

    The message goes on after "StarCraft II": "crashed", "hung" or "broken" (the client said so).
    """


class Worker:
    """A worker as its owner sees it: ask something, then fetch the answer. One thing at a time.

    Args:
        one: the map.
        options: see ``client.Client``, as are ``seed`` and ``max_reward``.
        settings: the game's version, and how long its launch may take.
    """

    def __init__(
        self,
        one: Map,
        options: EnvOptions,
        settings: Settings,
        seed: int,
        max_reward: float | None,
    ) -> None:
        FOLDERS.mkdir(mode=0o700, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="worker-", dir=FOLDERS))
        self._pipe, other = Pipe()
        self._asked = ""
        self._deadline = 0.0
        arguments = json.dumps({
            "map": one.name, "options": asdict(options), "version": settings.version, "seed": seed,
            "max_reward": max_reward, "lock": str(FOLDERS),
            "launch_seconds": settings.start_seconds,
        })  # fmt: skip
        serve = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r});"
            f" from {__name__} import serve; serve(*sys.argv[1:])"
        )
        supervisor = [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py"))]
        worker = [
            sys.executable, "-I", "-c", serve, str(other.fileno()), CLIENT, arguments,
        ]  # fmt: skip
        with open(self.folder / "log", "wb") as log:
            # Open from the start: the supervisor removes the folder when the worker ends.
            self._log = open(log.name, errors="replace")  # noqa: SIM115  (closed by stop)
            self._supervisor = subprocess.Popen(
                [*supervisor, str(self.folder), str(other.fileno()), *worker],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[other.fileno()],
                start_new_session=True,
                env=_environment(self.folder),
            )
        other.close()
        started = psutil.Process(self._supervisor.pid).create_time()
        owner = {"pid": self._supervisor.pid, "started": started}
        (self.folder / _OWNER).write_text(json.dumps(owner))

    def ask(self, seconds: float, request: str, *arguments) -> None:
        """Sends a request: the name of a method of ``client.Client``, and its arguments.

        Args:
            seconds: until the answer must be there.

        Raises:
            Fault: the worker has ended.
        """
        self._asked, self._deadline = request, time.monotonic() + seconds
        try:
            self._pipe.send((request, arguments))
        except OSError:
            raise self._fault("crashed", "its process has ended") from None

    def answer(self):
        """Waits for the answer to the last request.

        Raises:
            Fault: there is none in time, the worker ended, or its client failed.
        """
        left = self._deadline - time.monotonic()
        try:
            if not self._pipe.poll(max(left, 0.0)):
                raise self._fault("hung", "no answer in time")
            good, value = self._pipe.recv()
        except (EOFError, OSError):
            raise self._fault("crashed", "its process ended") from None
        if not good:
            raise self._fault(*value)
        return value

    def memory(self) -> int:
        """Bytes of memory that the worker and its game take."""
        total = 0
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._supervisor.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
        return total

    def stop(self) -> None:
        """Kills the worker with all that it started, and removes its folder."""
        self._pipe.close()
        self._log.close()
        self._supervisor.stdin.close()
        try:
            self._supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
            _remove(self.folder)

    def _fault(self, kind: str, text: str) -> Fault:
        # Of a game that died, its own words; the traceback of the client repeats what it answered.
        lines = self._log.read().partition("Traceback (most recent call last)")[0].split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        text += f" ({last[:200]})" if last and text not in last else ""
        return Fault(f"{kind} in {self._asked}: {text}")


def _environment(folder: Path) -> dict[str, str]:
    """Of a worker: its folder, the game's, and no proxy between the client and its game."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    direct = ",".join(filter(None, [direct, "127.0.0.1", "localhost"]))
    return os.environ | {
        MARK: str(folder), "TMPDIR": str(folder), "SC2PATH": str(game_folder()),
        "no_proxy": direct, "NO_PROXY": direct,
    }  # fmt: skip


def sweep() -> int:
    """Kills and removes what is left of workers whose supervisor was killed.

    Only processes with the name of such a folder in their environment are killed.

    Returns:
        how many were found.
    """
    found = 0
    for folder in FOLDERS.glob("worker-*"):
        abandoned = False  # also where it vanishes meanwhile
        try:
            owner = json.loads((folder / _OWNER).read_text())
            supervisor = psutil.Process(owner["pid"])
            dead = supervisor.status() == psutil.STATUS_ZOMBIE
            abandoned = dead or supervisor.create_time() != owner["started"]
        except (OSError, ValueError):  # it is just being made, or its maker died
            with contextlib.suppress(OSError):
                abandoned = time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS
        except psutil.NoSuchProcess:
            abandoned = True
        if abandoned:
            found += 1
            _remove(folder)
    return found


def _remove(folder: Path) -> None:
    """Kills every process marked with a folder, then removes the folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder):
                process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def serve(descriptor: str, module: str, text: str) -> None:
    """The worker's process: answers the owner's requests until it has gone or something failed.

    Args:
        descriptor: of the pipe to the owner.
        module: where ``Client`` is.
        text: JSON of the client's arguments.
    """
    with contextlib.suppress(OSError, AttributeError):  # do not outlive the supervisor
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    pipe = Connection(int(descriptor))
    settings = json.loads(text)
    try:
        settings["one"] = find_map(settings.pop("map"))
        settings["options"] = EnvOptions(**settings["options"])
        client = importlib.import_module(module).Client(**settings)
    except Exception as error:
        _give_up(pipe, "crashed", error)
        return
    while True:
        try:
            request, arguments = pipe.recv()
        except EOFError:
            return
        try:
            value = getattr(client, request)
            pipe.send((True, value(*arguments) if callable(value) else value))
        except Broken as error:
            _give_up(pipe, "broken", error)
            return
        except Exception as error:
            _give_up(pipe, "crashed", error)
            return


def _give_up(pipe: Connection, kind: str, error: Exception) -> None:
    traceback.print_exc()
    with contextlib.suppress(OSError):
        pipe.send((False, (kind, f"{type(error).__name__}: {error}")))
