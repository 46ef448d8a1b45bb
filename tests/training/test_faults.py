"""Disks that are full or read-only, damaged files, jumping clocks, files that Snakemake deletes.

Kills, signals and the most common damage are in ``test_resume.py``; two workflows on one results
folder and file dates in ``test_workflow.py``; broken nodes and time limits in ``test_slurm.py``.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from algorithms.learner import Learner
from benchmark import files
from benchmark.envs.simulator import env
from benchmark.errors import BenchmarkError
from benchmark.training import checkpoint, provenance, run_state, train
from benchmark.training.config import resolve_run
from benchmark.training.evaluations import read_evaluations
from benchmark.training.lock import exclusive
from tests.training.small import SMALL, small_run, train_without_record


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of its own, of 700 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", folder]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The evaluations of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    train.train(small_run(), folder, device="cpu")
    return (folder / "evaluations.parquet").read_bytes()


def test_a_full_disk_loses_nothing(disk, whole):
    with pytest.raises(BenchmarkError, match="No space left on device; free the disk"):
        train.train(small_run(), disk / "run", device="cpu", checkpoint_seconds=0)
    assert not list(disk.rglob("*.tmp"))
    remount(disk, "size=64m")
    train.train(small_run(), disk / "run", device="cpu")
    assert (disk / "run" / "evaluations.parquet").read_bytes() == whole
    assert files.read_json(disk / "run" / "run.json")["attempts"][-1]["from_step"] > 0


def test_a_read_only_disk_is_one_line(disk):
    remount(disk, "ro")
    with pytest.raises(BenchmarkError, match=f"cannot write to {disk}/run: Read-only file system"):
        train.train(small_run(), disk / "run", device="cpu")


@pytest.mark.parametrize("damaged", ["checkpoint.pt", "replay/*.pt"])
def test_a_changed_byte_in_a_checkpoint_is_noticed(tmp_path, monkeypatch, caplog, whole, damaged):
    train_without_record(tmp_path, monkeypatch)
    paths = sorted(tmp_path.glob(damaged))
    assert paths
    for path in paths:
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        for position in range(middle, middle + 256):  # longer than the padding between records
            content[position] ^= 1
        path.write_bytes(content)
    train.train(small_run(), tmp_path, device="cpu")
    assert "is damaged" in caplog.text
    assert (tmp_path / "evaluations.parquet").read_bytes() == whole
    attempts = files.read_json(tmp_path / "run.json")["attempts"]
    assert (attempts[-1]["from_step"] > 0) == (damaged == "checkpoint.pt")
    assert not list(tmp_path.rglob("*.damaged"))


def test_a_disk_that_fails_for_a_while_costs_nothing(tmp_path, monkeypatch, whole):
    train_without_record(tmp_path, monkeypatch)
    before = sorted(path.name for path in tmp_path.rglob("*.pt"))

    real = Path.read_bytes

    def failing(path):
        if path.suffix == ".pt":
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        with pytest.raises(
            BenchmarkError, match=r"checkpoint\.pt: Stale file handle; run the same"
        ):
            train.train(small_run(), tmp_path, device="cpu")
    assert sorted(path.name for path in tmp_path.rglob("*.pt")) == before
    assert files.read_json(tmp_path / "progress.json")["state"] == "failed"
    train.train(small_run(), tmp_path, device="cpu")
    assert (tmp_path / "evaluations.parquet").read_bytes() == whole
    assert files.read_json(tmp_path / "run.json")["attempts"][-1]["from_step"] > 0


@pytest.mark.parametrize("changed", ["simulator", "device"])
def test_checkpoints_of_other_battles_or_another_device_are_not_continued(
    tmp_path, monkeypatch, caplog, changed
):
    train_without_record(tmp_path, monkeypatch)
    if changed == "simulator":
        monkeypatch.setattr(env, "VERSION", "of tomorrow")
        train.train(small_run(), tmp_path, device="cpu")
        assert "the backend has changed; starting over" in caplog.text
        about = files.read_json(tmp_path / "run.json")
        assert about["backend_version"] == "of tomorrow"
        assert [attempt["from_step"] for attempt in about["attempts"]] == [0]
        return
    state = checkpoint.read_state(tmp_path / "checkpoint.pt")
    checkpoint.write(state | {"device": "cuda"}, tmp_path / "checkpoint.pt")
    said = (tmp_path / "progress.json").read_bytes()
    with pytest.raises(BenchmarkError, match=r"begun on cuda, here is cpu: name the device"):
        train.train(small_run(), tmp_path)
    assert (tmp_path / "progress.json").read_bytes() == said


def test_a_run_continues_on_another_device_that_is_named(tmp_path, caplog):
    run = resolve_run(map="3m", algorithm="r3dm", seed=1, overrides=[SMALL | {"budget": 400}])
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "_finish", lambda self: _interrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train(run, first, device="cpu", checkpoint_seconds=0)
    state = checkpoint.read_state(first / "checkpoint.previous.pt")
    learner = state["learner"]
    of_cuda = {name: torch.zeros(16, dtype=torch.uint8) for name in learner["streams"]}
    moved = state | {"device": "cuda", "learner": learner | {"streams": of_cuda}}
    checkpoint.write(moved, first / "checkpoint.pt")
    shutil.copytree(first, second)
    seeds = []
    with pytest.MonkeyPatch.context() as patch:
        begin = Learner.seed_streams
        patch.setattr(
            Learner, "seed_streams", lambda *those: begin(*those) or seeds.append(those[1])
        )
        for folder in (first, second):
            train.train(run, folder, device="cpu")
    assert "begun on cuda, continues on cpu" in caplog.text
    assert len(set(seeds)) == 2  # of the beginning, and of the move
    assert seeds[:2] == seeds[2:]
    about = files.read_json(first / "run.json")
    assert about["attempts"][-1]["from_step"] == state["steps"] > 0
    evaluations = [(folder / "evaluations.parquet").read_bytes() for folder in (first, second)]
    assert evaluations[0] == evaluations[1]


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_granted_gpu_that_torch_cannot_use_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with monkeypatch.context() as patch:
        patch.setattr(train, "make", None)  # no battle, or game, begins before
        with pytest.raises(BenchmarkError, match=r"GPU 0 was granted, but torch .* cannot use it"):
            train.train(small_run(budget=400), tmp_path)
    assert files.read_json(tmp_path / "progress.json")["state"] == "failed"  # for status
    train.train(small_run(budget=400), tmp_path, device="cpu")


def test_a_run_is_recorded_with_the_source_that_it_began_with(tmp_path, monkeypatch):
    collect, before = train.Run._collect, provenance.source_hash("qmix", "simulator")

    def pulling(self):
        monkeypatch.setattr(provenance, "source_hash", lambda *_: "of what was pulled")
        return collect(self)

    monkeypatch.setattr(train.Run, "_collect", pulling)
    train.train(small_run(budget=400), tmp_path, device="cpu")
    about = files.read_json(tmp_path / "run.json")
    assert about["source_hash"] == about["attempts"][0]["source_hash"] == before


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def unsupported(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(BenchmarkError, match=r"cannot lock .*: No locks available"):
        train.train(small_run(budget=400), tmp_path, device="cpu")


def test_a_lock_that_cannot_be_released_is_no_error(tmp_path, monkeypatch):
    """It ends with the process; the run has its record, or an error of its own."""

    def unlocking(handle, operation):
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", unlocking)
    with exclusive(tmp_path):
        pass


def test_a_slurm_job_waits_for_the_one_that_still_trains_its_run(tmp_path, monkeypatch, caplog):
    """A workflow that was killed leaves its jobs behind; the next one submits the run again."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    free = threading.Event()

    def other():
        with exclusive(tmp_path):
            held.set()
            while "waiting for it" not in caplog.text and not free.wait(0.05):
                pass

    held, thread = threading.Event(), threading.Thread(target=other)
    thread.start()
    held.wait()
    try:
        train.train(small_run(budget=400), tmp_path, device="cpu")
    finally:
        free.set()
        thread.join()
    assert "in use by another process; waiting for it" in caplog.text
    assert run_state.is_finished(tmp_path)


