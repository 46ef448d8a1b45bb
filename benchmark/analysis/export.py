"""A study's evaluations as the JSON that marl-eval reads.

The format of Gorsane et al. (NeurIPS 2022), with every evaluation episode:

    {environment: {map: {algorithm: {run: {"step_0": {"step_count": 0, "win_rate": [1.0, 0.0, ...],
                                                      "return": [...]},
                                           ..., "absolute_metrics": {"win_rate": [...], ...}}}}}}

The format has no missing runs, and marl-eval takes the first run's evaluation steps for those of
all runs, so a table with gaps, or with runs of unequal length on one map, is refused here.
Variants, which ran on a few maps only, are left out.
"""

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis.scores import source
from benchmark.errors import BenchmarkError
from benchmark.training.config import DEFAULT

log = logging.getLogger("benchmark")

#: Column of the table -> name of the metric.
_METRICS = {"battle_won": "win_rate", "return": "return"}


def write(table: pd.DataFrame, path: Path, **selection: Any) -> None:
    """Writes the JSON; arguments and errors as of ``marl_eval``."""
    files.write(json.dumps(marl_eval(table, **selection)), path)
    if left_out := sorted(set(table["variant"]) - {DEFAULT}):
        log.info("left out the variants %s", ", ".join(left_out))


def marl_eval(
    table: pd.DataFrame,
    *,
    maps: list[str] | None = None,
    algorithms: list[str] | None = None,
    seeds: list[int] | None = None,
    evaluations: int | None = None,
) -> dict:
    """The table of evaluations as nested plain values.

    Args:
        table: rows of ``EVALUATION_SCHEMA``.
        maps, algorithms, seeds: only these runs; all when None.
        evaluations: keep this many of each run's evaluations, evenly spaced from first to last,
            where budgets differ between maps; all when None.

    Raises:
        BenchmarkError: a run is missing, a run lacks evaluations, runs on one map end at different
            steps, or the table mixes backends or protocols.
    """
    backend, protocol = source(table)
    table = table[table["variant"] == DEFAULT]
    if table.empty:
        raise BenchmarkError("the table holds nothing but variants, which are left out")
    maps = _chosen(table, "map", maps)
    algorithms = _chosen(table, "algorithm", algorithms)
    seeds = _chosen(table, "seed", seeds)
    of_run = dict(list(table.groupby(["map", "algorithm", "seed"])))
    tasks: dict = {map: {name: {} for name in algorithms} for map in maps}
    counts: dict[int, str] = {}  # of evaluations -> a run with so many
    ends: dict[str, tuple[int, str]] = {}  # map -> last env step, a run that ends there
    for map, algorithm, seed in itertools.product(maps, algorithms, seeds):
        name = f"{map}/{algorithm}/{DEFAULT}/{seed}"
        if (map, algorithm, seed) not in of_run:
            raise BenchmarkError(
                f"the run {name} is missing, and marl-eval needs every method with the same seeds"
                " on every map; train it, or choose complete --maps, --algorithms and --seeds"
            )
        run = _run(of_run[map, algorithm, seed], evaluations, name)
        tasks[map][algorithm][f"seed_{seed}"] = run
        end = int(of_run[map, algorithm, seed]["step"].max())
        first_end, first = ends.setdefault(map, (end, name))
        if end != first_end:
            raise BenchmarkError(
                f"{first} ends at {first_end:,} env steps but {name} at {end:,}, and marl-eval"
                " would show them as equally long; choose methods of equal budget with"
                f" --algorithms, or leave {map} out with --maps"
            )
        counts.setdefault(len(run) - 1, name)
    if len(counts) > 1:
        (most, longer), (least, shorter) = max(counts.items()), min(counts.items())
        raise BenchmarkError(
            f"{longer} has {most} evaluations but {shorter} {least}, and marl-eval needs equal"
            f" numbers; thin them out with --evaluations {least}"
        )
    return {f"{backend}_{protocol}": tasks}


def _chosen(table: pd.DataFrame, column: str, wanted: list | None) -> list:
    """The values of a column that are exported, sorted."""
    there = sorted(table[column].unique())
    for value in wanted or []:
        if value not in there:
            raise BenchmarkError(
                f"the table has no {column} {value!r}; it has {', '.join(map(str, there))}"
            )
    return there if wanted is None else sorted(set(wanted))


def _run(rows: pd.DataFrame, evaluations: int | None, name: str) -> dict:
    """The evaluations of one run, and its absolute metrics."""
    training = dict(list(rows[rows["phase"] == "training"].groupby("step")))
    absolute = rows[rows["phase"] == "absolute"]
    steps = sorted(training)
    if absolute.empty:
        raise BenchmarkError(
            f"{name} has no absolute evaluation, which marl-eval needs; train with"
            " absolute_episodes above 0"
        )
    if evaluations is not None:
        if not 2 <= evaluations <= len(steps):
            raise BenchmarkError(
                f"--evaluations {evaluations}: {name} has {len(steps)}, choose 2 to {len(steps)}"
            )
        kept = np.linspace(0, len(steps) - 1, evaluations).round().astype(int)
        steps = [steps[index] for index in kept]
    points = {
        f"step_{index}": {"step_count": int(step), **_values(training[step])}
        for index, step in enumerate(steps)
    }
    return points | {"absolute_metrics": _values(absolute)}


def _values(rows: pd.DataFrame) -> dict[str, list[float]]:
    """The metrics of each episode of an evaluation."""
    ordered = rows.sort_values("episode")
    return {name: ordered[column].astype(float).tolist() for column, name in _METRICS.items()}
