"""Every file that a run leaves, damaged at random: one line, or the previous checkpoint, never a
traceback or another number."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmark import files
from benchmark.envs import spec_of
from benchmark.errors import BenchmarkError
from benchmark.training import checkpoint, progress, run_record, train
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.train import make_replay
from tests.training.small import small_run, train_without_record


def load(folder: Path) -> tuple:
    """What a run goes on from: its state and its replay."""
    replay = make_replay(spec_of("3m"), small_run().training)
    state = Checkpoints(folder).load(replay)
    stored = replay.packed(replay.added - len(replay), replay.added)
    return state, replay.added, [tuple(episode) for episode in stored]


#: A finished run's files and what reads them.
READERS: dict[str, Callable] = {
    "evaluations.parquet": run_record.read_with_table,
    "run.json": run_record.read_with_table,
    ".run.json": lambda folder: run_record.read(folder, "."),
    ".evaluations.parquet": lambda folder: run_record.read(folder, "."),
    "progress.json": lambda folder: files.read_sealed(folder / "progress.json", progress.KEYS),
    "policy.pt": lambda folder: checkpoint.read_state(folder / "policy.pt"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """A finished run, and one that was killed, with checkpoints."""
    folder = tmp_path_factory.mktemp("damage")
    train.train(small_run(budget=1200), folder / "done", device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        train_without_record(folder / "killed", patch, budget=1200)
    return folder / "done", folder / "killed"


def damaged(data: bytes, stream: random.Random) -> bytes:
    """The bytes with a flipped bit, a cut, a lost or doubled range, or zeros."""
    changed, begin = bytearray(data), stream.randrange(len(data))
    end = begin + stream.choice([1, 7, 64, 512, 4096])
    kind = stream.choice(["flip", "cut", "lost", "doubled", "zeros"])
    if kind == "flip":
        changed[begin] ^= 1 << stream.randrange(8)
    elif kind == "cut":
        del changed[begin:]
    elif kind == "lost":
        del changed[begin:end]
    elif kind == "doubled":
        changed[begin:begin] = changed[begin:end]
    else:
        changed[begin:end] = bytes(len(changed[begin:end]))
    return bytes(changed)


def equal(a, b) -> bool:
    if isinstance(a, pd.DataFrame):
        return a.equals(b)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def damage_each(folder: Path, name: str, read: Callable, allowed: list, times: int, tmp: Path):
    """Damages a file ``times`` times; what is read is whole, allowed, or an error of one line."""
    stream = random.Random(name)
    expected, whole = [read(folder), *allowed], (folder / name).read_bytes()
    for number in range(times):
        copy = tmp / str(number)
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(damaged(whole, stream))
        try:
            found = read(copy)
        except BenchmarkError as error:
            assert "\n" not in str(error)  # noqa: PT017, the file may also be read
        else:
            assert any(equal(value, found) for value in expected), number
        shutil.rmtree(copy)


TIMES = [8, pytest.param(150, marks=pytest.mark.slow)]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", READERS)
def test_records(runs, name, times, tmp_path):
    damage_each(runs[0], name, READERS[name], [], times, tmp_path)


@pytest.mark.parametrize("times", TIMES)
def test_checkpoints(runs, times, tmp_path):
    killed = runs[1]
    newest = killed / "checkpoint.pt"
    older = tmp_path / "older"
    shutil.copytree(killed, older)
    (older / newest.name).unlink()
    nothing = (None, 0, [])
    for path in sorted(killed.rglob("*.pt")):
        name = str(path.relative_to(killed))
        damage_each(killed, name, load, [load(older), nothing], times, tmp_path)
