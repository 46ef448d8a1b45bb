"""Reads a release into one table of evaluations, and reads that table back as curves.

``evaluations.parquet`` holds every released number; ``import.json`` the files with their hashes,
what could not be read, and where the release comes from. Published files hold one number per
*evaluation*, and some only a group's mean with its extremes; nothing is made up to get more.
"""

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark import files
from benchmark.errors import BenchmarkError, first_line
from benchmark.published.formats import Column, Problem, read, suffixes
from benchmark.published.release import Cell, Curve, Release
from benchmark.published.sources import Source, identify
from benchmark.training.config import one_line_errors

_LARGEST = 256 * 2**20  #: bytes; a larger file is no table of results

#: One row per released number. ``value``, ``low``, ``high`` and ``wall_time`` are as released.
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("backend", pa.string()),
        ("protocol", pa.string()),
        ("map", pa.string()),
        ("algorithm", pa.string()),
        ("variant", pa.string()),
        ("metric", pa.string()),  # win_rate or return
        ("seed", pa.int64()),  # null: not known
        ("step", pa.int64()),  # null: of the absolute phase
        ("phase", pa.string()),  # training or absolute, as in our own table
        ("episode", pa.int64()),  # null: the value is the mean of an evaluation
        ("value", pa.float64()),  # of a run; of a group its mean over runs
        ("low", pa.float64()),  # wandb's __MIN: the lowest of the runs at this step
        ("high", pa.float64()),  # wandb's __MAX
        ("wall_time", pa.float64()),
        ("kind", pa.string()),  # run, or group: which run a value belongs to is lost
        ("panel", pa.string()),  # the published figure that draws the file
        ("tag", pa.string()),  # what the release calls the number
        ("file", pa.string()),
        ("column", pa.string()),
        ("row", pa.int64()),  # of the file, from 0
    ]
)


class Imported(NamedTuple):
    """A release as a table, and what its files are."""

    source: Source
    evaluations: pa.Table  #: of ``SCHEMA``
    files: list[dict]  #: file, sha256, bytes, format, curves
    problems: list[Problem]


class _File(NamedTuple):
    path: str  #: inside the release, with forward slashes
    open: Callable  #: gives a binary stream; raises what folders and zips raise


def import_release(release: Path, source: Source) -> Imported:
    """Reads every file of a release that its mapping names.

    What cannot be read is a problem, not the end; the rest is imported.

    Args:
        release: a folder or a zip.
        source: its mapping.

    Raises:
        BenchmarkError: there is no such release, or no file in it could be imported.
    """
    listed = sorted(_files(Path(release)), key=lambda file: file.path)
    named = [(file, rule) for file in listed if (rule := source.rule_of(file.path))]
    readable = [(file, rule) for file, rule in named if file.path.lower().endswith(suffixes())]
    if not readable:
        raise BenchmarkError(
            f"{release}: none of {len(listed)} files is one that the mapping {source.name} names;"
            " give the folder that holds the released results, or another mapping"
        )
    times = Counter(file.path for file, _ in readable)
    problems, tables, known = [], [], []
    for file, rule in readable:
        try:
            if times[file.path] > 1:
                raise BenchmarkError("the zip holds several files of this name; left out")
            data = _data(file)
        except BenchmarkError as error:
            problems.append(Problem(file.path, "", str(error)))
            continue
        content = read(file.path, data)
        problems += content.problems
        taken = []
        for column in content.columns:
            try:
                identity = identify(source, rule, file.path, column)
            except BenchmarkError as error:
                problems.append(Problem(file.path, column.name, str(error)))
                continue
            if identity is not None:
                taken.append(_table(column, source, file.path, identity._asdict()))
        tables += taken
        known.append(
            {
                "file": file.path,
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "format": content.format,
                "curves": len(taken),
            }
        )
    if not tables:
        raise BenchmarkError(
            f"nothing in {release} could be imported; the first of {len(problems)} problems:"
            f" {problems[0] if problems else 'no curve of a known metric'}"
        )
    return Imported(source, pa.concat_tables(tables).combine_chunks(), known, problems)


