"""Players of files for the comparison with the real game: its policies, and runs of our own."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from benchmark import files
from benchmark.envs.playing import Player
from benchmark.envs.spec import Observation
from benchmark.envs.validation.evidence import read_table
from benchmark.envs.validation.players import RecurrentPolicy
from benchmark.errors import BenchmarkError
from benchmark.training.policy import Policy, load_policy

RUN = "run"  #: the kind of network of a run's policy.pt


class RunPlayer:
    """The greedy agents of a run."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def begin(self, now: Observation) -> None:
        self.policy.begin(len(now.obs))

    def act(self, now: Observation) -> np.ndarray:
        return self.policy.act(now.obs, now.available)


def open_player(path: Path, network: str, seed: int = 0) -> Player:
    """The player of a file.

    Args:
        network: ``RUN``, or how the arrays of an ``.npz`` are used, see ``validation.players``.
        seed: of what the player draws.
    """
    if network == RUN:
        return RunPlayer(load_policy(path))
    try:
        with np.load(path) as arrays:
            return RecurrentPolicy(dict(arrays), network, seed)
    except (OSError, ValueError, BadZipFile) as error:
        raise BenchmarkError(f"cannot read the arrays of {path}: {error}") from error


def describe(path: Path, map: str) -> tuple[Path, str, str, str]:
    """What a file is: its path, a name for it in a folder of evidence, its method, its network.

    Args:
        path: a run's folder, a ``policy.pt``, or an ``.npz`` in a folder ``policies`` next to the
            ``policies.csv`` that describes it.
        map: that it is to play.

    Raises:
        BenchmarkError: it is none of them, or of another map.
    """
    import pandas as pd

    if path.suffix == ".npz":
        table = path.parent.parent / "policies.csv"
        rows = read_table(table) if table.exists() else pd.DataFrame({"file": []})
        rows = rows[rows["file"] == path.name] if "file" in rows else rows[:0]
        if not path.exists() or rows.empty:
            raise BenchmarkError(f"{path}: no such file, or {table} says nothing of it")
        row = rows.iloc[0]
        if row["map"] != map:
            raise BenchmarkError(f"{path} was trained on {row['map']}, not on {map}")
        return path, path.name, row["algorithm"], row["network"]
    policy = load_policy(path, map=map)
    run, path = policy.config, path / "policy.pt" if path.is_dir() else path
    # Two studies may have the same run, and a run another policy tomorrow.
    digest = files.sha256(files.read(path))[:8]
    name = f"{run.map}_{run.algorithm}_{run.variant}_{run.seed}_{digest}.pt"
    return path, name, run.algorithm, RUN
