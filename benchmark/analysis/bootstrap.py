"""Aggregate metrics and their stratified bootstrap intervals, vectorised.

The metrics are rliable's (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice"). rliable takes a matrix of scores (runs x maps) and computes the values here
wherever there is one; maps with unequal numbers of runs have none. Then each map weighs the same,
and a run has an equal share of its map's weight; with equal numbers the formulas agree. Intervals
are always computed here: rliable draws one replication at a time.

A replication resamples, on each map, as many runs as the map has, with replacement. What is drawn
are *runs*, from a random stream named after method and map. So every statistic of every metric,
phase and step uses the same resampled runs, and an interval depends neither on the order of rows
nor on which other methods or maps are in the table.

Shapes: ``R`` replications, ``N`` runs of all maps together, ``n`` runs of one map.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

REPLICATIONS = 50_000
INTERVAL = (2.5, 97.5)  #: percentiles: a 95 % interval
#: (runs, maps) -> in how many of 100 simulations the interval of a mean win rate holds the mean
COVERAGE = {(2, 1): 51, (3, 1): 75, (5, 1): 84, (5, 6): 90}
NARROW = (
    "Bootstrap intervals of few runs are too narrow: in simulations 95 % intervals of a mean win"
    f" rate hold the true mean in {COVERAGE[2, 1]} % of cases with 2 runs on one map, in"
    f" {COVERAGE[3, 1]} % with 3, in {COVERAGE[5, 1]} % with 5, and in {COVERAGE[5, 6]} % with 5 on"
    " each of six maps."
)
_TRIM = 0.25  #: share of the runs, at each end, that the interquartile mean leaves out


class Estimate(NamedTuple):
    """A value and the bounds of its interval; NaN where there is none."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan


@dataclass(frozen=True)
class Bootstrap:
    """Where the draws come from."""

    seed: int = 0
    replications: int = REPLICATIONS

    def counts(self, n: int, *names: str) -> np.ndarray:
        """How often each of ``n`` runs is drawn: [R, n], every row sums to ``n``.

        Args:
            names: name the stream, e.g. map, algorithm and variant.
        """
        return _draw(self.seed, self.replications, n, names)


@lru_cache(maxsize=256)  # one entry per map and method, used by every statistic
def _draw(seed: int, replications: int, n: int, names: tuple[str, ...]) -> np.ndarray:
    stream = np.random.default_rng([seed, zlib.crc32("\0".join(names).encode())])
    counts = stream.multinomial(n, np.full(n, 1 / n), size=replications)
    return counts.astype(np.min_scalar_type(n))


class Sample:
    """The runs of one method on some maps: first all of the first map, and so on.

    A metric is a function of ``scores`` [N] and ``mass`` [..., N], the share of each run (rows sum
    to 1), and gives [...]: ``weights`` as mass gives the value, ``mass`` its replications.
    """

    def __init__(self, counts: list[np.ndarray]):
        """A sample of runs.

        Args:
            counts: per map, how often each run is drawn, [R, n] with n >= 1.
        """
        self.sizes = np.array([drawn.shape[1] for drawn in counts])
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.weights = np.repeat(1 / (len(counts) * self.sizes), self.sizes)  # [N]
        self.mass = np.concatenate(counts, axis=1) * self.weights  # [R, N]

    def estimate(self, metric: str, scores: np.ndarray) -> Estimate:
        """One of ``iqm``, ``mean``, ``median`` and ``optimality_gap`` of ``scores`` [N].

        Without an interval where a map has a single run: its mean would seem to have no variance.
        """
        value = float(self.value(metric, scores))
        if (self.sizes < 2).any():
            return Estimate(value)
        return Estimate(value, *map(float, interval(getattr(self, metric)(scores, self.mass))))

    def value(self, metric: str, scores: np.ndarray) -> float:
        """The metric of ``scores`` [N]: rliable's where the maps have equally many runs."""
        if (self.sizes != self.sizes[0]).any():
            return getattr(self, metric)(scores, self.weights)
        from rliable import metrics  # imports scipy.stats, which takes a second

        return getattr(metrics, f"aggregate_{metric}")(scores.reshape(len(self.sizes), -1).T)

    def mean(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Mean over maps of the map's mean."""
        return mass @ scores

    def median(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Median over maps of the map's mean."""
        per_map = np.add.reduceat(mass * scores, self.starts, axis=-1) * len(self.sizes)
        return np.median(per_map, axis=-1)

    def optimality_gap(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """How far runs stay below a score of 1 on average."""
        return 1 - mass @ np.minimum(scores, 1)

    def iqm(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Interquartile mean: the mean of all runs without the lowest and the highest quarter.

        As in rliable, the quarter is rounded down to whole runs. It is then cut off as mass: with
        equally many runs per map those runs go, otherwise a run may be cut in part.
        """
        cut = int(_TRIM * len(scores)) / len(scores)
        ascending = np.argsort(scores, kind="stable")
        reached = np.cumsum(mass[..., ascending], axis=-1)
        kept = np.diff(np.clip(reached, cut, 1 - cut), axis=-1, prepend=cut)
        return kept @ scores[ascending] / (1 - 2 * cut)


def improvement(
    x: list[np.ndarray], y: list[np.ndarray], counts_x: list[np.ndarray], counts_y: list[np.ndarray]
) -> Estimate:
    """Probability that a run of X beats a run of Y on the same map, averaged over maps.

    A draw counts half (Mann and Whitney's U statistic, as in rliable). Without an interval where a
    map has a single run of X or of Y.

    Args:
        x: scores of X, one array [n_x] per map.
        y: scores of Y on the same maps, [n_y] each.
        counts_x: the draws of X's runs, [R, n_x] per map.
        counts_y: the draws of Y's runs, [R, n_y] per map.
    """
    values, samples = [], []
    for ours, theirs, drawn_x, drawn_y in zip(x, y, counts_x, counts_y, strict=True):
        beats = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)  # [n_x, n_y]
        values.append(beats.mean())
        samples.append(np.einsum("ry,ry->r", drawn_x @ beats, drawn_y) / beats.size)
    value = np.mean(values)
    if len({len(scores) for scores in x}) == len({len(scores) for scores in y}) == 1:
        from rliable import metrics

        value = metrics.probability_of_improvement(np.stack(x, axis=1), np.stack(y, axis=1))
    if any(len(scores) < 2 for scores in (*x, *y)):
        return Estimate(float(value))
    return Estimate(float(value), *map(float, interval(np.mean(samples, axis=0))))


def interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of replications [R, ...]: its lower and its upper bounds [...]."""
    low, high = np.percentile(samples, INTERVAL, axis=0)
    return low, high
