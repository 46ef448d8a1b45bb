"""Reads a release into one table, and writes it with what is known of every file.

``evaluations.parquet`` holds every released number; ``import.json`` the files with their hashes,
what could not be read, and where the release comes from.
"""

import hashlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.published import archive, table
from benchmark.published.formats import Content, Curve, Problem, read, suffixes
from benchmark.published.sources import FileRule, Source, identify

MEGABYTES = 256  #: a larger file is no table of results


class Imported(NamedTuple):
    """A release as a table, and what its files are."""

    source: Source
    evaluations: pd.DataFrame  #: columns of ``table.SCHEMA``
    files: pd.DataFrame  #: file, sha256, bytes, format, curves
    problems: list[Problem]


def import_release(release: Path, source: Source, megabytes: float = MEGABYTES) -> Imported:
    """Reads every file of a release that its mapping names.

    What cannot be read is a problem, not the end; the rest is imported.

    Args:
        release: folder, clone or zip.
        source: its mapping.
        megabytes: files above this size are left out.

    Raises:
        BenchmarkError: there is no such release, or no file in it could be imported.
    """
    listed = [(entry, source.rule_of(entry.path)) for entry in archive.entries(release)]
    named = [(entry, rule) for entry, rule in listed if rule]
    readable = [(entry, rule) for entry, rule in named if entry.path.lower().endswith(suffixes())]
    if not readable:
        raise BenchmarkError(
            f"{release}: none of {len(listed)} files is one that the mapping {source.name} names;"
            " give the folder that holds the released results, or another mapping"
        )
    problems, rows, files = [], [], []
    console = Console(stderr=True)
    for entry, rule in track(
        readable, f"import {source.name}", console=console, disable=not console.is_terminal
    ):
        if entry.size > megabytes * 2**20:
            size = f"{entry.size / 2**20:.0f} MB is more than --max-megabytes {megabytes:g}"
            problems.append(Problem(entry.path, "", f"{size}; left out"))
            continue
        try:
            data = entry.read()
        except (OSError, BenchmarkError) as error:
            problems.append(Problem(entry.path, "", f"cannot be read ({error})"))
            continue
        content = read(entry.path, data)
        problems += content.problems
        taken = _rows(source, rule, entry.path, content, problems)
        rows += taken
        files.append(
            {
                "file": entry.path,
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "format": content.format,
                "curves": len(taken),
            }
        )
    if not rows:
        raise BenchmarkError(
            f"nothing in {release} could be imported; the first of {len(problems)} problems:"
            f" {problems[0] if problems else 'no curve of a known metric'}"
        )
    return Imported(source, pd.concat(rows, ignore_index=True), pd.DataFrame(files), problems)


def _rows(
    source: Source, rule: FileRule, path: str, content: Content, problems: list[Problem]
) -> list[pd.DataFrame]:
    """The rows of each curve of a file."""
    found = []
    for curve in content.curves:
        try:
            identity = identify(source, rule, path, curve)
        except BenchmarkError as error:
            problems.append(Problem(path, curve.column, str(error)))
            continue
        if identity is not None:
            about = identity._asdict() | {"source": source.name, "backend": source.backend}
            about |= {"protocol": source.protocol, "file": path}
            found.append(_rows_of(curve, about, source.interval))
    return found


def _rows_of(curve: Curve, about: dict, interval: int) -> pd.DataFrame:
    """The rows of one curve; what it does not say is NaN."""
    numbers = {
        "step": curve.rows * interval if curve.steps is None else np.round(curve.steps),
        "episode": curve.episodes,
        "value": curve.value,
        "low": curve.low,
        "high": curve.high,
        "wall_time": curve.wall,
        "seed": about["seed"],
    }
    shape = curve.value.shape
    given = {
        name: np.broadcast_to(np.nan if value is None else np.asarray(value, float), shape)
        for name, value in numbers.items()
    }
    words = {"phase": curve.phase, "tag": curve.tag, "column": curve.column, "row": curve.rows}
    return pd.DataFrame(about | words | given, columns=table.SCHEMA.names)


def write(imported: Imported, folder: Path, release: Path) -> None:
    """Writes an import into a folder: ``evaluations.parquet`` and ``import.json``."""
    table.write(imported.evaluations, Path(folder) / "evaluations.parquet")
    about = {
        "source": imported.source.model_dump(),
        "release": PurePosixPath(Path(release).name).as_posix(),
        "commit": archive.commit(release),
        "files": imported.files.to_dict("records"),
        "problems": [problem._asdict() for problem in imported.problems],
    }
    files.write_json(about, Path(folder) / "import.json")


def read_import(folder: Path) -> Imported:
    """Reads an import back.

    Raises:
        BenchmarkError: a file is missing or damaged.
    """
    about = files.read_json(Path(folder) / "import.json")
    return Imported(
        Source.model_validate(about["source"]),
        table.read(Path(folder) / "evaluations.parquet"),
        pd.DataFrame(about["files"]),
        [Problem(**problem) for problem in about["problems"]],
    )
