"""Runs of seconds."""

from pathlib import Path

import pytest

from benchmark.training import train
from benchmark.training.config import RunConfig, resolve_run

STUDY = {
    "version": 2,
    "name": "made_up",
    "backend": "simulator",
    "protocol": "unified",
    "seeds": [0, 1],
    "maps": ["3m", "8m"],
    "algorithms": ["qmix"],
}
SMALL = {
    "budget": 9600,
    "n_envs": 4,
    "batch_size": 4,
    "evaluation_interval": 1600,
    "evaluation_episodes": 4,
    "absolute_episodes": 8,
    "hidden_size": 16,
    "epsilon_steps": 4000,
}


class Silent:
    """A progress display that shows nothing."""

    def __getattr__(self, name):
        return lambda *arguments: None


def small_run(**changes) -> RunConfig:
    smaller = {"budget": 2400, "evaluation_interval": 400, "epsilon_steps": 1000}
    return resolve_run(map="3m", algorithm="qmix", seed=1, overrides=[SMALL | smaller | changes])


def train_without_record(folder: Path, monkeypatch, replace="nothing", **changes) -> None:
    """A run with checkpoints that did everything but write its records."""

    def stop(self):
        raise KeyboardInterrupt

    run = small_run(**changes)
    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(run, folder, device="cpu", checkpoint_seconds=0, replace=replace)
