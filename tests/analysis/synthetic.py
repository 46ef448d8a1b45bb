"""A made-up table of evaluations, shaped like a study's, for the tests of everything after it."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.training import run_state
from benchmark.training.config import IDENTITY, hash_of
from benchmark.training.evaluations import EVALUATION_SCHEMA, write_evaluations
from benchmark.training.provenance import source_hash
from benchmark.training.run_record import DIGEST

SMAC = ["5m_vs_6m", "MMM2", "3s5z_vs_3s6z", "27m_vs_30m", "corridor", "6h_vs_8z"]
SMACV2 = [
    f"{race}_{size}" for size in ("5_vs_5", "10_vs_11") for race in ("protoss", "terran", "zerg")
]
ALGORITHMS = ["r3dm", "qmix", "acorm", "cia", "gomarl", "cds", "emc"]


def run(
    map: str,
    algorithm: str,
    seed: int,
    *,
    skill: float = 0.5,
    budget: int = 40_000,
    interval: int = 10_000,
    episodes: int = 32,
    absolute: int = 320,
    variant: str = "default",
    backend: str = "simulator",
    protocol: str = "unified",
    study: str = "synthetic",
) -> pd.DataFrame:
    """One run whose win rate rises to about ``skill``, with noise of its own."""
    stream = np.random.default_rng([seed, *f"{map}{algorithm}{variant}".encode()])
    skill = np.clip(skill + stream.normal(0, 0.05), 0, 1)
    identity = dict(
        study=study,
        backend=backend,
        protocol=protocol,
        map=map,
        algorithm=algorithm,
        variant=variant,
        seed=seed,
    )

    grid = np.arange(0, budget + 1, interval)
    step = np.concatenate([np.repeat(grid, episodes), np.full(absolute, budget)])
    n, training = len(step), len(grid) * episodes
    progress = step / budget
    won = stream.random(n) < skill * (1 - np.exp(-4 * progress)) / (1 - np.exp(-4))
    dead = stream.integers(0, 5, n)
    episode = np.concatenate([np.tile(np.arange(episodes), len(grid)), np.arange(absolute)])
    table = pd.DataFrame(
        {
            "step": step,
            "phase": np.where(np.arange(n) < training, "training", "absolute"),
            "episode": episode,
            "battle_won": won,
            "return": np.where(won, 20.0, 12 * progress + stream.normal(0, 1, n).clip(-1, 1)),
            "length": stream.integers(20, 60, n),
            "dead_allies": dead,
            "dead_enemies": 5 - dead,
        }
    )
    return table.assign(**identity)[EVALUATION_SCHEMA.names]


def study(
    maps: list[str] = ("3m", "terran_3_vs_3"),
    algorithms: list[str] = ("r3dm", "qmix"),
    seeds: int = 3,
    **rest,
) -> pd.DataFrame:
    """Runs of every algorithm on every map; the first algorithm wins most, the last least."""
    runs = []
    for m, map in enumerate(maps):
        for a, algorithm in enumerate(algorithms):
            skill = 0.9 - 0.6 * a / len(algorithms) - 0.3 * m / len(maps)
            runs += [run(map, algorithm, seed, skill=skill, **rest) for seed in range(seeds)]
    return pd.concat(runs, ignore_index=True)


def save(table: pd.DataFrame, folder: Path, **changes) -> Path:
    """Writes one run as training does, with changes of its record; returns its folder."""
    digest = write_evaluations(table, folder / "evaluations.parquet")
    about = changes if "config_hash" in changes else provenance(table, **changes)[0]
    about = about | {DIGEST: digest}
    files.write_sealed(about, folder / "run.json")
    return folder


def provenance(evaluations: pd.DataFrame, **changes) -> list[dict]:
    """A ``run.json`` for each run of a table of evaluations."""
    return [
        _record(rows[IDENTITY].iloc[:1].to_dict("records")[0], rows, changes)
        for _, rows in evaluations.groupby(IDENTITY)
    ]


def _record(identity: dict, rows: pd.DataFrame, changes: dict) -> dict:
    training = rows[rows["phase"] == "training"]
    grid = sorted(training["step"].unique().tolist())
    identity |= {name: changes[name] for name in IDENTITY if name in changes}
    rules = {
        "budget": grid[-1],
        "evaluation_interval": grid[1],
        "evaluation_episodes": len(training) // len(grid),
        "absolute_episodes": len(rows) - len(training),
    }
    about = {
        **identity,
        "backend_version": "1",
        "budget": grid[-1],
        "env_steps": grid[-1] + 35,  # the last battles are played to their end
        "episodes": 1000,
        "updates": 1000,
        "config": identity | {"training": rules},
        "commit": "0123456789abcdef",
        "dirty": False,
        "source_hash": source_hash(identity["algorithm"], identity["backend"]),
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "hardware": {"device": "cpu", "cpu": "Some CPU", "cores": 2, "memory_gb": 8.0},
        "attempts": [{"started": "2026-01-01T00:00:00", "ended": "2026-01-01T01:00:00"}],
        "wall_seconds": 3600.0,
        "steps_per_second": 555.5,
        "end_reason": run_state.END,
        **changes,
    }
    return {"config_hash": hash_of(about["config"])} | about
