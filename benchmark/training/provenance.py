"""Where a run comes from: its code, versions and machine, as ``run.json`` tells."""

import hashlib
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil
import torch

from benchmark.files import ROOT
from benchmark.training.evaluations import IDENTITY

#: What a run's ``run.json`` says.
RUN_KEYS = (
    *IDENTITY,
    *("backend_version", "budget", "config", "config_hash", "commit", "dirty", "source_hash"),
    *("versions", "hardware", "env_steps", "episodes", "updates", "attempts"),
    *("wall_seconds", "steps_per_second", "end_reason"),
)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def source_hash(module: str) -> str:
    """Hash of an algorithm's source: its module and every ``algorithms`` module it builds on.

    Args:
        module: dotted name, e.g. ``algorithms.qmix``.
    """
    pending, seen = [module], {}
    while pending:
        name = pending.pop()
        loaded = getattr(sys.modules.get(name), "__file__", None)  # may lie outside
        path = Path(loaded or ROOT.joinpath(*name.split(".")).with_suffix(".py"))
        if name in seen or not path.exists():
            continue
        seen[name] = path.read_bytes()
        pending += re.findall(r"^from (algorithms[.\w]+) import", seen[name].decode(), re.MULTILINE)
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(name.encode() + seen[name])
    return digest.hexdigest()[:16]


def commit() -> tuple[str | None, bool | None]:
    """The repository's commit and whether tracked files differ from it; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def hardware(device: torch.device) -> dict:
    """The machine that a run used."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),  # set by Slurm: those of the job
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "host": platform.node(),
    }


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "numba")}
    return {"python": platform.python_version(), **packages}
