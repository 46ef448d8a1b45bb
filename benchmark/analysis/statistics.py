"""Every number that tables, figures and report show, as tidy CSV files.

Definitions are rliable's, intervals are 95 % percentile intervals of a bootstrap over runs that is
stratified by map (see ``bootstrap``); scores of runs are defined in ``scores``. Win rates are in
[0, 1] already and are not normalised. What is missing is stated in columns of its own:

* ``n`` runs stand behind a value, ``n_missing`` expected runs do not (``missing_seeds``);
* an interval needs at least two runs on every map it rests on, otherwise its bounds are empty;
* aggregates compare methods on the maps on which each of them has a run; the other maps are named
  in ``maps_left_out``;
* a curve at a step uses the runs that reached that step, and an aggregated curve ends where a map
  of the suite has no run left.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis import labels
from benchmark.analysis.bootstrap import REPLICATIONS, Bootstrap, Strata, improvement, interval
from benchmark.analysis.scores import METRICS, Method, Scores, evaluations_to_points, source
from benchmark.errors import BenchmarkError
from benchmark.training.evaluations import read_evaluations

BAND_REPLICATIONS = 2_000  #: at most, of the bands of curves and profiles; rliable's default
THRESHOLDS = np.linspace(0, 1, 101)  #: win rates at which performance profiles are evaluated

_SOURCE = ["backend", "protocol"]
_METHOD = ["algorithm", "variant"]
_SUITE = ["suite", "phase", "n_maps", "maps_left_out"]
_BOUNDS = ["low", "high"]
_ESTIMATE = ["value", *_BOUNDS]
_MISSING = ["n", "n_missing", "missing_seeds"]
_CELL = ["map", "family", *_METHOD]
_STEPS = ["step", "n", *_ESTIMATE]

#: Columns of each file. ``budget`` is the last point of the evaluation grid.
COLUMNS = {
    "final": [*_SOURCE, *_CELL, "phase", "metric", "budget", *_MISSING, "mean", "sd", *_BOUNDS],
    "aggregate": [*_SOURCE, *_SUITE, *_METHOD, "metric", "n", "n_missing", *_ESTIMATE],
    "profiles": [*_SOURCE, *_SUITE, *_METHOD, "n", "threshold", *_ESTIMATE],
    "improvement": [*_SOURCE, *_SUITE, "algorithm_x", "algorithm_y", "variant", *_ESTIMATE],
    "curves": [*_SOURCE, *_CELL, "metric", *_STEPS],
    "efficiency": [*_SOURCE, *_SUITE, *_METHOD, *_STEPS],
}


def outputs() -> list[str]:
    """Names of the files in the statistics folder of any study."""
    return [f"{name}.csv" for name in COLUMNS]


def compute(
    evaluations: pd.DataFrame, seed: int = 0, replications: int = REPLICATIONS
) -> dict[str, pd.DataFrame]:
    """Computes all statistics of one study.

    Args:
        evaluations: rows of ``EVALUATION_SCHEMA``, in any order.
        seed: of the bootstrap; the same seed and table give the same numbers.
        replications: of the bootstrap; curves and profiles use at most ``BAND_REPLICATIONS``.

    Returns:
        One table per name in ``COLUMNS``, with those columns.

    Raises:
        BenchmarkError: the table is empty, damaged, or mixes backends or protocols.
    """
    backend, protocol = source(evaluations)
    scores = Scores(evaluations_to_points(evaluations))
    bootstrap = Bootstrap(seed, replications)
    bands = Bootstrap(seed, min(replications, BAND_REPLICATIONS))
    rows = {
        "final": _final(scores, bootstrap),
        "aggregate": _aggregate(scores, bootstrap),
        "profiles": _profiles(scores, bands),
        "improvement": _improvement(scores, bootstrap),
        "curves": _curves(scores, bands),
        "efficiency": _efficiency(scores, bands),
    }
    return {
        name: pd.DataFrame(values, columns=COLUMNS[name]).assign(backend=backend, protocol=protocol)
        for name, values in rows.items()
    }


class _Runs:
    """The runs of one method on some maps, with their draws by the bootstrap."""

    def __init__(self, sizes: dict[str, int], method: Method, bootstrap: Bootstrap):
        """Args: sizes: map -> number of runs, at least 1; scores stand in this order."""
        self.strata = Strata(list(sizes.values()))
        counts = [bootstrap.counts(n, map, *method) for map, n in sizes.items()]
        self.mass = self.strata.mass(counts)

    def estimate(self, metric: str, scores: np.ndarray) -> list[tuple[float, float, float]]:
        """Value, low and high of an aggregate metric, for each column of ``scores`` [N, K]."""
        function = getattr(self.strata, metric)
        values = [float(function(column, self.strata.weights)) for column in scores.T]
        if not self.strata.has_interval:
            return [(value, np.nan, np.nan) for value in values]
        low, high = interval(np.stack([function(column, self.mass) for column in scores.T], 1))
        return list(zip(values, low.tolist(), high.tolist(), strict=True))


_NOTHING = dict.fromkeys(_ESTIMATE, np.nan)


def _named(estimate: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(_ESTIMATE, estimate, strict=True))


def _method(method: Method) -> dict[str, str]:
    return dict(zip(_METHOD, method, strict=True))


def _final(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per phase, method, map and metric: the mean over runs."""
    for phase, method in itertools.product(scores.phases(), scores.methods):
        for map in scores.maps_of(method):
            missing = scores.missing(phase, map, method)
            table = scores.final(phase, map, method)
            n = len(table)
            estimates = [(np.nan, np.nan, np.nan)] * len(METRICS)
            if n:
                estimates = _Runs({map: n}, method, bootstrap).estimate("mean", table.to_numpy())
            for metric, (mean, low, high) in zip(METRICS, estimates, strict=True):
                yield {
                    "map": map,
                    "family": labels.family(map),
                    **_method(method),
                    "phase": phase,
                    "metric": metric,
                    "budget": scores.budgets[map, method.variant],
                    "n": n,
                    "n_missing": len(missing),
                    "missing_seeds": " ".join(str(seed) for seed in missing),
                    "mean": mean,
                    "sd": table[metric].std(ddof=1) if n > 1 else np.nan,
                    "low": low,
                    "high": high,
                }


