"""The table of published evaluations, and the curves in it.

One row per released number. Our own runs keep every *episode* of an evaluation; published files
hold one number per *evaluation*, and some only a group's mean with its extremes. So the common
ground is the evaluation: ``own_runs`` brings our table to it; nothing is made up to get there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark import files
from benchmark.analysis.labels import METRICS
from benchmark.analysis.scores import evaluations_to_points
from benchmark.errors import BenchmarkError, first_line

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

_CURVE = ["file", "column"]


class Cell(NamedTuple):
    """What is compared: one method on one map by one metric."""

    map: str
    algorithm: str
    variant: str
    metric: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, eq=False)  # compared by identity: it holds arrays
class Series:
    """One curve: a run, or a group of runs whose identities are lost."""

    source: str
    cell: Cell
    kind: str
    seed: int | None
    panel: str
    tag: str
    file: str
    column: str
    steps: np.ndarray  #: [N] int, ascending as in the file
    value: np.ndarray  #: [N]
    low: np.ndarray  #: [N], NaN where there is none
    high: np.ndarray  #: [N]
    rows: np.ndarray  #: [N] row of the file
    wall: np.ndarray  #: [N] seconds, NaN where unknown

    @property
    def name(self) -> str:
        """The file, with the column where the file holds several."""
        return self.file if self.column in ("Value", "array") else f"{self.file}:{self.column}"

    def between(self, after: float, until: float) -> "Series":
        """The evaluations with ``after < step <= until``."""
        return self.only((self.steps > after) & (self.steps <= until))

    def only(self, which: np.ndarray) -> "Series":
        """The evaluations where ``which`` [N] is true."""
        arrays = ("steps", "value", "low", "high", "rows", "wall")
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})


def series(table: pd.DataFrame) -> list[Series]:
    """The curves of a table, in the order of its files; evaluations by episode are averaged."""
    return list(_series(table[table["phase"] == "training"]))


def _series(table: pd.DataFrame) -> Iterator[Series]:
    for (file, column), rows in table.groupby(_CURVE, sort=False):
        if rows["episode"].notna().any():
            rows = rows.groupby("step", as_index=False, sort=False).agg(
                {name: "mean" if name == "value" else "first" for name in rows if name != "step"}
            )
        first = rows.iloc[0]
        yield Series(
            source=first["source"],
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


def own_runs(evaluations: pd.DataFrame) -> list[Series]:
    """Our own runs as curves, by metric.

    Args:
        evaluations: rows of ``EVALUATION_SCHEMA``.

    Raises:
        BenchmarkError: the table is empty, damaged, or mixes backends or protocols.
    """
    points = evaluations_to_points(evaluations)
    points = points[points["phase"] == "training"]
    about = evaluations.iloc[0]
    found = []
    run = ["map", "algorithm", "variant", "seed"]
    for (map, algorithm, variant, seed), rows in points.groupby(run, sort=True):
        nothing = np.full(len(rows), np.nan)
        for metric in METRICS:
            found.append(
                Series(
                    source=about["study"],
                    cell=Cell(map, algorithm, variant, metric),
                    kind="run",
                    seed=int(seed),
                    panel="main",
                    tag=metric,
                    file=f"{map}/{algorithm}/{variant}/{seed}",
                    column=metric,
                    steps=rows["step"].to_numpy(),
                    value=rows[metric].to_numpy(float),
                    low=nothing,
                    high=nothing,
                    rows=np.arange(len(rows)),
                    wall=nothing,
                )
            )
    return found


def write(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as parquet, atomically."""
    arrow = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
    with files.atomic(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(None), temporary, compression="zstd")


def read(path: Path) -> pd.DataFrame:
    """Reads a table of published evaluations.

    Raises:
        BenchmarkError: the file is missing, damaged, or of another version.
    """
    try:
        table = pq.read_table(path, partitioning=None)
        return table.select(SCHEMA.names).cast(SCHEMA).to_pandas()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        reason = first_line(error)
        raise BenchmarkError(
            f"cannot read {path}: {reason}; make it with python -m benchmark published import"
        ) from error