def _files(release: Path) -> Iterator[_File]:
    """The files of a release; hidden files and folders are left out."""
    if release.is_dir():
        found = {path.relative_to(release).as_posix(): path for path in release.rglob("*")}
        listed = [(n, partial(path.open, "rb")) for n, path in found.items() if path.is_file()]
    elif release.is_file() and zipfile.is_zipfile(release):
        try:
            archive = zipfile.ZipFile(release)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise BenchmarkError(f"cannot read the zip {release}: {first_line(error)}") from error
        listed = [
            (member.filename, partial(archive.open, member))
            for member in archive.infolist()
            if not member.is_dir()
        ]
    else:
        kind = "is neither a folder nor a zip" if release.exists() else "does not exist"
        raise BenchmarkError(
            f"{release} {kind}; give the folder or zip that holds the released files"
        )
    for name, opens in listed:
        name = os.fsencode(name).decode(errors="backslashreplace")
        if not any(part.startswith(".") for part in PurePosixPath(name).parts):
            yield _File(name, opens)


def _data(file: _File) -> bytes:
    try:
        with file.open() as stream:
            data = stream.read(_LARGEST + 1)
    except Exception as error:  # whatever a damaged or encrypted zip makes its libraries raise
        raise BenchmarkError(f"damaged, or cannot be read ({first_line(error)})") from error
    if len(data) > _LARGEST:
        raise BenchmarkError(f"is larger than {_LARGEST // 2**20} MB; left out")
    return data


def _table(column: Column, source: Source, path: str, identity: dict) -> pa.Table:
    """The rows of one column of a file; what it does not say is null."""
    n = len(column.value)
    steps = column.rows * source.interval if column.steps is None else column.steps
    values = {
        **identity,
        **{"source": source.name, "backend": source.backend, "protocol": source.protocol},
        **{"file": path, "column": column.name, "tag": column.tag, "phase": column.phase},
        **{"step": steps, "episode": column.episodes, "row": column.rows, "value": column.value},
        **{"low": column.low, "high": column.high, "wall_time": column.wall},
    }
    arrays = []
    for field in SCHEMA:
        value = values[field.name]
        if isinstance(value, np.ndarray):  # NaN becomes null
            array = pa.array(value, from_pandas=True).cast(field.type)
        else:
            array = pa.repeat(pa.scalar(value, field.type), n)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write(imported: Imported, folder: Path, release: Path) -> None:
    """Writes an import into a folder: ``evaluations.parquet`` and ``import.json``."""
    with files.atomic(Path(folder) / "evaluations.parquet") as temporary:
        pq.write_table(imported.evaluations, temporary, compression="zstd")
    about = {
        "source": imported.source.model_dump(),
        "release": Path(release).name,
        "files": imported.files,
        "problems": [problem._asdict() for problem in imported.problems],
    }
    files.write_json(about, Path(folder) / "import.json")


def read_import(folder: Path) -> Release:
    """Reads the release that a folder holds the import of.

    Raises:
        BenchmarkError: a file is missing, damaged, or of another version.
    """
    known = Path(folder) / "import.json"
    about = files.read_json(known, ["source", "files", "problems"])
    with one_line_errors(str(known)):
        source = Source.model_validate(about["source"])
    path = Path(folder) / "evaluations.parquet"
    try:
        table = pq.read_table(path, partitioning=None).select(SCHEMA.names).cast(SCHEMA)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise BenchmarkError(
            f"cannot read {path}: {first_line(error)}; make it with python -m benchmark published"
            " import"
        ) from error
    digests = {file["file"]: file["sha256"] for file in about["files"]}
    problems = [Problem(**problem) for problem in about["problems"]]
    return Release(source, curves(table.to_pandas()), digests, problems)


def curves(table: pd.DataFrame) -> list[Curve]:
    """The curves of training in a table, in its order; evaluations by episode are averaged."""
    found = []
    training = table[table["phase"] == "training"]
    for (file, column), rows in training.groupby(["file", "column"], sort=False):
        if rows["episode"].notna().any():
            rows = rows.groupby("step", as_index=False, sort=False).agg(
                {name: "mean" if name == "value" else "first" for name in rows if name != "step"}
            )
        first = rows.iloc[0]
        found.append(
            Curve(
                cell=Cell(first["map"], first["algorithm"], first["variant"], first["metric"]),
                kind=first["kind"],
                seed=None if pd.isna(first["seed"]) else int(first["seed"]),
                panel=first["panel"],
                tag=first["tag"],
                file=file,
                column=column,
                steps=rows["step"].to_numpy(np.int64),
                value=rows["value"].to_numpy(),
                low=rows["low"].to_numpy(),
                high=rows["high"].to_numpy(),
                rows=rows["row"].to_numpy(np.int64),
                wall=rows["wall_time"].to_numpy(),
            )
        )
    return found
