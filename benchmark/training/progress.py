"""How a run reports: bar on a terminal, log line per evaluation, ``progress.json``, loggers."""

import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.training import provenance
from benchmark.training.config import RunConfig
from benchmark.training.loggers import Loggers

if TYPE_CHECKING:
    from benchmark.training.rollout import EpisodeStats

log = logging.getLogger("benchmark")

#: The keys of ``progress.json``.
KEYS = (
    *("state", "step", "budget", "steps_per_second", "win_rate"),
    *("host", "pid", "updated", "error"),
)

_INTERVAL = 30  #: seconds between two ``progress.json``


class Progress:
    """Reports one run; ``progress.json`` in its folder is what ``status`` reads."""

    def __init__(self, config: RunConfig, folder: Path, loggers: Sequence[str] = ()) -> None:
        self._config, self._folder = config, folder
        self._budget = config.training.budget
        self._steps = 0
        self._saved: int | None = None  # None before the attempt has begun
        self._attempts: list[dict] = []
        self._begin: tuple[float, int] | None = None
        self._written = 0.0
        self._win_rate: float | None = None
        self._bar: Bar | None = None
        self._loggers = Loggers(loggers, config, folder)

    def begin(self, step: int, attempts: list[dict]) -> None:
        """Before the first battle of an attempt, which begins at the step of its checkpoint or 0.

        The log marks it: what a killed attempt played beyond that step comes again.

        Args:
            step: in env steps.
            attempts: those that led to the checkpoint.
        """
        self._steps = step
        self.saved(step, attempts)
        self._log(f"attempt begins at step {step}")
        self._write("running")

    def saved(self, step: int, attempts: list[dict]) -> None:
        """After every checkpoint: a run that is killed goes on from there.

        Args:
            step: in env steps.
            attempts: those that led to the checkpoint.
        """
        self._saved = step
        code = ("commit", "dirty", "source_hash")
        self._attempts = [{name: one[name] for name in code} for one in attempts]

    def show(self, steps: int) -> None:
        """After every round of battles."""
        if self._begin is None:
            self._begin = (time.monotonic(), steps)
            self._open_bar()
        self._steps = steps
        if time.monotonic() - self._written > _INTERVAL:
            self._write("running")
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=min(steps, self._budget),
                rate=f"{self._rate():,.0f} steps/s",
                win_rate="-" if self._win_rate is None else f"{self._win_rate:.0%}",
            )

    def evaluated(self, step: int, stats: "EpisodeStats", metrics: dict[str, float]) -> None:
        """After every evaluation: one line in the log."""
        self._win_rate = float(stats.battle_won.mean())
        self._steps = max(self._steps, step)
        self._write("running")
        length, returns = stats.length.mean(), stats.returns.mean()
        of_evaluation = {"win_rate": self._win_rate, "return": returns, "length": length}
        self._loggers.write(
            step,
            {f"evaluation/{name}": float(value) for name, value in of_evaluation.items()}
            | {f"training/{name}": value for name, value in metrics.items()},
        )
        losses = " ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        line = (
            f"step {step} win_rate {self._win_rate:.3f} return {returns:.2f}"
            f" length {length:.1f} steps/s {self._rate():.0f} {losses}".rstrip()
        )
        self._log(line)
        if self._bar is None:
            log.info(line)

    def stop(self, state: str, error: str = "") -> None:
        """At the end: state is "done", "interrupted" or "failed"."""
        self.close()
        self._write(state, error)

    def close(self) -> None:
        """At the end of an attempt that did not begin: what is said of the run stays."""
        if self._bar is not None:
            self._bar.stop()
        self._loggers.close()

    def _earlier(self) -> dict:
        """What an earlier attempt reported of the checkpoint in the folder; nothing without one."""
        if not (self._folder / "checkpoint.pt").exists():
            return {}
        try:
            about = files.read_sealed(self._folder / "progress.json", KEYS)
        except BenchmarkError:
            return {}
        saved = about.get("saved_step", about["step"])
        names = ("budget", "config", "win_rate", "attempts")
        kept = {name: about[name] for name in names if name in about}
        return {"step": saved, "saved_step": saved, **kept}

    def _log(self, line: str) -> None:
        try:
            with (self._folder / "train.log").open("a", encoding="utf-8") as file:
                file.write(f"{provenance.now()} {line}\n")
        except OSError as problem:  # a full disk: the next checkpoint ends the run, with its reason
            log.warning("cannot write %s: %s", self._folder / "train.log", problem.strerror)

    def _open_bar(self) -> None:
        if not sys.stderr.isatty():
            return
        columns = "{task.percentage:>3.0f}%  {task.fields[rate]}  won {task.fields[win_rate]}"
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(columns),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        name = f"{self._config.algorithm} {self._config.map} seed {self._config.seed}"
        self._task = self._bar.add_task(name, total=self._budget, rate="", win_rate="-")
        self._bar.start()

    def _rate(self) -> float:
        """Env steps per second of this attempt, learning and evaluation included."""
        if self._begin is None:
            return 0.0
        seconds = time.monotonic() - self._begin[0]
        return (self._steps - self._begin[1]) / seconds if seconds > 0 else 0.0

    def _write(self, state: str, error: str = "") -> None:
        self._written = time.monotonic()
        value = {
            "state": state,
            "step": self._steps,
            "saved_step": self._saved or 0,
            "budget": self._budget,
            "steps_per_second": round(self._rate(), 1),
            "win_rate": self._win_rate,
            "host": platform.node(),
            "pid": os.getpid(),
            "updated": provenance.now(),
            "error": error,
            "config": self._config.resolved(),
            "attempts": self._attempts,
        }
        if self._saved is None:  # it failed before a checkpoint was read
            value |= self._earlier()
        try:
            files.write_sealed(value, self._folder / "progress.json")
        except Exception as problem:  # a report must never end the run that it reports on
            log.warning("cannot report progress: %s", problem)
