"""What a Snakemake profile (``profiles/*/profile.yaml``) means for the runs of a study."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.training.config import known, load_yaml

FOLDER = Path("profiles")
_RULE = "train"


@dataclass(frozen=True)
class Profile:
    """How the runs of a study are spread over machines."""

    name: str
    at_a_time: int  #: runs that train side by side, everywhere together
    sharing: int  #: runs that train side by side on one machine, or on one GPU where there are some
    gpus_per_run: float  #: e.g. 0.2 where five runs share a GPU; 0 without GPUs
    memory: float | None  #: bytes that are reserved for a run; None: not limited
    seconds: float | None  #: time limit of a run's job; None: none
    attempts: int  #: how often a run may be begun or continued


def find_profile(text: str, cores: int, runs_per_gpu: int | None = None) -> Profile:
    """Reads a profile.

    Args:
        text: a folder or file, or the name of a folder in ``profiles``.
        cores: of this machine, for ``cores: all``.
        runs_per_gpu: how many runs a GPU takes where the profile asks for shards, whose size only
            the cluster knows.

    Raises:
        BenchmarkError: there is none, or it has values that only Snakemake could evaluate.
    """
    path = Path(text)
    if not path.exists():
        profiles = {each.parent.name: each for each in sorted(FOLDER.glob("*/profile.yaml"))}
        known("profile", text, profiles, str(FOLDER))
        path = profiles[text]
    elif path.is_dir():
        path /= "profile.yaml" if (path / "profile.yaml").exists() else "config.yaml"
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise BenchmarkError(f"{path}: a profile is a table of Snakemake's options")
    reader = _Reader(path, values)
    needs = reader.needs
    if values.get("executor", "local") == "slurm":
        gpus = reader.gpus(runs_per_gpu)
        at_a_time = reader.number(values, "jobs", 1)
        sharing = round(1 / gpus) if 0 < gpus < 1 else 1
        minutes = reader.number(needs, "runtime")
        seconds = minutes * 60 if minutes else None
    else:
        reader.refuse(runs_per_gpu)
        all_cores = values.get("cores", "all") == "all"
        at_a_time = cores if all_cores else reader.number(values, "cores", cores)
        limits = reader.table("resources")
        for name in limits:
            limit, need = reader.number(limits, name), reader.number(needs, name)
            if need:
                at_a_time = min(at_a_time, limit // need)
        percent = reader.number(needs, "gpu_percent", 0)
        gpus, sharing, seconds = percent / 100, at_a_time, None
    if at_a_time < 1:
        raise BenchmarkError(f"{path}: a run needs more than the profile has; raise resources:")
    memory = reader.number(needs, "mem_mb")
    return Profile(
        name=path.parent.name,
        at_a_time=at_a_time,
        sharing=sharing,
        gpus_per_run=gpus,
        memory=memory * 1e6 if memory else None,
        seconds=seconds,
        attempts=1 + reader.number(values, "retries", 0),
    )


@dataclass(frozen=True)
class _Reader:
    """Takes numbers out of a profile, or says which one is none."""

    path: Path
    values: dict

    @property
    def needs(self) -> dict[str, Any]:
        """The resources of a run, by name."""
        rules, prefix = self.table("set-resources"), f"{_RULE}:"
        listed = {
            name.removeprefix(prefix): value
            for name, value in rules.items()
            if name.startswith(prefix)
        }
        return self.table("default-resources") | (rules.get(_RULE) or listed)

    def table(self, key: str) -> dict[str, Any]:
        """One of the profile's tables, which Snakemake also takes as a list of ``name=value``."""
        entries = self.values.get(key) or {}
        if isinstance(entries, dict):
            return entries
        if not isinstance(entries, list):
            entries = [entries]
        pairs = [str(each).partition("=") for each in entries]
        return {name: int(value) if value.isdigit() else value for name, _, value in pairs}

    def number(self, table: dict, key: str, default: int | None = None) -> int | None:
        value = table.get(key, default)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise BenchmarkError(
                f"{self.path}: {key}: {value!r} is no whole number; plan needs one to count with"
            )
        return value

    def refuse(self, runs_per_gpu: int | None) -> None:
        if runs_per_gpu is not None:
            raise BenchmarkError(
                f"{self.path}: --runs-per-gpu is for profiles with gres: shard:1 only"
            )

    def gpus(self, runs_per_gpu: int | None) -> float:
        """GPUs that one run's job takes."""
        gres = str(self.needs.get("gres", "")).strip("'\"")
        kind, *rest = gres.split(":")  # gpu, gpu:2, gpu:a100, gpu:a100:2
        count = rest[-1] if rest and rest[-1].isdigit() else 1
        if kind == "shard":
            if runs_per_gpu is None:
                raise BenchmarkError(
                    f"{self.path}: gres: {gres} is a part of a GPU; say with --runs-per-gpu how"
                    " many runs one GPU takes (scontrol show node lists gpu and shard)"
                )
            return 1 / runs_per_gpu
        self.refuse(runs_per_gpu)
        return float(count) if kind == "gpu" else float(self.number(self.needs, "gpu", 0))


def jobs_of(profile: Profile, seconds: float) -> int:
    """How many time limits a run of that length takes."""
    return math.ceil(seconds / profile.seconds) if profile.seconds else 1
