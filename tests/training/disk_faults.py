"""Fails a command at every call on its folder, then runs it again; ``disk_faults.c`` is preloaded.

``python -m tests.training.disk_faults SCENARIO... [--every N]`` prints what it found as JSON.
"""

import argparse
import contextlib
import ctypes
import errno
import faulthandler
import io
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from benchmark.commands import main
from benchmark.training import provenance, run_state, train
from tests.analysis import synthetic
from tests.published import releases
from tests.training import toy

ERRORS = (errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EACCES)
#: Instead of an error: a write writes half of what it should, which is none.
HALF = 0
#: A command that takes so many seconds waits for ever.
TIMEOUT = 120

SETTINGS = {
    **{"budget": 12, "evaluation_interval": 12, "evaluation_episodes": 2, "absolute_episodes": 2},
    **{"n_envs": 2, "batch_size": 2, "hidden_size": 4},
}
#: Keys of a record that no two attempts share.
CLOCK = {"attempts", "wall_seconds", "steps_per_second", "checksum", "evaluations_sha256"}


class Env(toy.ToyEnv):
    """Battles of at most six steps, so that hundreds of runs take minutes."""

    spec = replace(toy.SPEC, map="3m", backend="simulator")

    def provenance(self) -> dict:
        return {}


def train_arguments(folder: Path, **settings) -> list[str]:
    options = [f"--set={key}={value}" for key, value in (SETTINGS | settings).items()]
    run = ["--map=3m", "--algorithm=qmix", "--seed=1", "--device=cpu", "--checkpoint-seconds=0"]
    return ["train", *run, f"--output={folder}", *options]


# Where a command begins ---------------------------------------------------------------------------


def nothing(folder: Path) -> None:
    pass


def killed(folder: Path, **settings) -> None:
    """A run that did everything but write its records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "_finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(train_arguments(folder, **settings)) == 130
    assert (folder / "checkpoint.previous.pt").exists()


def killed_and_damaged(folder: Path) -> None:
    killed(folder)
    with (folder / "checkpoint.pt").open("r+b") as file:
        file.truncate(1000)


def finished(folder: Path, **settings) -> None:
    assert main(train_arguments(folder, **settings)) == 0


def finished_and_deleted(folder: Path) -> None:
    finished(folder)
    for name in run_state.RECORDS:
        (folder / name).unlink()


def finished_otherwise(folder: Path) -> None:
    finished(folder, learning_rate=0.1)


def study(folder: Path) -> None:
    """A study's folder with two finished runs, and one that has begun."""
    for seed in range(2):
        table = synthetic.run("3m", "qmix", seed, study=folder.name, episodes=2, absolute=2)
        synthetic.save(table, folder / f"runs/simulator/3m/qmix/default/{seed}")
    killed(folder / "runs/simulator/3m/qmix/default/2")


def release(folder: Path) -> None:
    """Raw files of a release and their mapping."""
    runs = [releases.run(seed=seed, points=9) for seed in range(2)]
    releases.save(runs, folder / "raw")
    releases.mapping(folder)


@dataclass(frozen=True)
class Scenario:
    """A command, where it begins, and what it is called with."""

    start: Callable[[Path], None]
    arguments: Callable[[Path], list[str]]


SCENARIOS = {
    "train": Scenario(nothing, train_arguments),
    "go on": Scenario(killed, train_arguments),
    "go on from the previous checkpoint": Scenario(killed_and_damaged, train_arguments),
    "restore": Scenario(finished_and_deleted, train_arguments),
    "replace": Scenario(
        finished_otherwise, lambda folder: [*train_arguments(folder), "--replace=changed"]
    ),
    "status": Scenario(study, lambda folder: ["status", str(folder)]),
    "aggregate": Scenario(study, lambda folder: ["aggregate", str(folder)]),
    "import": Scenario(
        release,
        lambda folder: [
            *("published", "import", str(folder / "raw"), f"--output={folder / 'imported'}"),
            f"--source={folder / 'mapping.yaml'}",
        ],
    ),
}


# Faults -------------------------------------------------------------------------------------------


