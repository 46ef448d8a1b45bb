"""From the table of evaluations to one score per run, of which every statistic is computed.

* The *final* score of a run is its evaluation (32 greedy episodes) at the map's end: the last point
  of the evaluation grid, or where methods were trained for different numbers of env steps, the last
  point that all of them have. A run that stopped before has no final score: it counts as missing;
  an earlier evaluation never replaces it.
* The *absolute* score is the evaluation of the run's best policy (320 episodes), at its end. A run
  that went on beyond the map's end has none: its best policy may come from there.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analysis import labels
from benchmark.errors import BenchmarkError
from benchmark.training.config import DEFAULT

METRICS = list(labels.METRICS)
_EVALUATION = ["map", "algorithm", "variant", "seed", "phase", "step"]


class Method(NamedTuple):
    """What is compared: an algorithm and its variant."""

    algorithm: str
    variant: str

    def __str__(self) -> str:
        return self.algorithm if self.variant == DEFAULT else "/".join(self)


def source(table: pd.DataFrame) -> tuple[str, str]:
    """The one backend and the one protocol of a table.

    Raises:
        BenchmarkError: the table is empty, or holds several backends or protocols.
    """
    if table.empty:
        raise BenchmarkError(
            "the table of evaluations is empty; train at least one run and aggregate again"
        )
    for column in ("backend", "protocol"):
        values = sorted(table[column].unique())
        if len(values) > 1:
            raise BenchmarkError(
                f"the table mixes the {column}s {' and '.join(values)}, which are never averaged or"
                " ranked together; aggregate each into its own study folder"
            )
    return table["backend"].iloc[0], table["protocol"].iloc[0]


def evaluations_to_points(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Averages the episodes of each evaluation.

    Args:
        evaluations: rows of ``EVALUATION_SCHEMA``.

    Returns:
        One row per run, phase and step: map, algorithm, variant, seed, phase, step, episodes,
        win_rate (share of episodes won) and return (mean), sorted.

    Raises:
        BenchmarkError: several backends or protocols, an empty table, an evaluation with repeated
            or lost episodes or with a return that is no number, or an unknown map.
    """
    source(evaluations)
    grouped = evaluations.groupby(_EVALUATION, observed=True, sort=True)
    points = grouped.agg(
        episodes=("episode", "size"),
        different=("episode", "nunique"),
        first=("episode", "min"),
        last=("episode", "max"),
        win_rate=("battle_won", "mean"),
        **{"return": ("return", "mean")},
    ).reset_index()
    whole = points["last"] - points["first"] + 1
    wrong = {
        "repeated or lost episodes": (points["episodes"] != whole) | (points["different"] != whole),
        "a return that is no number": ~np.isfinite(points["return"]),
    }
    for what, rows in wrong.items():
        if rows.any():
            row = points[rows].iloc[0]
            raise BenchmarkError(
                f"{row['map']}/{row['algorithm']}/{row['variant']}/{row['seed']} has {what} at step"
                f" {row['step']}; delete its folder, run the study, aggregate again"
            )
    for map in points["map"].unique():
        labels.family(map)
    return points.drop(columns=["different", "first", "last"])


