"""Curves of a run for TensorBoard and Weights & Biases; results never depend on them.

``train --log tensorboard wandb``, or ``BENCHMARK_LOG="tensorboard wandb"`` for a workflow's runs.
"""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmark.errors import BenchmarkError
from benchmark.training.config import RunConfig

log = logging.getLogger("benchmark")


class Logger(Protocol):
    """Where curves go."""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds one point, at an env step, to each curve by its name."""

    def close(self) -> None:
        """Writes what is left."""


class TensorBoard:
    """Event files in the run's folder ``tensorboard/``: ``tensorboard --logdir results``."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._writer: Any = None  # SummaryWriter

    def write(self, step: int, values: dict[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:  # points of a killed attempt beyond this step are hidden
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of the project ``r3dm-benchmark``, its study as the group.

    wandb's own variables hold: ``WANDB_MODE=offline`` writes ``wandb/`` into the run's folder, to
    be sent by ``wandb sync`` from a machine with internet; ``WANDB_PROJECT``, ``WANDB_API_KEY``.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._run: Any = None  # wandb's

    def write(self, step: int, values: dict[str, float]) -> None:
        import os

        import wandb

        if self._run is None:
            config = self._config
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "r3dm-benchmark"),
                group=config.study,
                name=f"{config.map}/{config.algorithm}/{config.variant}/{config.seed}",
                id=f"{config.study}-{config.map}-{config.algorithm}-{config.seed}-{config.hash[:12]}",
                resume="allow",  # an attempt that goes on is the same run
                config=config.resolved(),
                dir=str(self._folder),
                settings=wandb.Settings(silent=True, console="off", disable_git=True),
            )
            self._run.define_metric("*", step_metric="env_step")
        self._run.log({"env_step": step, **values})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


LOGGERS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def check(name: str, given: str, installed: bool = True) -> None:
    """Checks the name of a logger.

    Args:
        given: how it was given, for the error.
        installed: whether its package must be there.

    Raises:
        BenchmarkError: an unknown name, or a package that is not installed.
    """
    if name not in LOGGERS:
        raise BenchmarkError(f"{given}: choose from {', '.join(LOGGERS)}")
    if installed and importlib.util.find_spec(name) is None:
        raise BenchmarkError(f"{given}: the package is not installed; pip install -e '.[{name}]'")


class Loggers:
    """Several loggers as one; a logger that fails is left out with a warning, the run goes on."""

    def __init__(self, names: Sequence[str], config: RunConfig, folder: Path) -> None:
        """Opens loggers by name.

        Raises:
            BenchmarkError: an unknown name, or a package that is not installed.
        """
        for name in names:
            check(name, f"--log {name}")
        self._loggers: dict[str, Logger] = {n: LOGGERS[n](config, folder) for n in names}

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds one point, at an env step, to each curve by its name."""
        self._all("write", step, values)

    def close(self) -> None:
        """Writes what is left."""
        self._all("close")

    def _all(self, method: str, *arguments: Any) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                getattr(logger, method)(*arguments)
            except Exception as problem:  # a report must never end the run that it reports on
                log.warning("cannot write for %s: %s; going on without", name, problem)
                del self._loggers[name]
