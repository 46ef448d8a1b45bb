"""Where a run comes from: its code, versions and machine, as written to ``run.json``."""

import ast
import hashlib
import io
import os
import platform
import re
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from algorithms import PLUGINS, source_file
from benchmark.files import ROOT
from benchmark.training.config import IDENTITY

if TYPE_CHECKING:
    import torch

#: The keys of a run's ``run.json``.
RUN_KEYS = (
    *IDENTITY,
    *("backend_version", "budget", "config", "config_hash", "commit", "dirty", "source_hash"),
    *("versions", "hardware", "env_steps", "episodes", "updates", "attempts"),
    *("wall_seconds", "steps_per_second", "end_reason", "evaluations_sha256"),
)

#: The modules that decide a run's numbers, as far as the method or the training loop imports them.
#: The rest of ``benchmark`` names, records and shows runs.
_DECIDING = (
    *("algorithms.", "benchmark.envs"),
    *(
        f"benchmark.training.{name}"
        for name in ("drawing", "protocol", "replay", "rollout", "seeding")
    ),
)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def source_hash(algorithm: str, backend: str, commit: str | None = None) -> str:
    """Hash of the code that decides a run's numbers; comments and docstrings do not count.

    That is the method, the training loop, and whatever of ``_DECIDING`` they import, directly or
    not. Runs in the simulator do not depend on the client of StarCraft II.

    Args:
        algorithm: a name in ``algorithms.ALGORITHMS``.
        backend: that the run was played on.
        commit: whose code is meant, if not that of today; a method from outside the repository
            is today's in any case. Of an unknown commit there is none.
    """
    game = "benchmark.envs.starcraft2"
    pending = [source_file(algorithm), *_files("benchmark.training.train")]
    if backend != "simulator":
        pending += _files(f"{game}.client")  # workers import it by name
    committed = _committed(commit) if commit else {}
    hashes: dict[Path, str] = {}
    while pending:
        path = pending.pop()
        here = commit is None or not path.is_relative_to(ROOT)
        source = _read(path) if here else committed.get(path)
        if path in hashes or source is None:
            continue
        hashes[path], imported = _code(source)
        names = [name for name in imported if name.startswith(_DECIDING)]
        if backend == "simulator":
            names = [name for name in names if not name.startswith(game)]
        pending += (file for name in names for file in _files(name))
    ordered = sorted((path.name, found) for path, found in hashes.items())
    return hashlib.sha256(repr(ordered).encode()).hexdigest()[:16]


def _files(module: str) -> tuple[Path, Path]:
    """Where a module may be; an attribute of one has no file."""
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py"), path / "__init__.py"


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@cache
def _committed(commit: str) -> dict[Path, bytes]:
    """The code at a commit; nothing where git does not know it."""
    command = ["git", "-C", str(ROOT), "archive", commit, "algorithms", "benchmark"]
    try:
        data = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            ROOT / member.name: file.read()
            for member in archive
            if (file := archive.extractfile(member))  # no folder
        }


@cache
def _code(source: bytes) -> tuple[str, list[str]]:
    """The hash of a module's code, and the dotted names that it imports."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # half saved; `train` says so
        return hashlib.sha256(source).hexdigest(), []
    imported = list(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not _is_text(statement)]
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest(), imported


def _plain(node: object) -> object:
    """A syntax tree as nested tuples, the same in every version of Python: newer ones only add
    fields, which are empty in code that older ones read; and write a tree as text in another way.
    """
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]
    fields = ((name, _plain(value)) for name, value in ast.iter_fields(node))
    return type(node).__name__, [field for field in fields if field[1] not in (None, [])]


def _is_text(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return (
        isinstance(statement, ast.Expr)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def plugin_source(algorithm: str) -> bytes | None:
    """The source of a method outside the repository, which no commit holds; else None."""
    return PLUGINS[algorithm].read_bytes() if algorithm in PLUGINS else None


def made_by(algorithm: str, backend: str, device: "torch.device") -> dict:
    """The code and the machine of an attempt, for its record."""
    revision, dirty = commit()
    return {
        "commit": revision,
        "dirty": dirty,
        "source_hash": source_hash(algorithm, backend),
        "hardware": hardware(device),
        "host": platform.node(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def commit() -> tuple[str | None, bool | None]:
    """The repository's commit and whether tracked files differ from it; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def cores() -> int:
    """CPU cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def hardware(device: "torch.device") -> dict:
    """The machine that a run used."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),  # by Slurm or training/card.py
        "cpu": _cpu_name(),
        "cores": cores(),
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
