"""Made-up releases of published results, as curves and as files; a test breaks what it needs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.published.release import Cell, Curve, Release
from benchmark.published.sources import Source

INTERVAL = 10_000
POINTS = 61  #: evaluations of a run, the first at step 0
END = (POINTS - 1) * INTERVAL
EPISODES = 32

SOURCE = Source(
    version=1,
    name="made_up",
    title="Made-up release",
    origin="https://example.org",
    backend="starcraft2",
    protocol="released",
    interval=INTERVAL,
    ends={"corridor": END, "MMM2": END},
    files=[
        {"match": r"win/(?P<map>[^/]+)/(?P<algorithm>[a-z0-9]+)(?:_(?P<variant>\w+?))?"
                  r"_seed(?P<seed>\d+)[^/]*", "metric": "win_rate"},
        {"match": r"return/(?P<map>[^/]+)/(?P<algorithm>[a-z0-9]+)_seed(?P<seed>\d+)[^/]*",
         "metric": "return"},
        {"match": r"groups/(?P<map>[^/]+)/(?P<algorithm>[a-z0-9]+)\.csv", "metric": "win_rate"},
    ],
)  # fmt: skip


def run(
    map: str = "corridor",
    algorithm: str = "qmix",
    seed: int = 0,
    *,
    skill: float = 0.6,
    metric: str = "win_rate",
    variant: str = "default",
    points: int = POINTS,
    late: int = 40,
) -> Curve:
    """A run that learns: win rates of 32 episodes, at steps that come a little after the grid."""
    stream = np.random.default_rng([seed, *f"{map}{algorithm}{variant}".encode()])
    progress = np.arange(points) / (POINTS - 1)
    chance = skill * (1 - np.exp(-4 * progress)) + 0.02
    won = stream.binomial(EPISODES, np.clip(chance, 0, 1)) / EPISODES
    steps = np.arange(points) * INTERVAL + stream.integers(0, late, points) * (progress > 0)
    value = won if metric == "win_rate" else 5 + 12 * won + stream.normal(0, 0.2, points)
    folder = {"win_rate": "win", "return": "return"}[metric]
    name = algorithm if variant == "default" else f"{algorithm}_{variant}"
    nothing = np.full(points, np.nan)
    return Curve(
        cell=Cell(map, algorithm, variant, metric),
        kind="run",
        seed=seed,
        panel="main",
        tag={"win_rate": "test_battle_won_mean", "return": "test_return_mean"}[metric],
        file=f"{folder}/{map}/{name}_seed{seed}.csv",
        column="Value",
        steps=steps.astype(np.int64),
        value=value,
        low=nothing,
        high=nothing,
        rows=np.arange(points),
        wall=1.7e9 + 100.0 * np.arange(points),
    )


def clean(seeds: int = 4, maps=("corridor", "MMM2"), algorithms=("r3dm", "qmix")) -> list[Curve]:
    """Curves in which there is nothing to find: both metrics of the same runs."""
    return [
        run(map, algorithm, seed, metric=metric, skill=0.8 if algorithm == "r3dm" else 0.4)
        for map in maps
        for algorithm in algorithms
        for metric in ("win_rate", "return")
        for seed in range(seeds)
    ]


def release(curves: list[Curve], **source) -> Release:
    """A release with these curves; files are told apart by their values."""
    digests = {
        curve.file: str(hash(curve.value.tobytes() + curve.wall.tobytes())) for curve in curves
    }
    return Release(SOURCE.model_copy(update=source), curves, digests)


def group(runs: list[Curve], name: str | None = None) -> Curve:
    """The runs as a wandb group shows them: mean, minimum and maximum per step."""
    points = pd.DataFrame(
        {
            "step": np.concatenate([curve.steps for curve in runs]),
            "value": np.concatenate([curve.value for curve in runs]),
        }
    )
    found = points.groupby("step")["value"].agg(["mean", "min", "max"])
    first = runs[0]
    column = f"Group: {name or first.cell.algorithm} - win_rate"
    return replace(
        first,
        kind="group",
        seed=None,
        tag="win_rate",
        file=f"groups/{first.cell.map}/{first.cell.algorithm}.csv",
        column=column,
        steps=found.index.to_numpy(),
        value=found["mean"].to_numpy(),
        low=found["min"].to_numpy(),
        high=found["max"].to_numpy(),
        rows=np.arange(len(found)),
        wall=np.full(len(found), np.nan),
    )


def save(curves: list[Curve], folder: Path) -> Path:
    """Writes curves in the format that their kind is released in."""
    for curve in curves:
        path = folder / curve.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if curve.kind == "group":
            columns = {"Step": curve.steps, curve.column: curve.value}
            columns |= {f"{curve.column}__MIN": curve.low, f"{curve.column}__MAX": curve.high}
            pd.DataFrame(columns).to_csv(path, index=False)
        elif path.suffix == ".npy":
            np.save(path, curve.value)
        else:
            table = pd.DataFrame(
                {"Wall time": curve.wall, "Step": curve.steps, "Value": curve.value}
            )
            table.to_csv(path, index=False)
    return folder


def mapping(folder: Path, **changes) -> Path:
    """Writes the mapping of these releases as a file."""
    values = SOURCE.model_dump(exclude_defaults=True) | {"version": 1} | changes
    path = folder / "mapping.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return path