def test_what_a_kill_after_the_record_left_goes_with_the_next_call(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "delete", lambda self: None)
        train.train(small_run(), tmp_path, device="cpu", checkpoint_seconds=0)
    assert list(tmp_path.rglob("checkpoint*.pt"))
    train.train(small_run(), tmp_path, device="cpu")
    assert not list(tmp_path.rglob("checkpoint*.pt"))
    assert not (tmp_path / "replay").exists()


def test_jumps_of_the_clock_change_nothing(tmp_path, monkeypatch, whole):
    """The clock goes back a year between the attempts, and files come from the future."""
    train_without_record(tmp_path, monkeypatch)
    future = (datetime.now(UTC) + timedelta(days=400)).timestamp()
    for path in tmp_path.rglob("*.pt"):
        os.utime(path, (future, future))
    monkeypatch.setattr(provenance, "now", lambda: "2020-01-01T00:00:00+00:00")
    train.train(small_run(), tmp_path, device="cpu")
    assert (tmp_path / "evaluations.parquet").read_bytes() == whole
    about = files.read_json(tmp_path / "run.json")
    assert about["attempts"][-1]["from_step"] > 0
    assert 0 < about["wall_seconds"] < 600
    assert about["steps_per_second"] > 0


@pytest.fixture
def finished_run(tmp_path) -> Path:
    folder = tmp_path / "run"
    train.train(small_run(budget=400), folder, device="cpu")
    return folder


def delete_records(folder: Path) -> dict[str, bytes]:
    """What Snakemake does to the outputs of a failed job; returns what they held."""
    content = {name: (folder / name).read_bytes() for name in run_state.RECORDS}
    for name in content:
        (folder / name).unlink()
    return content


def test_deleted_records_of_a_finished_run_come_back(finished_run):
    before = delete_records(finished_run)
    train.train(small_run(budget=400), finished_run, device="cpu")
    assert {name: (finished_run / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("reason", ["configuration", "source", "damage"])
def test_only_records_that_still_hold_come_back(finished_run, monkeypatch, reason):
    delete_records(finished_run)
    config = small_run(budget=800 if reason == "configuration" else 400)
    if reason == "source":
        monkeypatch.setattr(provenance, "source_hash", lambda *of: "of now" if of[2:] == () else "")
    if reason == "damage":
        copy = finished_run / ".evaluations.parquet"
        copy.write_bytes(copy.read_bytes()[:-50])
    train.train(config, finished_run, device="cpu")
    about = files.read_json(finished_run / "run.json")
    assert about["config_hash"] == config.hash
    assert len(about["attempts"]) == 1
    assert "ended" in about["attempts"][0]
    assert about["source_hash"] == provenance.source_hash("qmix", "simulator")
    assert len(read_evaluations(finished_run / "evaluations.parquet"))
