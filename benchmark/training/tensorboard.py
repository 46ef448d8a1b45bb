"""A run's evaluations and losses for TensorBoard, where its package is installed.

Installing it (``pip install -e '.[tensorboard]'``) switches this on, for the workflow's runs too;
``tensorboard --logdir results`` shows them. Nothing else reads these files.
"""

import importlib.util
import logging
from pathlib import Path

log = logging.getLogger("benchmark")


class Board:
    """Event files in ``tensorboard/`` of a run folder; does nothing without the package."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._on = importlib.util.find_spec("tensorboard") is not None
        self._writer = None

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds one point to each curve.

        Args:
            step: env steps; what an attempt that was killed wrote beyond the first step of this
                one is hidden.
            values: by the curve's name.
        """
        if not self._on:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder), purge_step=step)
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()
        except Exception as problem:  # a report must never end the run that it reports on
            log.warning("cannot write %s: %s; going on without", self._folder, problem)
            self._on = False

    def close(self) -> None:
        """Closes the files."""
        if self._writer is not None:
            self._writer.close()
