"""A release: its files become one table of evaluations, and that table its curves.

``evaluations.parquet`` holds every released number; ``import.json`` the files with their hashes,
what could not be read, and where the release comes from. Published files hold one number per
*evaluation*, and some only a group's mean with its extremes; nothing is made up to get more.
"""

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmark import files
from benchmark.errors import BenchmarkError, first_line
from benchmark.published.formats import Column, Content, Problem, read, suffixes
from benchmark.published.sources import Source, identify
from benchmark.training.config import one_line_errors

_BYTES = 64 * 2**20  #: a larger file is no table of results
_NUMBERS = 2_000_000  #: of a release, ten times those of R3DM's; the rest is left out
_EPISODES = 400  #: the most episodes per evaluation that are looked for
_INTERIOR = 8  #: so many win rates between 0 and 1 show what they are multiples of
_CLEAR = 0.9  #: share of values on a grid that shows it
_MOSTLY = 0.5  #: share of values on a known grid; gaps may be filled, chance gives a tenth
_SURELY = 0.75  #: share of values on a known grid above which no other grid is looked for

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


class Cell(NamedTuple):
    """What is compared: one method on one map by one metric."""

    map: str
    algorithm: str
    variant: str
    metric: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, eq=False)  # compared by identity: it holds arrays
class Curve:
    """A run, or a group of runs whose identities are lost; all arrays are [N]."""

    cell: Cell
    kind: str  #: "run" or "group"
    seed: int | None
    panel: str  #: the published figure that draws it
    tag: str  #: what the release calls the number
    file: str
    column: str
    steps: np.ndarray  #: int, as in the file
    value: np.ndarray
    low: np.ndarray  #: lowest of the runs; NaN where there is none
    high: np.ndarray
    rows: np.ndarray  #: row of the file
    wall: np.ndarray  #: seconds since 1970, NaN where unknown

    @property
    def name(self) -> str:
        """The file, with the column where the file holds several."""
        return self.file if self.column in ("Value", "array") else f"{self.file}:{self.column}"

    def between(self, after: float, until: float) -> "Curve":
        """The evaluations with ``after < step <= until``."""
        return self.only((self.steps > after) & (self.steps <= until))

    def only(self, which: np.ndarray) -> "Curve":
        """The evaluations where ``which`` [N] is true."""
        arrays = ("steps", "value", "low", "high", "rows", "wall")
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})

    @cached_property
    def interior(self) -> np.ndarray:
        """Win rates strictly between 0 and 1 of a single run at a time: they show the grid."""
        if self.cell.metric != "win_rate":
            return np.array([])
        values = self.value[np.isnan(self.low) | (self.low == self.high)]
        return values[(values > 0) & (values < 1)]

    @property
    def shows_grid(self) -> bool:
        """Whether there are enough values between 0 and 1 to find what they are multiples of."""
        return len(self.interior) >= _INTERIOR

    def share_on_grid(self, n: int) -> float:
        """The share of ``interior`` that are win rates of n episodes."""
        return float(np.mean(~off_grid(self.interior, n)))

    @cached_property
    def grid(self) -> int | None:
        """The smallest n of which the win rates are multiples of 1/n; None if nothing shows it."""
        grids = range(2, _EPISODES + 1) if self.shows_grid else ()
        return next((n for n in grids if self.share_on_grid(n) >= _CLEAR), None)

    def episodes(self, n: int) -> int | None:
        """The episodes per evaluation that win rates show: n, or others; None for no test at all.

        Stretches that were filled are on no grid. A method that was tested with more or fewer
        episodes than the others has most values off their grid, and nearly all on its own.
        """
        share = self.share_on_grid(n)
        if self.grid and share < _SURELY:
            return self.grid
        return n if share >= _MOSTLY else None


@dataclass(frozen=True)
class Release:
    """Curves of one source."""

    source: Source
    curves: list[Curve]
    digests: dict[str, str] = field(default_factory=dict)  #: file -> sha256
    problems: list[Problem] = field(default_factory=list)  #: what could not be read

    @cached_property
    def cells(self) -> dict[Cell, list[Curve]]:
        """The curves of each cell, by map, method and metric, sorted."""
        found: dict[Cell, list[Curve]] = {}
        for curve in self.curves:
            found.setdefault(curve.cell, []).append(curve)
        return dict(sorted(found.items()))

    @cached_property
    def episodes(self) -> int | None:
        """Episodes per evaluation, from what most curves are multiples of; None if none is."""
        grids = Counter(curve.grid for curve in self.curves if curve.grid is not None)
        return max(grids, key=lambda n: (grids[n], n)) if grids else None

    def end(self, map: str) -> int:
        """The env step at which the published curves of a map end."""
        if map in self.source.ends:
            return self.source.ends[map]
        return max((int(c.steps.max()) for c in self.curves if c.cell.map == map), default=0)


def off_grid(values: np.ndarray, n: int) -> np.ndarray:
    """Where values are no multiples of 1/n; the tolerance allows for numbers printed short."""
    with np.errstate(invalid="ignore"):  # an infinite value is on no grid, and said elsewhere
        return np.abs(values * n - np.round(values * n)) > 1e-3


class Imported(NamedTuple):
    """A release as a table, and what its files are."""

    source: Source
    evaluations: pa.Table  #: of ``SCHEMA``
    files: list[dict]  #: file, sha256, bytes, format, curves
    problems: list[Problem]


