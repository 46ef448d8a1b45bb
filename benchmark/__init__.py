"""A benchmark of multi-agent learning on SMAC and SMACv2; the command line is ``-m benchmark``."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import caches

if TYPE_CHECKING:
    from benchmark.training.policy import Policy

caches.provide()  # before any library asks for its folder


def load(path: str | Path, device: str = "cpu") -> "Policy":
    """A trained run's policy, see ``benchmark.training.policy.load_policy``."""
    from benchmark.training.policy import load_policy  # imports torch, which takes seconds

    return load_policy(path, device)
