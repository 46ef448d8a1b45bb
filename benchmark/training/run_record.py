"""A finished run's record: ``run.json``, and the table of evaluations that it describes."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.training.config import IDENTITY, hash_of
from benchmark.training.protocol import Training, evaluation_grid
from benchmark.training.provenance import RUN_KEYS

if TYPE_CHECKING:
    import pandas as pd

#: The key of the table's SHA-256 in the file next to it that describes it.
DIGEST = "evaluations_sha256"


def read(folder: Path, prefix: str = "") -> dict:
    """The ``run.json`` in a folder, next to the table that the run wrote.

    Args:
        folder: of the run.
        prefix: of both files' names: "." for their copies.

    Raises:
        BenchmarkError: one of them is missing, damaged, or not of the other.
    """
    return _read(Path(folder), prefix)[0]


def read_with_table(folder: Path) -> "tuple[dict, pd.DataFrame]":
    """The same and the table, which holds every row of the run and no other.

    Raises:
        BenchmarkError: as ``read``; or the table is of another run or lacks rows.
    """
    from benchmark.training.evaluations import parse_evaluations  # imports pandas and pyarrow

    about, data = _read(Path(folder), "")
    path = Path(folder, "evaluations.parquet")
    table = parse_evaluations(data, path)
    check_rows(about, table, path)
    return about, table


def _read(folder: Path, prefix: str) -> tuple[dict, bytes]:
    path = folder / f"{prefix}run.json"
    about = files.read_sealed(path, RUN_KEYS)
    check_hash(about, path)
    return about, read_bytes(folder / f"{prefix}evaluations.parquet", about[DIGEST])


def read_bytes(path: Path, digest: str | None = None) -> bytes:
    """The bytes of a table of evaluations.

    Args:
        path: of the file.
        digest: their SHA-256, where it is known.

    Raises:
        BenchmarkError: the file is missing, or its bytes have another SHA-256.
    """
    try:
        data = files.read(path)
    except FileNotFoundError as error:
        raise BenchmarkError(
            f"there is no table of evaluations {path}; give the evaluations.parquet of a study"
            " (benchmark aggregate makes it) or of a finished run"
        ) from error
    if digest not in (None, files.sha256(data)):
        raise damaged(path, "it is not the table that the record next to it describes")
    return data


def damaged(path: Path, why: str) -> BenchmarkError:
    """The error that a table of evaluations is damaged."""
    return BenchmarkError(
        f"{path} is damaged ({why}); delete it and run the study again, which makes only what is"
        " missing"
    )


def check_hash(about: dict, path: Path) -> None:
    """Checks that a run's ``config_hash`` is that of its configuration.

    Args:
        about: the run's record.
        path: of the file that holds it.

    Raises:
        BenchmarkError: it is not, or the configuration is of another run.
    """
    config = about["config"]
    named = isinstance(config, dict) and all(config.get(name) == about[name] for name in IDENTITY)
    if not named or hash_of(config) != about["config_hash"]:
        raise BenchmarkError(
            f"{path} is damaged or was edited: its config_hash is not that of the configuration of"
            f" {_name(about)}; delete it and run the study again"
        )


def check_rows(about: dict, table: "pd.DataFrame", path: Path) -> None:
    """Checks that a table holds the evaluations of one run: every point of its grid, once.

    Args:
        about: the run's record.
        table: its rows.
        path: of the table's file.

    Raises:
        BenchmarkError: it holds another run, or lacks rows, or has too many.
    """
    if other := by_run(table).keys() - {identity(about)}:
        raise BenchmarkError(
            f"{path} holds the run {'/'.join(map(str, other.pop()))}, but its record is of"
            f" {_name(about)}; delete both and run the study again"
        )
    rules = Training.model_construct(**about["config"]["training"])
    wanted = {("training", step): rules.evaluation_episodes for step in evaluation_grid(rules)}
    of_phase = table.groupby(["phase", "step"], sort=False).episode.agg(["size", "nunique", "max"])
    if rules.absolute_episodes:  # at the step where the policy was best
        best = of_phase.index[-1][1] if len(of_phase) else rules.budget
        best = best if ("training", best) in wanted else rules.budget
        wanted["absolute", best] = rules.absolute_episodes
    found = {key: tuple(row) for key, row in zip(of_phase.index, of_phase.values, strict=True)}
    for phase, step in wanted | found:
        episodes = wanted.get((phase, step), 0)
        rows = found.get((phase, step), (0, 0, -1))
        if rows != (episodes, episodes, episodes - 1):
            raise BenchmarkError(
                f"{path} has {rows[0]} rows of {_name(about)} at step {step} ({phase}) instead of"
                f" {episodes}; delete it and run the study again, only this run is repeated"
            )


def identity(about: dict) -> tuple:
    """The values of ``IDENTITY`` in a record."""
    return tuple(about[name] for name in IDENTITY)


def by_run(table: "pd.DataFrame") -> "dict[tuple, pd.DataFrame]":
    """The rows of each run by its identity, as its record has it.

    That names the backend that was asked for, where the table says if the stand-in played.
    """
    asked = table["backend"].replace("standin", "starcraft2")
    columns = [asked if name == "backend" else table[name] for name in IDENTITY]
    return dict(tuple(table.groupby(columns, sort=False)))


def _name(about: dict) -> str:
    return "/".join(map(str, identity(about)))
