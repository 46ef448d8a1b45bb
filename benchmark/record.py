"""What a run leaves behind: the table of evaluations, its provenance, and how both reach the disk.

A run folder is ``results/<study>/runs/<backend>/<map>/<algorithm>/<variant>/<seed>/``. It ends with
``evaluations.parquet`` and ``run.json``, each written once, whole, by an atomic rename.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmark.errors import BenchmarkError, first_line

ROOT = Path(__file__).resolve().parent.parent

#: One row per evaluation episode. ``step`` is the nominal point of the evaluation grid.
EVALUATION_SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("backend", pa.string()),
        ("protocol", pa.string()),
        ("map", pa.string()),
        ("algorithm", pa.string()),
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("step", pa.int64()),
        ("phase", pa.string()),  # training: every interval; absolute: the best policy, once
        ("episode", pa.int64()),
        ("battle_won", pa.bool_()),
        ("return", pa.float64()),  # undiscounted, shaped, scaled to about 20 for a win
        ("length", pa.int64()),  # env steps
        ("dead_allies", pa.int64()),
        ("dead_enemies", pa.int64()),
    ]
)

#: The columns that say which run a row belongs to.
IDENTITY = ["study", "backend", "protocol", "map", "algorithm", "variant", "seed"]

#: What a run's ``run.json`` says.
RUN_KEYS = (
    *IDENTITY,
    *("backend_version", "budget", "config", "config_hash", "commit", "dirty", "source_hash"),
    *("versions", "hardware", "env_steps", "episodes", "updates", "attempts"),
    *("wall_seconds", "steps_per_second", "end_reason"),
)

_TEMPORARY = ".tmp"  #: ends the names of files that are being written


def remove_unfinished(folder: Path) -> None:
    """Deletes what ``atomic`` left in a folder and below when its process was killed."""
    for path in Path(folder).rglob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


@contextmanager
def atomic(path: Path):
    """Yields a temporary path beside ``path``; renames it over ``path`` when the block succeeds.

    The bytes are on disk before the rename, so a crash leaves the old file or the new one whole.

    Raises:
        BenchmarkError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_TEMPORARY, f".{path.name}.", path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise BenchmarkError(
            f"cannot write {path}: {error.strerror or error}; free the disk or choose another"
            " folder, then run the same command again"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(value: object, path: Path) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """Reads a JSON file, a table with at least these keys.

    Raises:
        BenchmarkError: the file is missing or damaged, or lacks a key.
    """
    try:
        table = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise BenchmarkError(f"there is no {path}; run the step that makes it") from error
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read {path}: {error}; delete it and make it anew") from error
    missing = [key for key in keys if not isinstance(table, dict) or key not in table]
    if missing:
        raise BenchmarkError(
            f"{path} lacks {missing[0]!r}: it is not of this version of the program; delete it and"
            " make it anew"
        )
    return table


def write_evaluations(table: pd.DataFrame, path: Path) -> None:
    """Writes a table of evaluations (columns of ``EVALUATION_SCHEMA``) as parquet, atomically."""
    arrow = pa.Table.from_pandas(table, schema=EVALUATION_SCHEMA, preserve_index=False)
    with atomic(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(None), temporary, compression="zstd")


def read_evaluations(path: Path) -> pd.DataFrame:
    """Reads a table of evaluations.

    Raises:
        BenchmarkError: the file is missing, truncated, or lacks a column.
    """
    if not Path(path).is_file():
        raise BenchmarkError(
            f"there is no table of evaluations {path}; give the evaluations.parquet of a study"
            " (benchmark aggregate makes it) or of a finished run"
        )
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise BenchmarkError(
            f"cannot read {path}: {first_line(error)}; delete the file and run the study again,"
            " only this run is repeated"
        ) from error
    missing = [name for name in EVALUATION_SCHEMA.names if name not in table.column_names]
    if missing:
        raise BenchmarkError(
            f"{path} lacks the column {missing[0]!r}: it is no table of evaluations of this version"
        )
    return table.select(EVALUATION_SCHEMA.names).cast(EVALUATION_SCHEMA).to_pandas()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def rows(identity: dict, step: int, phase: str, episodes: dict[str, np.ndarray]) -> pd.DataFrame:
    """One evaluation as rows of the table.

    Args:
        identity: the values of ``IDENTITY``.
        step: the point of the evaluation grid, in env steps.
        phase: "training" or "absolute".
        episodes: battle_won, return, length, dead_allies, dead_enemies, each of shape [episodes].
    """
    frame = pd.DataFrame(episodes)
    frame = frame.assign(**identity, step=step, phase=phase, episode=np.arange(len(frame)))
    return frame[EVALUATION_SCHEMA.names]


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
        pending += re.findall(r"^from (algorithms\.\w+) import", seen[name].decode(), re.MULTILINE)
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