class Scores:
    """Scores of the runs of one study, by map and method; missing runs stay visible.

    Methods of the ``default`` variant (the main methods) are compared on all maps, other variants
    on the maps where they were run.
    """

    def __init__(self, points: pd.DataFrame):
        """Scores of runs.

        Args:
            points: what ``evaluations_to_points`` returns.

        Raises:
            BenchmarkError: the methods of a map were never evaluated at the same step of training.
        """
        training = points[points["phase"] == "training"]
        pairs = points[["algorithm", "variant"]].drop_duplicates().itertuples(index=False)
        self.methods = sorted(
            (Method(*pair) for pair in pairs),
            key=lambda m: (m.variant != DEFAULT, labels.order(m.algorithm), m.variant),
        )
        self.maps = sorted(points["map"].unique(), key=labels.map_order)
        #: variant -> the seeds that any of its runs has: what all of its methods should have
        self.seeds = points.groupby("variant")["seed"].unique().map(sorted).to_dict()
        self._curves = dict(list(training.groupby(["map", "algorithm", "variant"])))
        #: map -> the last step at which every main method with runs there was evaluated
        self.ends: dict[str, int] = {}
        for map, rows in training[training["variant"] == DEFAULT].groupby("map"):
            steps = [set(of_method) for _, of_method in rows.groupby("algorithm")["step"]]
            self.ends[map] = int(max(set.intersection(*steps), default=0))
            if not self.ends[map] and all(max(of_method) > 0 for of_method in steps):
                raise BenchmarkError(
                    f"{map}: its methods share no evaluation but that before training; train them"
                    " with the same evaluation_interval"
                )
        self._final = self._final_scores(points)

    def _final_scores(self, points: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
        run = ["map", "algorithm", "variant", "seed"]
        training = points[points["phase"] == "training"]
        ends = {(map, *pair): self.end(map, Method(*pair)) for map, *pair in self._curves}
        last = training.groupby(run)["step"].transform("max")
        cells = training[run[:3]].itertuples(index=False, name=None)
        end = np.array([ends[cell] for cell in cells])
        final = training[training["step"] == end]
        ended = training[(training["step"] == end) & (last == end)]
        absolute = points[points["phase"] == "absolute"].merge(ended[run], on=run)
        groups = pd.concat([final, absolute]).groupby(["phase", *run[:3]])
        return {key: rows.set_index("seed")[METRICS].sort_index() for key, rows in groups}

    def end(self, map: str, method: Method) -> int:
        """The env step of a method's final scores on a map; that of a variant is its own last."""
        if method.variant == DEFAULT:
            return self.ends[map]
        return self.trained(map, method)

    def trained(self, map: str, method: Method) -> int:
        """The env steps of a method's longest run on a map; 0 without any."""
        rows = self._curves.get((map, *method))
        return 0 if rows is None else int(rows["step"].max())

    @property
    def main_methods(self) -> list[Method]:
        """The methods that aggregate statistics compare."""
        return [method for method in self.methods if method.variant == DEFAULT]

    @property
    def main_maps(self) -> list[str]:
        """The maps on which they are compared."""
        return [map for map in self.maps if map in self.ends]

    def maps_of(self, method: Method) -> list[str]:
        """The maps on which a method is expected to have runs."""
        if method.variant == DEFAULT:
            return self.main_maps
        return [map for map in self.maps if (map, *method) in self._curves]

    def phases(self) -> list[str]:
        """The phases that have scores: training, and absolute if it was evaluated."""
        present = {phase for phase, *_ in self._final}
        return [phase for phase in labels.PHASES if phase in present]

    def final(self, phase: str, map: str, method: Method) -> pd.DataFrame:
        """Scores of one method's runs on one map: rows are seeds, columns metrics."""
        scores = self._final.get((phase, map, *method))
        return pd.DataFrame(columns=METRICS, dtype=float) if scores is None else scores

    def missing(self, phase: str, map: str, method: Method) -> list[int]:
        """Expected seeds without a score."""
        present = set(self.final(phase, map, method).index)
        return [int(seed) for seed in self.seeds[method.variant] if seed not in present]

    def common_maps(self, phase: str, maps: list[str]) -> list[str]:
        """Those of ``maps`` on which every main method has a score.

        Methods are only comparable on the same maps, so aggregates leave the other maps out.
        """
        return [
            map
            for map in maps
            if all(len(self.final(phase, map, method)) for method in self.main_methods)
        ]

    def curve(self, map: str, method: Method, metric: str) -> pd.DataFrame:
        """Training scores of one method on one map: rows are seeds, columns steps, NaN if none."""
        rows = self._curves.get((map, *method))
        if rows is None:
            return pd.DataFrame()
        return rows.pivot(index="seed", columns="step", values=metric)  # noqa: PD010, no averaging
