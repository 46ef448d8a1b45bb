"""A made-up table of evaluations, shaped like a study's, for the tests of everything after it."""

import numpy as np
import pandas as pd

from benchmark.training import run_state
from benchmark.training.config import IDENTITY
from benchmark.training.evaluations import EVALUATION_SCHEMA
from benchmark.training.provenance import source_hash

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


def provenance(evaluations: pd.DataFrame, **changes) -> list[dict]:
    """A ``run.json`` for each run of a table of evaluations."""
    runs = evaluations.groupby(IDENTITY)["step"].max().reset_index()
    return [
        {
            **{name: row[name] for name in IDENTITY},
            "backend_version": "1",
            "budget": row["step"],
            "env_steps": row["step"] + 35,  # the last battles are played to their end
            "episodes": 1000,
            "updates": 1000,
            "config": {},
            "config_hash": "c0ffee",
            "commit": "0123456789abcdef",
            "dirty": False,
            "source_hash": source_hash(row["algorithm"], row["backend"]),
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "hardware": {"device": "cpu", "cpu": "Some CPU", "cores": 2, "memory_gb": 8.0},
            "attempts": [{"started": "2026-01-01T00:00:00", "ended": "2026-01-01T01:00:00"}],
            "wall_seconds": 3600.0,
            "steps_per_second": 555.5,
            "end_reason": run_state.END,
            **changes,
        }
        for row in runs.to_dict("records")
    ]
