"""What state runs are in, read from a study's folder, and how deleted records are restored.

``status``, the report and the workflow all ask here, so that they agree.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from platform import node
from typing import Any, Literal

import psutil

from algorithms import ALGORITHMS
from algorithms.plugins import VARIABLE
from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.training import progress, provenance, run_record
from benchmark.training.config import (
    IDENTITY,
    RunConfig,
    differences,
    run_path,
    same_but_for_the_budget,
    same_configuration,
)

log = logging.getLogger("benchmark")

#: A finished run has both; Snakemake declares them as outputs of the run's job.
RECORDS = ("evaluations.parquet", "run.json")

#: How a run can end, in its ``run.json``. One that diverged counts like any other, and is named.
END = "budget reached"
DIVERGED = "budget reached, with weights that are not finite"
UNTRAINED = "budget reached, before the first update"

#: A run that has not reported for so long counts as dead; it reports about every 30 s, and at the
#: latest after one round of battles and updates.
SILENCE = timedelta(minutes=15)

#: What of another run in its folder a run replaces, instead of refusing or continuing it:
#: nothing, one with another configuration, or also one by other code.
Replace = Literal["nothing", "changed", "stale"]

#: "changed": made with another configuration; "stale": made by other code.
STATES = ("done", "running", "failed", "interrupted", "changed", "stale", "missing")

_STALE = "code that decides its numbers has changed since; "
_RERUN = "`snakemake ... --config rerun=stale`"


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
    device: str | None  #: of a finished run: "cpu", or the GPU's name
    win_rate: float | None  #: of the latest evaluation of an unfinished run
    note: str  #: why it failed or is stale, or what is odd about its end
    folder: str


def read(runs: Iterable[dict], folder: Path) -> list[RunState]:
    """The states of runs.

    Args:
        runs: resolved runs, as they are now wanted.
        folder: of their study.
    """
    source_hash = cache(provenance.source_hash)  # files may change until the next call
    aggregated = {run_path(about): about for about in _aggregated(folder)}
    states = []
    for run in runs:
        path = run_path(run)
        found: dict[str, Any] = {"step": 0, "note": ""}
        found |= dict.fromkeys(("steps_per_second", "device", "win_rate"))
        try:
            with files.disk_errors(folder / path):
                if is_finished(folder / path):
                    found |= _finished(run, run_record.read(folder / path), source_hash)
                elif (folder / path / "progress.json").exists():
                    found |= _unfinished(run, folder / path, source_hash)
                elif path in aggregated:
                    found |= _finished(run, aggregated[path], source_hash)
                    found["note"] = found["note"].partition(";")[0]  # nothing repeats it
                else:
                    found["state"] = "missing"
        except BenchmarkError as error:
            found |= {"state": "failed", "note": str(error)}
        names = ("map", "algorithm", "variant", "seed")
        identity = {name: run[name] for name in names}
        budget, where = run["training"]["budget"], str(folder / path)
        states.append(RunState(**identity, budget=budget, folder=where, **found))
    return states


def found_runs(folder: Path) -> list[dict]:
    """The runs of a folder whose study is not known, each wanted as it was made."""
    found = [about["config"] for about in _aggregated(folder)]
    for path in sorted(Path(folder, "runs").glob("*/*/*/*/*")):
        if not path.name.isdecimal():  # not a seed: somebody's copy
            continue
        identity: dict[str, Any] = dict(zip(IDENTITY[-4:], path.parts[-4:], strict=True))
        identity |= {"backend": path.parts[-5], "seed": int(path.name)}
        if (path / "run.json").exists():
            found.append(files.read_sealed(path / "run.json", provenance.RUN_KEYS)["config"])
        elif (path / "progress.json").exists():
            about = files.read_sealed(path / "progress.json", progress.KEYS)
            # Older versions did not note the configuration.
            begun = identity | {"training": {"budget": about["budget"]}}
            found.append(about.get("config", begun))
    return found


def _aggregated(folder: Path) -> list[dict]:
    """The records of a study that came as its table, without runs."""
    if not without_runs(folder) or not (folder / "runs.json").exists():
        return []
    return files.read_sealed(folder / "runs.json", ["runs"])["runs"]


def without_runs(folder: Path) -> bool:
    """Whether a study came as its aggregated table; then it is not trained again."""
    return (folder / "evaluations.parquet").exists() and not (folder / "runs").exists()


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a complete record."""
    return all((folder / name).exists() for name in RECORDS)


def is_stale(about: dict, source_hash: Callable[..., str] | None = None) -> bool:
    """Whether code that decides a run's numbers has changed since it was made.

    One attempt by other code is enough. Where its hash is another one, its commit decides, if it
    is known and nothing was changed in it: how a hash is made may have changed too.

    Args:
        about: the run's ``run.json``, or as much of it as a checkpoint knows.
        source_hash: a cached one; ``provenance``'s if None.
    """
    algorithm, backend = about["algorithm"], about["backend"]
    if algorithm not in ALGORITHMS:
        return True
    source_hash = source_hash or provenance.source_hash
    now = source_hash(algorithm, backend)
    return not all(
        attempt.get("source_hash", about.get("source_hash")) == now
        or (
            attempt.get("dirty") is False
            and source_hash(algorithm, backend, attempt["commit"]) == now
        )
        for attempt in about["attempts"]
    )