def import_release(release: Path, source: Source) -> Imported:
    """Reads every file of a release that its mapping names.

    What cannot be read is a problem, not the end; the rest is imported.

    Args:
        release: a folder or a zip.
        source: its mapping.

    Raises:
        BenchmarkError: there is no such release, or no file in it could be imported.
    """
    listed = sorted(_files(Path(release)), key=lambda file: file[0])
    named = [(file, found) for file in listed if (found := source.match(file[0]))]
    readable = [(file, found) for file, found in named if file[0].lower().endswith(suffixes())]
    if not readable:
        raise BenchmarkError(
            f"{release}: none of {len(listed)} files is one that the mapping {source.name} names;"
            " give the folder that holds the released results, or another mapping"
        )
    times = Counter(path for (path, _), _ in readable)
    problems, tables, known, room = [], [], [], _NUMBERS
    for (path, opens), (rule, groups) in readable:
        try:
            if times[path] > 1:
                raise BenchmarkError("several files have this name; left out")
            if room <= 0:
                raise BenchmarkError(f"the release has more than {_NUMBERS:,} numbers; left out")
            data = _data(opens)
        except BenchmarkError as error:
            problems.append(Problem(path, "", str(error)))
            continue
        content = read(path, data, source.last)
        found, odd = _curves_of(
            content, path, source, partial(identify, source, rule, groups), room
        )
        problems += odd
        tables += found
        room -= sum(map(len, found))
        about = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        known.append({"file": path, **about, "format": content.format, "curves": len(found)})
    if not tables:
        raise BenchmarkError(
            f"nothing in {release} could be imported; the first of {len(problems)} problems:"
            f" {problems[0] if problems else 'no curve of a known metric'}"
        )
    return Imported(source, pa.concat_tables(tables).combine_chunks(), known, problems)


def _curves_of(
    content: Content, path: str, source: Source, naming: Callable, room: int
) -> tuple[list[pa.Table], list[Problem]]:
    """The tables of a file's columns, as far as they are of a metric that is compared.

    Args:
        naming: column -> what it is; None for another metric.
        room: so many numbers may come.
    """
    tables, problems, others = [], [], set()
    for column in content.columns:
        try:
            identity = naming(column)
            if identity is None:
                others.add(column.name)
                continue
            value = column.points["value"]
            if not np.isfinite(value).any():
                raise BenchmarkError("holds no finite number")
            if len(value) > room:
                raise BenchmarkError(f"is more than {_NUMBERS:,} numbers of a release; left out")
            tables.append(_table(column, source, path, identity))
            room -= len(value)
        except (BenchmarkError, UnicodeEncodeError) as error:
            problems.append(Problem(path, column.name, str(error)))
    said = [problem for problem in content.problems if problem.column not in others]
    return tables, said + problems


def _files(release: Path) -> Iterator[tuple[str, Callable]]:
    """The files of a release without hidden ones: path with forward slashes, what opens it."""
    if release.is_dir():
        paths = [Path(folder, name) for folder, _, names in _walk(release) for name in names]
        listed = [
            (path.relative_to(release).as_posix(), partial(path.open, "rb"))
            for path in paths
            if path.is_file()
        ]
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
        name = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
        if not any(part.startswith(".") for part in PurePosixPath(name).parts):
            yield name, opens


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    def fail(error: OSError) -> None:
        raise BenchmarkError(f"cannot read the folder {error.filename}: {error.strerror}")

    return os.walk(folder, onerror=fail)


def _data(opens: Callable) -> bytes:
    try:
        with opens() as stream:
            data = stream.read(_BYTES + 1)
    except Exception as error:  # whatever a damaged or encrypted zip makes its libraries raise
        raise BenchmarkError(f"damaged, or cannot be read ({first_line(error)})") from error
    if len(data) > _BYTES:
        raise BenchmarkError(f"is larger than {_BYTES // 2**20} MB; left out")
    return data


def _table(column: Column, source: Source, path: str, identity: dict) -> pa.Table:
    """The rows of one column of a file; what it does not say is null."""
    rows = column.points["row"]
    values = {
        **identity,
        **source.model_dump(include={"backend", "protocol"}),
        **{"source": source.name, "file": path, "column": column.name},
        **{"tag": column.tag, "phase": column.phase, "step": rows * source.interval},
        **column.points,
    }
    arrays = [
        pa.array(value, from_pandas=True).cast(field.type)  # NaN becomes null
        if isinstance(value := values.get(field.name), np.ndarray)
        else pa.repeat(pa.scalar(value, field.type), len(rows))
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write(imported: Imported, folder: Path, release: Path) -> None:
    """Writes an import into a folder: ``evaluations.parquet`` and ``import.json``."""
    data = files.as_parquet([imported.evaluations], SCHEMA)
    files.write(data, Path(folder) / "evaluations.parquet")
    about = {
        "evaluations_sha256": files.sha256(data),
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
    known, path = Path(folder) / "import.json", Path(folder) / "evaluations.parquet"
    about = files.read_json(known, ["source", "files", "problems", "evaluations_sha256"])
    with one_line_errors(str(known)):
        source = Source.model_validate(about["source"])
    try:
        data = files.read(path)
        if files.sha256(data) != about["evaluations_sha256"]:
            raise ValueError(f"it is not the table of {known}")
        table = files.parse_parquet(data).select(SCHEMA.names).cast(SCHEMA)
        digests = {file["file"]: file["sha256"] for file in about["files"]}
        problems = [Problem(**problem) for problem in about["problems"]]
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise BenchmarkError(
            f"cannot read {path}: {first_line(error)}; make it with python -m benchmark published"
            " import"
        ) from error
    # pandas would read whole numbers next to nulls as floats, which lose seeds above 2^53
    rows = table.to_pandas(integer_object_nulls=True)
    return Release(source, curves(rows), digests, problems)


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
