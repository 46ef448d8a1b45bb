"""Training on a game that fails: it ends, the record counts the faults, nothing leaks."""

import json
import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest

from benchmark import files
from benchmark.commands import main
from benchmark.envs.starcraft2 import env, worker
from benchmark.training import train
from benchmark.training.config import resolve_run
from tests.envs.starcraft2.test_workers import install_fakes

SMALL = {
    "n_envs": 4, "batch_size": 4, "replay_episodes": 50, "hidden_size": 16,
    "evaluation_episodes": 6, "absolute_episodes": 5,
}  # fmt: skip


def small_run(**changes):
    return resolve_run(
        map="3m", algorithm="qmix", seed=1, backend="starcraft2", overrides=[SMALL, changes]
    )


def leftovers(folder):
    """Processes of workers, and their folders, below a folder."""
    marked = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(worker.MARK, "")
        except psutil.Error:
            continue
        marked += [process.pid] if mark.startswith(str(folder)) else []
    return marked, list(folder.rglob("worker-*"))


def test_a_run_counts_its_faults(tmp_path, monkeypatch, caplog):
    install_fakes(tmp_path, monkeypatch.setattr, monkeypatch.setenv)
    monkeypatch.setenv("FAKE_SEVENTH", "1")
    monkeypatch.setattr(env, "describe", lambda one, settings: {"game": "fake"})
    config = small_run(budget=300, evaluation_interval=100)
    with caplog.at_level(logging.WARNING):
        train.train(config, tmp_path / "run", device="cpu")
    about = files.read_json(tmp_path / "run" / "run.json")
    (attempt,) = about["attempts"]
    faults = attempt["backend"]["faults"]
    assert set(faults) == {"crashed in step"}
    assert faults["crashed in step"] == caplog.text.count("its episode is aborted") > 3
    assert about["env_steps"] == 6 * about["episodes"] >= 300  # whole episodes alone
    table = pd.read_parquet(tmp_path / "run" / "evaluations.parquet")
    count = table.groupby(["phase", "step"]).size()
    assert count["training"].tolist() == [6] * 4
    assert count["absolute"].tolist() == [5]
    assert (table["length"] == 6).all()
    assert leftovers(tmp_path) == ([], [])


def test_a_run_that_cannot_go_on_says_why(tmp_path, monkeypatch, capsys):
    install_fakes(tmp_path, monkeypatch.setattr, monkeypatch.setenv)
    monkeypatch.setenv("FAKE_SEVENTH", "1")
    monkeypatch.setenv("STARCRAFT2_FAULTS_PER_HOUR", "2")
    options = [f"--set={key}={value}" for key, value in SMALL.items()]
    command = ["train", "--map=3m", "--algorithm=qmix", "--backend=starcraft2", *options]
    assert main([*command, "--set=budget=600", f"--output={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "error: StarCraft II failed 3 times within an hour, the last time crashed in" in error
    assert files.read_json(tmp_path / "run" / "progress.json")["state"] == "failed"
    assert leftovers(tmp_path) == ([], [])


def test_without_the_game_it_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    command = ["train", "--map=3m", "--algorithm=qmix", "--backend=starcraft2"]
    assert main([*command, f"--output={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert f"StarCraft II 4.10 is not at {tmp_path}" in error
    assert "install-starcraft2" in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.clients
@pytest.mark.parametrize("name", ["3m", "terran_3_vs_3"])
def test_qmix_on_the_real_clients_through_every_fault(game, tmp_path, monkeypatch, name):
    faults = "crash=0.001,hang=0.0003,late=0.0005,no_start=0.05,no_units=0.05,slow=2"
    folder = game(faults=faults)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the workers' folders go there
    monkeypatch.setenv("STARCRAFT2_STEP_SECONDS", "10")
    monkeypatch.setenv("STARCRAFT2_RESET_SECONDS", "15")
    monkeypatch.setenv("STARCRAFT2_FAULTS_PER_HOUR", "500")
    output = tmp_path / "run"
    options = [f"--set={key}={value}" for key, value in SMALL.items()]
    command = [
        sys.executable, "-m", "benchmark", "train", f"--map={name}", "--algorithm=qmix",
        "--backend=starcraft2", "--set=budget=3000", "--set=evaluation_interval=1000", *options,
        f"--output={output}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=files.ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    about = json.loads((output / "run.json").read_text())
    backend = about["attempts"][-1]["backend"]
    assert about["env_steps"] >= 3000
    assert about["backend_version"] == "4.10 (Base75689, stand-in)"
    assert backend["standin"]
    counted = {kind: count for kind, count in backend["faults"].items() if kind != "recycled"}
    assert sum(counted.values()) == done.stderr.count("its episode is aborted") > 3
    table = pd.read_parquet(output / "evaluations.parquet")
    assert set(table["backend"]) == {"standin"}
    assert table.groupby(["phase", "step"]).size().tolist() == [5, 6, 6, 6, 6]
    assert np.isfinite(table["return"]).all()
    assert leftovers(tmp_path) == ([], [])
    assert str(folder) not in " ".join(
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    )