def _finished(run: dict, about: dict, source_hash: Callable[..., str]) -> dict:
    """A run with a record: done, changed or stale."""
    found = {
        "steps_per_second": about["steps_per_second"],
        "device": about["hardware"]["device"],
    }
    if not same_configuration(about["config"], run):
        other = differences(about["config"], run)
        return found | {"state": "changed", "note": f"made with {other}; the workflow repeats it"}
    found["step"] = run["training"]["budget"]
    if about["algorithm"] not in ALGORITHMS:
        note = f"its method is not known here; if it is your own, name its file in {VARIABLE}"
        return found | {"state": "stale", "note": note}
    if is_stale(about, source_hash):
        return found | {"state": "stale", "note": f"{_STALE}{_RERUN} repeats it"}
    note = "" if about["end_reason"] == END else about["end_reason"]
    return found | {"state": "done", "note": note}


def _unfinished(run: dict, folder: Path, source_hash: Callable[..., str]) -> dict:
    """A run that has begun: running, failed or interrupted; a killed process counts as the last.

    One that would start over under the configuration that is now wanted is changed, and one that
    was interrupted is stale if other code will go on with it.
    """
    about = files.read_sealed(folder / "progress.json", progress.KEYS)
    state = about["state"]
    if state == "running" and not _alive(about):
        state = "interrupted"
    elif state == "done":  # its records have been deleted since
        return {"state": "missing"}
    # What was played after the last checkpoint is played again.
    step = about["step"] if state == "running" else about.get("saved_step", about["step"])
    if state != "running" and not _goes_on(about, run, step):
        other = differences(about["config"], run)
        return {"state": "changed", "note": f"begun with {other}; the workflow starts it over"}
    found = {
        "step": step,
        "steps_per_second": about["steps_per_second"] or None,
        "win_rate": about["win_rate"],
    }
    # Older versions did not note the attempts.
    if state == "interrupted" and is_stale(
        run | {"attempts": about.get("attempts", [])}, source_hash
    ):
        note = f"{_STALE}the new code goes on at step {step:,}, {_RERUN} starts it over"
        return found | {"state": "stale", "note": note}
    note = about["error"].splitlines()[0] if about["error"] else ""
    return found | {"state": state, "note": note}


def _goes_on(about: dict, run: dict, step: int) -> bool:
    """Whether a checkpoint is of the configuration that is wanted, or only its budget was changed
    and is still ahead. Older versions did not note the configuration.
    """
    begun = about.get("config")
    if begun is None or same_configuration(begun, run):
        return True
    return same_but_for_the_budget(begun, run) and step < run["training"]["budget"]


def _alive(about: dict) -> bool:
    """Whether the process that reported last still runs; on another host, whether it reports."""
    silence = datetime.now(UTC) - datetime.fromisoformat(about["updated"])
    here = about["host"] == node()
    return silence < SILENCE and (not here or psutil.pid_exists(about["pid"]))


# What ``train`` does with a run that was finished before ------------------------------------------


def is_done(config: RunConfig, folder: Path, replace: Replace) -> bool:
    """Whether this very run is finished; deleted or damaged records of one that was are restored.

    Args:
        replace: which finished run does not count, and is deleted.

    Raises:
        BenchmarkError: the folder holds a finished run of another configuration, or a damaged one
            of which there is no good copy.
    """
    if is_finished(folder):
        try:
            about = run_record.read(folder)
        except BenchmarkError as error:
            if not restore(config, folder):
                raise
            log.warning("%s: restored from the run's copy (%s)", folder, error)
            about = run_record.read(folder)
        wanted = config.resolved()
        changed = not same_configuration(about["config"], wanted)
        stale = is_stale(about)
        if changed and replace == "nothing":
            raise BenchmarkError(
                f"{folder} holds a finished run with other options:"
                f" {differences(about['config'], wanted)}; choose another --output, or give"
                " --replace changed to lose it"
            )
        if changed or (stale and replace == "stale"):
            log.warning("%s: replacing a finished run", folder)
            for name in RECORDS:
                (folder / name).unlink()
            return False
        log.info("%s is finished; nothing to do", folder)
        if stale:
            log.warning("code that decides its numbers has changed: --replace stale repeats it")
        return True
    other = _begun_with_other_options(config, folder)
    if other and replace == "nothing":
        return False  # training refuses to lose it
    if restore(config, folder):
        if other:
            log.warning("%s: the unfinished run with other options is lost (%s)", folder, other)
        log.info("%s was finished before; its deleted records are back", folder)
        return True
    return False


def _begun_with_other_options(config: RunConfig, folder: Path) -> str:
    """How an unfinished run in the folder differs from this one; empty without such a run."""
    if not (folder / "checkpoint.pt").exists():
        return ""
    try:
        about = files.read_sealed(folder / "progress.json", progress.KEYS)
    except BenchmarkError:
        return ""
    wanted = config.resolved()
    begun = about.get("config", wanted)
    return "" if same_configuration(begun, wanted) else differences(begun, wanted)


def write_records(folder: Path) -> None:
    """Writes a finished run's records from their copies, which have hidden names.

    Snakemake deletes the outputs of a job that failed, also where the run itself had finished: its
    node broke before the job was reported, or another run of the same Slurm job was stopped. The
    copies are written first, so that no run is finished without them.
    """
    for name in RECORDS:
        files.write(files.read(folder / f".{name}"), folder / name)


def restore(config: RunConfig, folder: Path) -> bool:
    """Restores records of a run of this configuration from their copies, unless it is stale.

    Returns:
        whether that was possible.
    """
    if not all((folder / f".{name}").exists() for name in RECORDS):
        return False
    try:
        about = run_record.read(folder, prefix=".")
    except BenchmarkError:
        return False
    if not same_configuration(about["config"], config.resolved()) or is_stale(about):
        return False
    write_records(folder)
    return True
