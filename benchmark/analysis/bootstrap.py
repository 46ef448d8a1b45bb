"""Aggregate metrics and their stratified bootstrap intervals, vectorised.

The metrics are rliable's (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice"). rliable takes a rectangle of scores (runs x maps); here every map has its
own number of runs. Each map weighs the same, and a run shares its map's weight with the other runs
of that map; with equally many runs everywhere the results are rliable's.

A replication redraws, on each map, as many runs as the map has, with replacement. What is drawn are
*runs*, from a random stream named after method and map, so that every statistic of every metric,
phase and step sees the same redrawn runs, and an interval depends neither on the order of rows nor
on which other methods or maps are in the table.

Shapes: ``R`` replications, ``N`` runs of all maps together, ``M`` maps.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

REPLICATIONS = 50_000
INTERVAL = (2.5, 97.5)  #: percentiles: a 95 % interval
_TRIM = 0.25  #: of the runs, at each end, that the interquartile mean leaves out
_TARGET = 1.0  #: the win rate that the optimality gap measures the distance to


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


class Strata:
    """Runs grouped by map: the first ``sizes[0]`` scores belong to the first map, and so on.

    A metric takes ``scores`` [N] and ``mass`` [..., N], the share of each run (rows sum to 1), and
    gives [...]: ``weights`` as mass gives the point estimate, ``mass`` of counts its replications.
    """

    def __init__(self, sizes: list[int]):
        self.sizes = np.asarray(sizes)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.weights = np.repeat(1 / (len(sizes) * self.sizes), self.sizes)  # [N]

    @property
    def has_interval(self) -> bool:
        """Whether runs can vary on every map; a map with a single run would look free of chance."""
        return bool((self.sizes >= 2).all())

    def mass(self, counts: list[np.ndarray]) -> np.ndarray:
        """Shares [R, N] of the redrawn runs, from one [R, n] array of counts per map."""
        return np.concatenate(counts, axis=1) * self.weights

    def mean(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Mean over maps of the map's mean."""
        return mass @ scores

    def median(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Median over maps of the map's mean."""
        per_map = np.add.reduceat(mass * scores, self.starts, axis=-1) * len(self.sizes)
        return np.median(per_map, axis=-1)

    def optimality_gap(self, scores: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """How far runs stay below a win rate of 1 on average."""
        return _TARGET - mass @ np.minimum(scores, _TARGET)

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
    x: list[np.ndarray],
    y: list[np.ndarray],
    counts_x: list[np.ndarray],
    counts_y: list[np.ndarray],
) -> tuple[float, np.ndarray]:
    """Probability that a run of X beats a run of Y on the same map, averaged over maps.

    A draw counts half (Mann and Whitney's U statistic, as in rliable).

    Args:
        x: scores of X, one array [n_x] per map.
        y: scores of Y on the same maps, [n_y] each.
        counts_x: the draws of X's runs, [R, n_x] per map.
        counts_y: the draws of Y's runs, [R, n_y] per map.

    Returns:
        The probability and its replications [R].
    """
    values, samples = [], []
    for ours, theirs, drawn_x, drawn_y in zip(x, y, counts_x, counts_y, strict=True):
        beats = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)  # [n_x, n_y]
        values.append(beats.mean())
        samples.append(np.einsum("ry,ry->r", drawn_x @ beats, drawn_y) / beats.size)
    return float(np.mean(values)), np.mean(samples, axis=0)


def interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of replications [R, ...]: its lower and its upper bounds [...]."""
    low, high = np.percentile(samples, INTERVAL, axis=0)
    return low, high
