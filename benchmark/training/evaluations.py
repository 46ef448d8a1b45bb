"""The table of evaluations: one row per evaluation episode, as Parquet."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from benchmark import files
from benchmark.errors import BenchmarkError, first_line
from benchmark.training.run_record import DIGEST, damaged, read_bytes

#: The file next to a table that describes it.
DESCRIBED_BY = ("run.json", "runs.json")

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


def write_evaluations(table: pd.DataFrame, path: Path) -> str:
    """Writes a table of evaluations (columns of ``EVALUATION_SCHEMA``) as Parquet, atomically.

    Returns:
        the file's SHA-256.
    """
    data = as_bytes([table])
    files.write(data, path)
    return files.sha256(data)


def as_bytes(tables: Iterable[pd.DataFrame]) -> bytes:
    """The file of the rows of several tables, which are taken one at a time."""
    parts = (
        pa.Table.from_pandas(table, schema=EVALUATION_SCHEMA, preserve_index=False)
        for table in tables
    )
    return files.as_parquet(parts, EVALUATION_SCHEMA)


def read_evaluations(path: Path) -> pd.DataFrame:
    """Reads a table of evaluations; where its ``run.json`` or ``runs.json`` is there, it must fit.

    Raises:
        BenchmarkError: the file is missing, damaged, or lacks a column.
    """
    path = Path(path)
    for name in DESCRIBED_BY:
        if (path.parent / name).exists():
            digest = files.read_sealed(path.parent / name, [DIGEST])[DIGEST]
            return parse_evaluations(read_bytes(path, digest), path)
    return parse_evaluations(read_bytes(path), path)


def parse_evaluations(data: bytes, path: Path) -> pd.DataFrame:
    """The table in the bytes of a file.

    Raises:
        BenchmarkError: they are damaged, or lack a column.
    """
    try:
        table = files.parse_parquet(data)
        missing = [name for name in EVALUATION_SCHEMA.names if name not in table.column_names]
        if missing:
            raise BenchmarkError(
                f"{path} lacks the column {missing[0]!r}: it is no table of evaluations of this"
                " version"
            )
        return table.select(EVALUATION_SCHEMA.names).cast(EVALUATION_SCHEMA).to_pandas()
    except (ValueError, pa.ArrowException) as error:
        raise damaged(path, first_line(error)) from error


def evaluation_rows(identity: dict, evaluation: dict) -> pd.DataFrame:
    """One evaluation as rows of the table.

    Args:
        identity: the values of ``config.IDENTITY``.
        evaluation: ``step``, the point of the evaluation grid in env steps; ``phase``, "training"
            or "absolute"; and the columns of ``EpisodeStats.columns``.
    """
    frame = pd.DataFrame({**identity, **evaluation})
    return frame.assign(episode=frame.index)[EVALUATION_SCHEMA.names]
