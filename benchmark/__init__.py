"""A benchmark of multi-agent learning on SMAC and SMACv2; the command line is ``-m benchmark``."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.training.policy import Policy


def load(path: str | Path, device: str = "cpu") -> "Policy":
    """A trained run's policy, see ``benchmark.policy.load``."""
    from benchmark.training import policy  # only whoever plays pays for importing torch

    return policy.load(path, device)
