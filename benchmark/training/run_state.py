"""What state a run is in, read from its folder, and how deleted records are restored."""

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from platform import node

import psutil

from algorithms import ALGORITHMS
from benchmark import files
from benchmark.errors import BenchmarkError, first_line
from benchmark.training import progress, provenance
from benchmark.training.config import RunConfig

log = logging.getLogger("benchmark")

#: A finished run has both; Snakemake declares them as outputs of the run's job.
RECORDS = ("evaluations.parquet", "run.json")

#: How a run can end, in its ``run.json``. One that diverged counts like any other, and is named.
END = "budget reached"
DIVERGED = "budget reached, with weights that are not finite"

#: A run that has not reported for so long counts as dead; it reports about every 30 s, and at the
#: latest after one round of battles and updates.
SILENCE = timedelta(minutes=15)

STATES = ("done", "running", "failed", "interrupted", "stale", "missing")


@dataclass(frozen=True)
class RunState:
    """One run of a study, as its folder shows it."""

    map: str
    algorithm: str
    variant: str
    seed: int
    state: str  #: one of ``STATES``
    step: int  #: env steps played of those that the study now wants
    budget: int
    steps_per_second: float | None  #: over the whole run, evaluation included
    win_rate: float | None  #: of the latest evaluation of an unfinished run
    note: str  #: why it failed or is stale, or what is odd about its end
    folder: str


def read(run: RunConfig, results: Path) -> RunState:
    """The state of one run.

    Args:
        run: the run as the study now wants it.
        results: the folder that holds ``<study>/runs``.
    """
    folder = results / run.path
    found = {"step": 0, "steps_per_second": None, "win_rate": None, "note": ""}
    try:
        if is_finished(folder):
            found |= _finished(run, folder)
        elif (folder / "progress.json").exists():
            found |= _unfinished(folder)
        else:
            found["state"] = "missing"
    except BenchmarkError as error:
        found |= {"state": "failed", "note": str(error)}
    return RunState(
        map=run.map,
        algorithm=run.algorithm,
        variant=run.variant,
        seed=run.seed,
        budget=run.training.budget,
        folder=str(folder),
        **found,
    )


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a complete record."""
    return all((folder / name).exists() for name in RECORDS)


def is_stale(about: dict) -> bool:
    """Whether code that decides a run's numbers has changed since it was made.

    Args:
        about: the run's ``run.json``. One attempt by other code is enough.
    """
    algorithm, backend = about["algorithm"], about["backend"]
    made_by = {attempt.get("source_hash", about["source_hash"]) for attempt in about["attempts"]}
    return algorithm not in ALGORITHMS or made_by != {provenance.source_hash(algorithm, backend)}


def _finished(run: RunConfig, folder: Path) -> dict:
    """A run with both of its records: done, stale, or failed where one of them is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = files.read_json(folder / "run.json", provenance.RUN_KEYS)
    evaluations = folder / "evaluations.parquet"
    try:
        pq.read_metadata(evaluations)
    except (OSError, pa.ArrowInvalid) as error:
        raise BenchmarkError(
            f"cannot read {evaluations}: {first_line(error)}; delete the file and run the study"
            " again"
        ) from error
    found = {"steps_per_second": about["steps_per_second"]}
    if about["config_hash"] != run.hash:
        note = "made with another configuration; the workflow repeats it"
        return found | {"state": "stale", "note": note}
    found["step"] = run.training.budget
    if is_stale(about):
        note = f"the code of {run.algorithm}, the training loop or the battles has changed since"
        return found | {"state": "stale", "note": f"{note}; delete the folder to repeat it"}
    note = "" if about["end_reason"] == END else about["end_reason"]
    return found | {"state": "done", "note": note}


def _unfinished(folder: Path) -> dict:
    """A run that has begun: running, failed or interrupted; a killed process counts as the last."""
    about = files.read_json(folder / "progress.json", progress.KEYS)
    state = about["state"]
    if state == "running" and not _alive(about):
        state = "interrupted"
    elif state == "done":  # its records have been deleted since
        return {"state": "missing"}
    return {
        "state": state,
        "step": about["step"],
        "steps_per_second": about["steps_per_second"] or None,
        "win_rate": about["win_rate"],
        "note": about["error"].splitlines()[0] if about["error"] else "",
    }


def _alive(about: dict) -> bool:
    """Whether the process that reported last still runs; on another host, whether it reports."""
    silence = datetime.now(UTC) - datetime.fromisoformat(about["updated"])
    here = about["host"] == node()
    return silence < SILENCE and (not here or psutil.pid_exists(about["pid"]))


# What ``train`` does with a run that was finished before ------------------------------------------


def is_done(config: RunConfig, folder: Path) -> bool:
    """Whether this very run is finished; deleted records of one that was are restored.

    Raises:
        BenchmarkError: the folder holds a finished run of another configuration.
    """
    if is_finished(folder):
        about = files.read_json(folder / "run.json", provenance.RUN_KEYS)
        if about["config_hash"] != config.hash:
            raise BenchmarkError(
                f"{folder} holds a finished run with other options:"
                f" {config.differences(about['config'])}; choose another --output or delete that"
                " folder"
            )
        log.info("%s is finished; nothing to do", folder)
        return True
    if restore(config, folder):
        log.info("%s was finished before; its deleted records are back", folder)
        return True
    return False


def keep_records(folder: Path) -> None:
    """Copies a finished run's records to hidden names, for ``restore``.

    Snakemake deletes the outputs of a job that failed, also where the run itself had finished: its
    node broke before the job was reported, or another run of the same Slurm job was stopped.
    """
    for name in RECORDS:
        with files.atomic(folder / f".{name}") as temporary:
            shutil.copyfile(folder / name, temporary)


def restore(config: RunConfig, folder: Path) -> bool:
    """Restores deleted records of a run of this configuration, unless it is stale.

    Returns:
        whether that was possible.
    """
    from benchmark.training.evaluations import read_evaluations

    kept = {name: folder / f".{name}" for name in RECORDS}
    if not all(path.exists() for path in kept.values()):
        return False
    try:
        about = files.read_json(kept["run.json"], provenance.RUN_KEYS)
        read_evaluations(kept["evaluations.parquet"])
    except BenchmarkError:
        return False
    if about["config_hash"] != config.hash or is_stale(about):
        return False
    for name, path in kept.items():
        with files.atomic(folder / name) as temporary:
            shutil.copyfile(path, temporary)
    return True
