"""What TensorBoard and Weights & Biases get of a run, and that they never end one."""

import json

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.training.loggers import LOGGERS, Loggers
from benchmark.training.progress import Progress
from benchmark.training.rollout import EpisodeStats
from benchmark.training.train import train
from tests.training.small import small_run


def evaluate_twice(folder, loggers) -> None:
    """Two evaluations of a run, with win rates of 0.25 and 0.75."""
    progress = Progress(small_run(), folder, loggers)
    for step, wins in ((100, 1), (200, 3)):
        numbers = np.ones(4)
        won = np.arange(4) < wins
        progress.evaluated(step, EpisodeStats(won, numbers, numbers, numbers, numbers), {"td": 0.5})
    progress.stop("done")


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="pip install -e '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    evaluate_twice(tmp_path, ["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(point.step, point.value) for point in events.Scalars("evaluation/win_rate")]
    assert points == [(100, 0.25), (200, 0.75)]
    assert "training/td" in events.Tags()["scalars"]


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    evaluate_twice(tmp_path, ["wandb"])
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    stored = written.read_bytes()
    assert b"evaluation/win_rate" in stored
    assert b"0.75" in stored


@pytest.mark.parametrize(
    ("name", "message"), [("neptune", "choose from tensorboard, wandb"), ("wandb", "pip install")]
)
def test_a_logger_that_is_not_there_is_one_clear_line(name, message, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(BenchmarkError, match=message):
        Loggers([name], small_run(), tmp_path)
    with pytest.raises(BenchmarkError, match=message):
        train(small_run(), tmp_path / "run", loggers=[name])
    assert not (tmp_path / "run").exists()


def test_a_logger_that_fails_ends_no_run(tmp_path, monkeypatch, caplog):
    class Broken:
        def __init__(self, config, folder):
            self.calls = 0

        def write(self, step, values):
            raise ConnectionError("no route to host")

    monkeypatch.setitem(LOGGERS, "tensorboard", Broken)
    monkeypatch.setattr("importlib.util.find_spec", lambda package: True)
    evaluate_twice(tmp_path, ["tensorboard"])
    assert caplog.text.count("no route to host") == 1
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "done"
