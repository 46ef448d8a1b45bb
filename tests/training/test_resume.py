"""A run may be killed at any moment: continued, it gives the same bytes as one never killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.training import checkpoint, provenance, run_state, train
from benchmark.training.config import resolve_run
from benchmark.training.lock import exclusive
from tests.training.small import SMALL, Silent, small_run, train_without_record


def start(folder: Path, settings: dict) -> subprocess.Popen:
    options = [f"--set={key}={value}" for key, value in settings.items()]
    run = ["train", "--map=3m", "--algorithm=qmix", "--seed=3", f"--output={folder}"]
    command = [sys.executable, "-m", "benchmark", *run, "--checkpoint-seconds=0", *options]
    return subprocess.Popen(
        command,
        cwd=files.ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, settings: dict) -> bytes:
    run = resolve_run(map="3m", algorithm="qmix", seed=3, overrides=[settings])
    train.train(run, folder, device="cpu", checkpoint_seconds=0)
    return (folder / "evaluations.parquet").read_bytes()


def wait_for_progress(process: subprocess.Popen, folder: Path, patience: float = 120) -> None:
    """Returns once the run has written a checkpoint of this attempt."""
    begin = time.time()
    seen = [path.stat().st_mtime_ns for path in folder.glob("checkpoint.pt")]
    while process.poll() is None and time.time() - begin < patience:
        if [path.stat().st_mtime_ns for path in folder.glob("checkpoint.pt")] not in (seen, []):
            return
        time.sleep(0.01)
    assert process.poll() is not None, "the run never wrote a checkpoint"


@pytest.mark.parametrize(
    "replay_episodes",
    [pytest.param(5000, marks=pytest.mark.slow, id="not wrapped"), pytest.param(20, id="wrapped")],
)
def test_killed_run_gives_the_same_bytes(tmp_path, replay_episodes):
    settings = SMALL | {"replay_episodes": replay_episodes}
    whole = finish(tmp_path / "whole", settings)
    rng = random.Random(replay_episodes)
    kills = 0
    for _ in range(2):
        process = start(tmp_path / "killed", settings)
        wait_for_progress(process, tmp_path / "killed")
        time.sleep(rng.random() * 0.3)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills == 2
    assert finish(tmp_path / "killed", settings) == whole
    provenance = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert len(provenance["attempts"]) >= 2
    assert provenance["attempts"][-1]["from_step"] > 0
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not any("checkpoint" in name or name == "replay" for name in left)
    assert not any(name.endswith(".tmp") for name in left)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    (tmp_path / "replay").mkdir()
    own = (".checkpoint.pt.abcdefgh.tmp", "replay/.00000000-00000009.pt.abcdefgh.tmp")
    others = (
        *(".notes.abcdefgh.tmp", ".checkpoint.pt.backup.tmp", "replay/.notes.tmp"),
        *(".notes.py.abcdefgh.tmp", "replay/.best.pt.abcdefgh.tmp", "replay/best.pt"),
    )
    for name in (*own, *others):
        (tmp_path / name).write_bytes(b"half")
    train.train(small_run(budget=400), tmp_path, device="cpu")
    assert not any((tmp_path / name).exists() for name in own)
    assert all((tmp_path / name).exists() for name in others)


def test_sigterm_saves_and_stops(tmp_path):
    settings = SMALL | {"budget": 50_000}
    process = start(tmp_path, settings)
    wait_for_progress(process, tmp_path)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "again to continue" in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "interrupted"
    assert (tmp_path / "checkpoint.pt").exists()


def test_evaluating_more_often_never_changes_training(tmp_path):
    """The evaluation stream is its own: the learner of both runs ends with the same weights."""
    weights = []
    for interval in (400, 1200):
        rounds = []
        run = train.Run(
            small_run(evaluation_interval=interval),
            tmp_path / str(interval),
            "cpu",
            Silent(),
        )
        while run.steps < 1200:
            run._learn(run._collect())
            run._evaluate_when_due()
            rounds.append(run.steps)
        weights.append((rounds, run.learner.agent.head.weight.tolist()))
    assert weights[0] == weights[1]


def test_updates_pending_after_an_aborted_battle_are_made_later(tmp_path):
    """Four updates for sixteen battles, however many the game aborts (GoMARL's 1 in 8)."""
    run = train.Run(small_run(updates_per_episode=0.25), tmp_path, "cpu", Silent())
    run._collect()
    made = []
    for played in (4, 3, 3, 2, 4):
        run._learn(played)
        made.append(run.learner.updates)
    assert made == [1, 1, 2, 3, 4]


def test_finished_run_is_left_alone_and_another_configuration_refused(tmp_path):
    train.train(small_run(budget=400), tmp_path, device="cpu")
    before = (tmp_path / "run.json").read_bytes()
    train.train(small_run(budget=400), tmp_path, device="cpu")
    assert (tmp_path / "run.json").read_bytes() == before
    with pytest.raises(BenchmarkError, match=r"budget \(400 there, 800 here\); choose another"):
        train.train(small_run(budget=800), tmp_path, device="cpu")
    assert (tmp_path / "run.json").read_bytes() == before


def test_an_unfinished_run_is_never_lost_to_other_options(tmp_path, monkeypatch, caplog):
    train_without_record(tmp_path, monkeypatch, budget=1000)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for changes in ({"learning_rate": 0.1}, {"budget": 1600}, {"budget": 800}):
        with pytest.raises(
            BenchmarkError, match=rf"unfinished .* {next(iter(changes))} \(.*; give"
        ):
            train.train(small_run(**{"budget": 1000} | changes), tmp_path, device="cpu")
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    train.train(small_run(budget=800), tmp_path, device="cpu", replace="changed")  # the workflow
    assert "the configuration has changed; starting over" in caplog.text
    assert files.read_json(tmp_path / "run.json")["budget"] == 800


def test_records_of_an_earlier_run_do_not_come_back_over_an_unfinished_one(
    tmp_path, monkeypatch, caplog
):
    train.train(small_run(budget=400), tmp_path, device="cpu")
    train_without_record(tmp_path, monkeypatch, replace="changed", learning_rate=0.1, budget=800)
    with pytest.raises(BenchmarkError, match="an unfinished run with other options"):
        train.train(small_run(budget=400), tmp_path, device="cpu")
    assert (tmp_path / "checkpoint.pt").exists()
    train.train(small_run(budget=400), tmp_path, device="cpu", replace="changed")
    assert "the unfinished run with other options is lost (budget" in caplog.text
    assert files.read_json(tmp_path / "run.json")["budget"] == 400


def test_an_attempt_that_cannot_begin_does_not_hide_the_checkpoint(tmp_path, monkeypatch):
    train_without_record(tmp_path, monkeypatch, budget=800)
    before = files.read_json(tmp_path / "progress.json")

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA: Tried to allocate 2 GiB")

    monkeypatch.setattr(train, "make_learner", full)
    with pytest.raises(BenchmarkError, match="memory ran out"):
        train.train(small_run(budget=800), tmp_path, device="cpu")
    after = files.read_json(tmp_path / "progress.json")
    assert after["state"] == "failed"
    assert after["saved_step"] == before["saved_step"] > 0
    checkpoint.Checkpoints(tmp_path).delete()
    with pytest.raises(BenchmarkError, match="memory ran out"):
        train.train(small_run(budget=800), tmp_path, device="cpu")
    assert files.read_json(tmp_path / "progress.json")["saved_step"] == 0


def test_progress_tells_the_code_of_the_attempts_that_led_to_the_checkpoint(tmp_path, monkeypatch):
    def told() -> list[str]:
        attempts = files.read_json(tmp_path / "progress.json")["attempts"]
        assert all(set(one) == {"commit", "dirty", "source_hash"} for one in attempts)
        return [one["source_hash"] for one in attempts]

    def by(code: str, **changes) -> None:
        monkeypatch.setattr(provenance, "source_hash", lambda *of: code)
        train_without_record(tmp_path, monkeypatch, **changes)

    by("first", budget=400)
    by("second", budget=400)  # has nothing left to play, and saves nothing
    assert told() == ["first"]
    by("third", budget=800)
    assert told() == ["first", "third"]
    monkeypatch.setattr(train, "make_learner", None)
    with pytest.raises(TypeError):  # it ends before its attempt has begun
        train.train(small_run(budget=800), tmp_path, device="cpu")
    assert told() == ["first", "third"]


def test_an_unfinished_run_goes_on_to_another_budget(tmp_path, monkeypatch):
    """With the bytes of a run that had it from the beginning."""
    train.train(small_run(budget=1600), tmp_path / "whole", device="cpu")
    train_without_record(tmp_path / "on", monkeypatch, budget=800)
    train.train(small_run(budget=1600), tmp_path / "on", device="cpu")
    assert files.read_json(tmp_path / "on" / "run.json")["attempts"][-1]["from_step"] >= 800
    whole, on = (tmp_path / name / "evaluations.parquet" for name in ("whole", "on"))
    assert whole.read_bytes() == on.read_bytes()


def test_an_unfinished_run_outlives_an_update_that_brings_a_key(tmp_path, monkeypatch):
    """A key that is younger than its checkpoint is off, so the workflow goes on with it."""
    train_without_record(tmp_path, monkeypatch, budget=800)
    state = checkpoint.read_state(tmp_path / "checkpoint.pt")
    del state["config"]["training"]["burn_in_episodes"]
    checkpoint.write(state, tmp_path / "checkpoint.pt")
    train.train(small_run(budget=800), tmp_path, device="cpu", replace="changed")
    assert files.read_json(tmp_path / "run.json")["attempts"][-1]["from_step"] >= 800


def test_a_checkpoint_of_other_networks_is_one_line(tmp_path, monkeypatch):
    """A method that was edited between two attempts."""
    train_without_record(tmp_path, monkeypatch, budget=800)
    state = checkpoint.read_state(tmp_path / "checkpoint.pt")
    weights = state["learner"]["networks"]
    weights["agent.encoder.weight"] = weights["agent.encoder.weight"][:-1]
    checkpoint.write(state, tmp_path / "checkpoint.pt")
    with pytest.raises(BenchmarkError, match=r"does not fit the networks of qmix .* --replace"):
        train.train(small_run(budget=800), tmp_path, device="cpu")
    assert (tmp_path / "checkpoint.pt").exists()


def test_a_run_that_diverged_is_recorded_as_such(tmp_path, caplog):
    train.train(small_run(budget=800, learning_rate=1e30), tmp_path, device="cpu")
    assert "the policy's weights are not finite at step" in caplog.text
    assert files.read_json(tmp_path / "run.json")["end_reason"] == run_state.DIVERGED


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        torch.OutOfMemoryError("CUDA: Tried to allocate 2 GiB\nmore"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
    ids=["numpy", "torch", "triton", "cublas", "cudnn"],
)
def test_memory_that_runs_out_is_one_line(tmp_path, monkeypatch, error):
    def full(self):
        raise error

    monkeypatch.setattr(train.Run, "_collect", full)
    line = re.escape(str(error).partition("\n")[0])
    with pytest.raises(BenchmarkError, match=rf"memory ran out \({line}\); let fewer runs"):
        train.train(small_run(), tmp_path, device="cpu")
    assert files.read_json(tmp_path / "progress.json")["state"] == "failed"


def test_two_processes_never_share_a_folder(tmp_path):
    with (
        exclusive(tmp_path),
        pytest.raises(BenchmarkError, match="in use by another process"),
    ):
        train.train(small_run(), tmp_path, device="cpu")


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file" / "run", SMALL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("error: cannot write to ")
    assert "Traceback" not in errors


def test_a_budget_too_small_for_one_update_is_said(tmp_path, caplog):
    train.train(small_run(budget=400, batch_size=64), tmp_path, device="cpu")
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["updates"] == 0
    assert about["end_reason"] == "budget reached, before the first update"
    assert "before the first update" in caplog.text