def _suites(scores: Scores, phases: list[str]) -> Iterator[tuple[dict, list[str]]]:
    """Yields the columns that say what is aggregated and what is left out, and the maps.

    Only of the main methods: an ablation that ran on one map has no place in an aggregate.
    """
    for phase in phases:
        for suite, members in labels.suites(scores.main_maps).items():
            common = scores.common_maps(phase, members)
            left_out = " ".join(map for map in members if map not in common)
            yield dict(zip(_SUITE, (suite, phase, len(common), left_out), strict=True)), common


def _win_rates(scores: Scores, phase: str, maps: list[str], method: Method) -> list[np.ndarray]:
    """Scores of one method: [n] per map."""
    return [scores.final(phase, map, method)["win_rate"].to_numpy() for map in maps]


def _sizes(maps: list[str], win_rates: list[np.ndarray]) -> dict[str, int]:
    return {map: len(values) for map, values in zip(maps, win_rates, strict=True)}


def _aggregate(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per phase, suite and main method: the four aggregate metrics of the win rate.

    A suite without any common map has rows too, without values: they say which maps are left out.
    """
    for stated, maps in _suites(scores, scores.phases()):
        phase = stated["phase"]
        for method in scores.main_methods:
            win_rates = _win_rates(scores, phase, maps, method)
            about = {
                **stated,
                **_method(method),
                "n": sum(len(values) for values in win_rates),
                "n_missing": sum(len(scores.missing(phase, map, method)) for map in maps),
            }
            runs = _Runs(_sizes(maps, win_rates), method, bootstrap) if maps else None
            for metric in labels.AGGREGATES:
                found = _NOTHING
                if runs:
                    found = _named(runs.estimate(metric, np.concatenate(win_rates)[:, None])[0])
                yield {**about, "metric": metric, **found}


def _profiles(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per suite and main method: the share of runs whose final win rate exceeds a threshold."""
    for stated, maps in _suites(scores, ["training"]):
        for method in scores.main_methods if maps else []:
            win_rates = _win_rates(scores, "training", maps, method)
            above = np.concatenate(win_rates)[:, None] > THRESHOLDS  # [N, K]
            runs = _Runs(_sizes(maps, win_rates), method, bootstrap)
            estimates = runs.estimate("mean", above.astype(float))
            for threshold, found in zip(THRESHOLDS, estimates, strict=True):
                about = {**stated, **_method(method), "n": len(above)}
                yield {**about, "threshold": threshold, **_named(found)}


def _improvement(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per phase, suite and ordered pair of main methods: the probability that X beats Y."""
    for stated, maps in _suites(scores, scores.phases()):
        if not maps:
            continue
        runs, counts = {}, {}
        for method in scores.main_methods:
            runs[method] = _win_rates(scores, stated["phase"], maps, method)
            sizes = _sizes(maps, runs[method])
            counts[method] = [bootstrap.counts(n, map, *method) for map, n in sizes.items()]
        for x, y in itertools.permutations(scores.main_methods, 2):
            value, samples = improvement(runs[x], runs[y], counts[x], counts[y])
            low, high = interval(samples)
            if any(len(values) < 2 for values in (*runs[x], *runs[y])):
                low, high = np.nan, np.nan
            pair = {"algorithm_x": x.algorithm, "algorithm_y": y.algorithm, "variant": x.variant}
            yield {**stated, **pair, **_named((value, float(low), float(high)))}


def _curves(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per method, map and metric: the mean over runs at each point of the evaluation grid."""
    for method, metric in itertools.product(scores.methods, METRICS):
        for map in scores.maps_of(method):
            about = {"map": map, "family": labels.family(map), **_method(method), "metric": metric}
            curve = scores.curve(map, method, metric)
            for point in _along({map: curve}, "mean", method, bootstrap):
                yield {**about, **point}


def _efficiency(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per suite and main method: the IQM over runs and maps at each step that all maps reach."""
    for stated, maps in _suites(scores, ["training"]):
        for method in scores.main_methods if maps else []:
            curves = {map: scores.curve(map, method, "win_rate") for map in maps}
            for point in _along(curves, "iqm", method, bootstrap):
                yield {**stated, **_method(method), **point}


def _along(
    curves: dict[str, pd.DataFrame], metric: str, method: Method, bootstrap: Bootstrap
) -> Iterator[dict]:
    """Estimates a metric at each step at which every map has a run, in ascending order.

    Args:
        curves: map -> scores, rows are seeds, columns are steps, NaN where a run did not get.
    """
    steps = sorted(set.intersection(*(set(curve.columns) for curve in curves.values())))
    if not steps:
        return
    scores = np.concatenate([curve[steps].to_numpy() for curve in curves.values()])  # [N, K]
    stratum = np.repeat(list(curves), [len(curve) for curve in curves.values()])  # [N]
    patterns, of_step = np.unique(~np.isnan(scores), axis=1, return_inverse=True)
    found = {}
    for index, reached in enumerate(patterns.T):  # who got there changes only where a run stops
        columns = np.flatnonzero(of_step == index)
        sizes = {map: int(reached[stratum == map].sum()) for map in curves}
        estimates = _Runs(sizes, method, bootstrap).estimate(metric, scores[reached][:, columns])
        found |= {
            column: {"n": int(reached.sum()), **_named(estimate)}
            for column, estimate in zip(columns, estimates, strict=True)
        }
    for column, step in enumerate(steps):
        yield {"step": step, **found[column]}


def write(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Writes each table as CSV; six decimals, so that the bytes do not depend on the machine."""
    for name, table in tables.items():
        with files.atomic(Path(folder) / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Reads the statistics of a study, for tables and figures.

    Raises:
        BenchmarkError: a file is missing or is not what this version writes.
    """
    tables = {}
    for name, columns in COLUMNS.items():
        path = Path(folder) / f"{name}.csv"
        text = [name for name in ("variant", "maps_left_out", "missing_seeds") if name in columns]
        try:  # nothing but an empty field is missing: a variant may be called null or 10
            table = pd.read_csv(
                path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""]
            )
        except (OSError, ValueError) as error:
            raise BenchmarkError(
                f"cannot read {path}: {error}; make it with python -m benchmark statistics"
            ) from error
        if list(table.columns) != columns:
            raise BenchmarkError(
                f"{path} does not have the columns of this version; delete it and run"
                " python -m benchmark statistics again"
            )
        tables[name] = table.fillna(dict.fromkeys(text, ""))
    return tables


def source_of(final: pd.DataFrame) -> str:
    """Where final scores come from, in the words that stand on every table and figure.

    Raises:
        BenchmarkError: there are none.
    """
    if final.empty:
        raise BenchmarkError(
            "no run of the default variant has a final score: there is nothing to show or compare;"
            " train one to its budget and aggregate again"
        )
    return labels.source(*final[["backend", "protocol"]].iloc[0])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("evaluations", type=Path, help="a study's aggregated evaluations.parquet")
    parser.add_argument("--output", type=Path, help="folder; statistics beside it when left out")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument(
        "--replications",
        type=int,
        default=REPLICATIONS,
        help=f"of the bootstrap (default {REPLICATIONS})",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.replications < 1 or arguments.seed < 0:
        raise BenchmarkError("--replications must be at least 1 and --seed at least 0")
    output = arguments.output or arguments.evaluations.parent / "statistics"
    evaluations = read_evaluations(arguments.evaluations)
    write(compute(evaluations, arguments.seed, arguments.replications), output)
    print(output)
