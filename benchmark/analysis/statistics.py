"""Every number that tables, figures and report show, as tidy CSV files.

Definitions are rliable's, intervals are 95 % percentile intervals of a bootstrap over runs that is
stratified by map (see ``bootstrap``); scores of runs are defined in ``scores``. Win rates are in
[0, 1] and are not normalised. Columns say what is missing:

* a value is computed from ``n`` runs; of the seeds that any method has, ``n_missing`` have no run
  to the map's end (``missing_seeds``);
* an interval needs at least two runs on every map of its value, otherwise its bounds are empty;
* aggregates compare methods on the maps on which each of them has a run; ``maps_left_out`` names
  the other maps;
* ``p`` is the exact permutation test's, of one comparison alone, and ``p_smallest`` the smallest
  that so many runs can give; ``permutation`` corrects it for comparisons that are shown together;
* a curve at a step uses the runs that reached that step, and an aggregated curve ends where a map
  of the suite has no run left.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis import labels, made_from, permutation
from benchmark.analysis.bootstrap import REPLICATIONS, Bootstrap, Estimate, Sample, improvement
from benchmark.analysis.scores import METRICS, Method, Scores, evaluations_to_points, source
from benchmark.errors import BenchmarkError, first_line

BAND_REPLICATIONS = 2_000  #: at most, of the bands of curves and profiles; rliable's default
THRESHOLDS = np.linspace(0, 1, 101)  #: win rates at which performance profiles are evaluated

_SOURCE = ["backend", "protocol"]
_METHOD = Method._fields
_CELL = ["map", "family", *_METHOD]
_SUITE = ["suite", "phase", "n_maps", "maps_left_out"]
_ESTIMATE = Estimate._fields
_TEST = ["p", "p_smallest"]
_TEXT = {"variant", "maps_left_out", "missing_seeds"}  #: where an empty field is an empty text

#: Columns of each file. ``end`` is where the map's methods are judged, ``trained`` the last point
#: of the method's own evaluation grid.
COLUMNS = {
    "final": [
        *(*_SOURCE, *_CELL, "phase", "metric", "end", "trained", "n", "n_missing"),
        *("missing_seeds", "mean", "sd", "low", "high"),
    ],
    "aggregate": [*_SOURCE, *_SUITE, *_METHOD, "metric", "n", "n_missing", *_ESTIMATE],
    "profiles": [*_SOURCE, *_SUITE, *_METHOD, "n", "threshold", *_ESTIMATE],
    "improvement": [*_SOURCE, *_SUITE, "algorithm_x", "algorithm_y", "variant", *_ESTIMATE, *_TEST],
    "curves": [*_SOURCE, *_CELL, "metric", "step", "n", *_ESTIMATE],
    "efficiency": [*_SOURCE, *_SUITE, *_METHOD, "step", "n", *_ESTIMATE],
}


def outputs() -> list[str]:
    """Names of the files in the statistics folder of any study."""
    return [*(f"{name}.csv" for name in COLUMNS), made_from.NAME]


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


def _sample(sizes: dict[str, int], method: Method, bootstrap: Bootstrap) -> Sample:
    """The runs of a method: as many on each map as ``sizes`` says."""
    return Sample([bootstrap.counts(n, map, *method) for map, n in sizes.items()])


def _final(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per phase, method, map and metric: the mean over runs."""
    for phase, method in itertools.product(scores.phases(), scores.methods):
        for map in scores.maps_of(method):
            missing = scores.missing(phase, map, method)
            table = scores.final(phase, map, method)
            n = len(table)
            sample = _sample({map: n}, method, bootstrap) if n else None
            for metric in METRICS:
                mean = sample.estimate("mean", table[metric].to_numpy()) if sample else Estimate()
                yield {
                    "map": map,
                    "family": labels.family(map),
                    **method._asdict(),
                    "phase": phase,
                    "metric": metric,
                    "end": scores.end(map, method),
                    "trained": scores.trained(map, method),
                    "n": n,
                    "n_missing": len(missing),
                    "missing_seeds": " ".join(str(seed) for seed in missing),
                    "mean": mean.value,
                    "sd": table[metric].std(ddof=1) if n > 1 else np.nan,
                    "low": mean.low,
                    "high": mean.high,
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


def _win_rates(
    scores: Scores, phase: str, maps: list[str], method: Method
) -> dict[str, np.ndarray]:
    """Win rates of one method: map -> [n]."""
    return {map: scores.final(phase, map, method)["win_rate"].to_numpy() for map in maps}


def _sizes(win_rates: dict[str, np.ndarray]) -> dict[str, int]:
    return {map: len(values) for map, values in win_rates.items()}


def _aggregate(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per phase, suite and main method: the four aggregate metrics of the win rate.

    A suite without any common map has rows too, without values: they say which maps are left out.
    """
    for suite, maps in _suites(scores, scores.phases()):
        for method in scores.main_methods:
            win_rates = _win_rates(scores, suite["phase"], maps, method)
            sizes = _sizes(win_rates)
            sample = _sample(sizes, method, bootstrap) if maps else None
            about = {
                **suite,
                **method._asdict(),
                "n": sum(sizes.values()),
                "n_missing": sum(len(scores.missing(suite["phase"], m, method)) for m in maps),
            }
            for metric in labels.AGGREGATES:
                found = Estimate()
                if sample:
                    found = sample.estimate(metric, np.concatenate([*win_rates.values()]))
                yield {**about, "metric": metric, **found._asdict()}


def _profiles(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per suite and main method: the share of runs whose final win rate exceeds a threshold."""
    for suite, maps in _suites(scores, ["training"]):
        for method in scores.main_methods if maps else []:
            win_rates = _win_rates(scores, "training", maps, method)
            sample = _sample(_sizes(win_rates), method, bootstrap)
            final = np.concatenate([*win_rates.values()])
            about = {**suite, **method._asdict(), "n": len(final)}
            for threshold in THRESHOLDS:
                share = sample.estimate("mean", (final > threshold).astype(float))
                yield {**about, "threshold": threshold, **share._asdict()}


def _improvement(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per phase, suite and ordered pair of main methods: the probability that X beats Y.

    With the p-value of a test for it, since intervals of few runs are too narrow to decide.
    """
    for suite, maps in _suites(scores, scores.phases()):
        runs, counts = {}, {}
        for method in scores.main_methods if maps else []:
            win_rates = _win_rates(scores, suite["phase"], maps, method)
            runs[method] = list(win_rates.values())
            sizes = _sizes(win_rates).items()
            counts[method] = [bootstrap.counts(n, map, *method) for map, n in sizes]
        for x, y in itertools.permutations(runs, 2):
            found = improvement(runs[x], runs[y], counts[x], counts[y])
            pair = {"algorithm_x": x.algorithm, "algorithm_y": y.algorithm, "variant": x.variant}
            tested = permutation.p_value(runs[x], runs[y]), permutation.smallest(runs[x], runs[y])
            yield {**suite, **pair, **found._asdict(), **dict(zip(_TEST, tested, strict=True))}


def _curves(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per method, map and metric: the mean over runs at each point of the evaluation grid."""
    for method, metric in itertools.product(scores.methods, METRICS):
        for map in scores.maps_of(method):
            about = {"map": map, "family": labels.family(map), **method._asdict(), "metric": metric}
            curve = scores.curve(map, method, metric)
            for point in _along({map: curve}, "mean", method, bootstrap):
                yield {**about, **point}


def _efficiency(scores: Scores, bootstrap: Bootstrap) -> Iterator[dict]:
    """Per suite and main method: the IQM over runs and maps at each step that all maps reach."""
    for suite, maps in _suites(scores, ["training"]):
        for method in scores.main_methods if maps else []:
            curves = {map: scores.curve(map, method, "win_rate") for map in maps}
            for point in _along(curves, "iqm", method, bootstrap):
                yield {**suite, **method._asdict(), **point}


def _along(
    curves: dict[str, pd.DataFrame], metric: str, method: Method, bootstrap: Bootstrap
) -> Iterator[dict]:
    """Estimates a metric at each step at which every map has a run, in ascending order.

    Args:
        curves: map -> scores, rows are seeds, columns are steps, NaN after a run's last step.
    """
    steps = set.intersection(*(set(curve.columns) for curve in curves.values()))
    sizes: dict[str, int] = {}
    for step in sorted(steps):
        scores = {map: curve[step].dropna().to_numpy() for map, curve in curves.items()}
        if _sizes(scores) != sizes:  # it changes only where a run stops
            sizes = _sizes(scores)
            sample = _sample(sizes, method, bootstrap)
        found = sample.estimate(metric, np.concatenate([*scores.values()]))
        yield {"step": step, "n": sum(sizes.values()), **found._asdict()}


def write(tables: dict[str, pd.DataFrame], folder: Path, decimals: int = 6) -> None:
    """Writes each table as CSV; rounded, so that the bytes do not depend on the machine."""
    for name, table in tables.items():
        text = table.to_csv(index=False, float_format=f"%.{decimals}f", lineterminator="\n")
        files.write(text, Path(folder) / f"{name}.csv")


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Reads the statistics of a study, for tables and figures.

    Raises:
        BenchmarkError: a file is missing or is not what this version writes.
    """
    return {
        name: read_table(Path(folder) / f"{name}.csv", columns, _TEXT, "statistics STUDY")
        for name, columns in COLUMNS.items()
    }


def read_table(path: Path, columns: list[str], text: set[str], command: str) -> pd.DataFrame:
    """Reads a table that ``python -m benchmark COMMAND`` wrote.

    Args:
        text: columns in which an empty field is an empty text, and "null" or "10" a name.

    Raises:
        BenchmarkError: it is missing or is not what this version writes.
    """
    again = f"python -m benchmark {command} makes it"
    types = dict.fromkeys(text & set(columns), str)
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        raise BenchmarkError(f"there is no {path}; {again}") from error
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read {path}: {first_line(error)}; {again}") from error
    if list(table.columns) != columns:
        raise BenchmarkError(f"{path} does not have the columns of this version; {again}")
    return table.fillna(dict.fromkeys(types, ""))


def of_study(folder: Path) -> dict[str, pd.DataFrame]:
    """Reads the statistics in the folder of a study.

    Raises:
        BenchmarkError: as ``read``, or they are of another table than the study's.
    """
    results = read(folder / "statistics")
    made_from.check(folder, "statistics", "statistics")
    return results


def select(rows: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have these values in these columns."""
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows


def source_of(final: pd.DataFrame) -> str:
    """Where final scores come from, in the words of every table and figure.

    Raises:
        BenchmarkError: there are none.
    """
    if final.empty:
        raise BenchmarkError(
            "no run of the default variant has a final score: there is nothing to show or compare;"
            " train one to its budget and aggregate again"
        )
    return labels.source(*final[["backend", "protocol"]].iloc[0])