class Disk:
    """The preloaded library."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_calls.restype = ctypes.c_char_p
        self.calls: list[str] = []

    @contextlib.contextmanager
    def failing(self, folder: Path, first: int = 0, last: int = 0, error: int = HALF) -> Iterator:
        """Calls ``first`` to ``last`` on the folder fail; then ``calls`` names all of them."""
        numbers = ctypes.c_long(first), ctypes.c_long(last), error
        self._library.faults_begin(str(folder).encode(), *numbers)
        try:
            yield
        finally:
            self._library.faults_end()
            self.calls = self._library.faults_calls().decode().splitlines()


class Output(logging.StreamHandler):
    """What a command says; a message of several lines is noted."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if len(self.format(record).splitlines()) > 1:
            self.problems.append(f"a message of several lines: {self.format(record)}")

    def take(self) -> str:
        """What was said since the last time."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text


def run(arguments: list[str], output: Output) -> tuple[int | None, str]:
    """A command's exit code, None after an error that it did not catch, and what it said."""
    faulthandler.dump_traceback_later(TIMEOUT, exit=True)
    try:
        with contextlib.redirect_stdout(output.stream), contextlib.redirect_stderr(output.stream):
            code = main(arguments)
    except BaseException as error:
        return None, f"{type(error).__name__}: {error}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return code, output.take()


def result(folder: Path) -> dict[str, object]:
    """What a command left, without what no two calls share."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".tmp" and not (folder / ".lock").exists():
            continue  # where a disk cannot even delete, only a run is sure that nobody else writes
        if path.suffix == ".json" and path.is_file():
            about = json.loads(path.read_bytes())
            keys = about.keys() - CLOCK if isinstance(about, dict) else set()
            found[name] = {key: about[key] for key in keys}
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    for name in found.keys() & {"progress.json", "train.log"}:
        found[name] = None
    return found


def examine(scenario: Scenario, every: int, disk: Disk, folder: Path) -> dict:
    """Fails every so-many-th call of a scenario's command.

    Each of them once with each error, and for the rest of the command with one of the errors; where
    only a part is examined, with one of all these.
    """
    output = Output()
    logging.getLogger().handlers[:] = [output]
    sys.unraisablehook = lambda about: output.problems.append(f"ignored: {about.exc_value!r}")
    start, work = folder / "start", folder / "work"
    work.mkdir()
    with contextlib.redirect_stdout(output.stream):
        scenario.start(work)
    work.rename(start)

    def begin() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start, work)

    begin()
    output.take()
    with disk.failing(work):
        code, text = run(scenario.arguments(work), output)
    assert code == 0, text
    expected, calls = result(work), disk.calls
    problems, tried, stopped = [], 0, 0
    for number, call in enumerate(calls, start=1):
        ways = [(number, error) for error in ERRORS]
        ways.append((sys.maxsize, ERRORS[number % len(ERRORS)]))
        if call.startswith("write "):
            ways.append((number, HALF))
        if every > 1:
            turn, rest = divmod(number, every)
            ways = [ways[turn % len(ways)]] if not rest else []
        for last, error in ways:
            begin()
            output.problems.clear()
            with disk.failing(work, number, last, error):
                code, text = run(scenario.arguments(work), output)
            lines, found = text.splitlines(), list(output.problems)
            if code not in (0, 2) or "Traceback" in text:
                found.append(f"ended with {code}: {text}")
            if code == 2 and [line for line in lines if "error: " in line] != lines[-1:]:
                found.append(f"not one line: {text}")
            again, more = run(scenario.arguments(work), output)
            if again != 0:
                found.append(f"does not go on: {more}")
            elif (left := result(work)) != expected:
                differ = {name for name in left | expected if left.get(name) != expected.get(name)}
                differ |= left.keys() ^ expected.keys()
                found.append(f"went on to another result: {', '.join(sorted(differ))}")
            how = f"{errno.errorcode.get(error, 'half')}{'' if last == number else ' from then on'}"
            where = call.replace(str(work), "")
            problems += [f"call {number} ({where}) {how}: {problem}" for problem in found]
            tried, stopped = tried + 1, stopped + (code == 2)
    return {"calls": len(calls), "tried": tried, "stopped": stopped, "problems": problems}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="+", choices=SCENARIOS)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    train.make = lambda map, n_envs, *_: Env(n_envs)
    train.make_evaluation = lambda env, map, n_envs, *_: Env(n_envs)
    provenance.commit = cache(provenance.commit)
    provenance.source_hash = cache(provenance.source_hash)
    found = {}
    for name in options.scenarios:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = examine(SCENARIOS[name], options.every, Disk(), Path(folder).resolve())
    print(json.dumps(found, indent=2))
