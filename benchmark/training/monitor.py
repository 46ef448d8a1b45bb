"""What a workflow says while its runs train, and when it is interrupted."""

import logging
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from benchmark import files
from benchmark.amounts import duration
from benchmark.errors import BenchmarkError
from benchmark.training import progress
from benchmark.training.config import run_path

_INTERVAL = 60  #: seconds between two looks at the runs
_STRIDE = 0.1  #: a run is shown whenever it has come so much further, as a share of its budget


class Monitor:
    """Reads the runs' ``progress.json``, which they write wherever they train."""

    def __init__(self, runs: list[dict], folder: Path, logger: logging.Logger) -> None:
        """Begins to watch; ends with the process.

        Args:
            runs: resolved.
            folder: of their study.
            logger: the workflow's, for its own lines; silent once the workflow is interrupted.
        """
        self._folders = {folder / run_path(run): _name(run) for run in runs}
        self._logger, self._begin, self._interrupted = logger, time.time(), False
        self._shown: dict[str, int] = {}
        logger.addFilter(lambda record: not self._interrupted)
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """When the workflow has failed: after Ctrl-C one line says what was saved."""
        if not self._interrupted:
            return
        saved = [
            f"{name} at {about.get('saved_step', 0) / about['budget']:.0%}"
            for name, about in self._reports()
            if about["state"] in ("interrupted", "running")
        ]
        some = ", ".join(saved[:3]) + (f" and {len(saved) - 3} more" if len(saved) > 3 else "")
        what = f"saved {some}" if saved else "all that was finished is kept"
        command = shlex.join(["snakemake", *sys.argv[1:]])
        print(f"interrupted: {what}; go on with: {command}", file=sys.stderr)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        print("stopping: runs save their state after the battles under way", file=sys.stderr)
        signal.signal(number, signal.default_int_handler)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            for name, about in self._reports():
                if about["state"] == "running" and (line := self._line(name, about)):
                    self._logger.info(line)

    def _line(self, name: str, about: dict) -> str | None:
        """The run in a line, if it has come far enough since the last one."""
        share, speed = about["step"] / about["budget"], about["steps_per_second"]
        mark = int(share / _STRIDE)
        if not speed or mark <= self._shown.get(name, -1):
            return None
        self._shown[name] = mark
        left = duration((about["budget"] - about["step"]) / speed)
        won = "" if about["win_rate"] is None else f", won {about['win_rate']:.0%}"
        return f"{name}: {share:.0%}, {left} left, {speed:,.0f} env steps/s{won}"

    def _reports(self) -> list[tuple[str, dict]]:
        """Name and ``progress.json`` of every run that reported since the workflow began."""
        found = []
        for folder, name in self._folders.items():
            path = folder / "progress.json"
            try:
                if path.stat().st_mtime >= self._begin:
                    found.append((name, files.read_sealed(path, progress.KEYS)))
            except (OSError, BenchmarkError):  # none yet, or just being replaced
                continue
        return found


def _name(run: dict) -> str:
    return f"{run['algorithm']} on {run['map']}, seed {run['seed']}, {run['variant']}"
