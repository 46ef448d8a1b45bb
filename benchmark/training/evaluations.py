"""The table of evaluations: one row per evaluation episode, as parquet."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.errors import BenchmarkError, first_line
from benchmark.files import atomic

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


def evaluation_rows(identity: dict, evaluation: dict) -> pd.DataFrame:
    """One evaluation as rows of the table.

    Args:
        identity: the values of ``config.IDENTITY``.
        evaluation: ``step``, the point of the evaluation grid in env steps; ``phase``, "training"
            or "absolute"; and the columns of ``EpisodeStats.columns``.
    """
    frame = pd.DataFrame({**identity, **evaluation})
    return frame.assign(episode=frame.index)[EVALUATION_SCHEMA.names]
