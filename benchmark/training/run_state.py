"""When a run counts as finished or stale, and how records that Snakemake deleted come back."""

import logging
import shutil
from pathlib import Path

from algorithms import ALGORITHMS
from benchmark import files
from benchmark.envs.simulator import env
from benchmark.errors import BenchmarkError
from benchmark.training import provenance
from benchmark.training.config import RunConfig
from benchmark.training.evaluations import read_evaluations

log = logging.getLogger("benchmark")

#: What a finished run is known by; Snakemake declares both as outputs of the run's job.
RECORDS = ("evaluations.parquet", "run.json")

#: How a run can end, in its ``run.json``. One that diverged counts like any other, and is named.
END = "budget reached"
DIVERGED = "budget reached, with weights that are not finite"


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a complete record."""
    return all((folder / name).exists() for name in RECORDS)


def is_done(config: RunConfig, folder: Path) -> bool:
    """Whether this very run is finished; deleted records of one that was are put back.

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
    if put_back(config, folder):
        log.info("%s was finished before; its deleted records are back", folder)
        return True
    return False


def made_by_other_code(about: dict) -> str:
    """What has changed since a run was made: a method's source, the simulator; else empty.

    Args:
        about: the run's ``run.json``. One attempt by other code is enough.
    """
    algorithm = ALGORITHMS.get(about["algorithm"])
    sources = {each.get("source_hash", about["source_hash"]) for each in about["attempts"]}
    if algorithm is None or sources != {provenance.source_hash(algorithm.__module__)}:
        return f"the source of {about['algorithm']}"
    if about["backend"] == "simulator" and about["backend_version"] != env.VERSION:
        return "the simulator"
    return ""


def keep_records(folder: Path) -> None:
    """Copies a finished run's records to hidden names, for ``put_back``.

    Snakemake deletes the outputs of a job that failed, also where the run itself had finished: its
    node broke before the job was reported, or another run of the same Slurm job was stopped.
    """
    for name in RECORDS:
        with files.atomic(folder / f".{name}") as temporary:
            shutil.copyfile(folder / name, temporary)


def put_back(config: RunConfig, folder: Path) -> bool:
    """Restores deleted records of a run of this configuration, unless it is stale.

    Returns:
        whether that was possible.
    """
    kept = {name: folder / f".{name}" for name in RECORDS}
    if not all(path.exists() for path in kept.values()):
        return False
    try:
        about = files.read_json(kept["run.json"], provenance.RUN_KEYS)
        read_evaluations(kept["evaluations.parquet"])
    except BenchmarkError:
        return False
    if about["config_hash"] != config.hash or made_by_other_code(about):
        return False
    for name, path in kept.items():
        with files.atomic(folder / name) as temporary:
            shutil.copyfile(path, temporary)
    return True
