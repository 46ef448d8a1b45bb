"""Differences of two methods and what their intervals say: Welch's per map, bootstrap per suite."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmark.analysis.bootstrap import Bootstrap, interval


class Difference(NamedTuple):
    """Left minus right; NaN where it cannot be estimated."""

    value: float
    low: float
    high: float
    p: float = np.nan  #: two-sided, corrected


def verdict(difference: Difference, margin: float, around: float = 0.0) -> str:
    """What an interval says of a difference.

    Args:
        margin: differences up to this count as none, fixed beforehand.
        around: what the difference is compared with.

    Returns:
        "equal" where the whole interval lies within the margin, "higher" or "lower" where it lies
        on one side, "inconclusive" otherwise, "no valid data" where there is no interval.
    """
    if np.isnan(difference.low):
        return "no valid data"
    low, high = difference.low - around, difference.high - around
    if -margin <= low and high <= margin:
        return "equal"
    if low > 0:
        return "higher"
    if high < 0:
        return "lower"
    return "inconclusive"


class Moments(NamedTuple):
    """What Welch's test needs of some scores."""

    n: int
    mean: float
    sd: float

    @classmethod
    def of(cls, scores: np.ndarray) -> "Moments":
        """Of scores [n]; fewer than two have no standard deviation."""
        n = len(scores)
        sd = float(np.std(scores, ddof=1)) if n > 1 else np.nan
        return cls(n, mean(scores), sd)


def welch(pairs: Sequence[tuple[Moments, Moments]], alpha: float = 0.05) -> list[Difference]:
    """Differences of means within one family of comparisons.

    Welch's t for each pair; Holm's correction over the pairs: the smallest p is compared with
    alpha / m, the next one against alpha / (m - 1), and so on until one fails. The interval of a
    pair has the level of its step (of the first failing one from there on), so that it leaves out
    zero exactly where Holm rejects. The rate alpha holds for these decisions together (which of two
    means is higher); the intervals do not cover all differences together.

    Args:
        pairs: left and right; a side with fewer than two scores has no interval.
    """
    tests = [_welch_test(left, right) for left, right in pairs]
    order = sorted(
        (index for index, test in enumerate(tests) if test is not None),
        key=lambda index: tests[index].p,
    )
    found = [Difference(x.mean - y.mean, np.nan, np.nan) for x, y in pairs]
    corrected, failed, level = 0.0, False, alpha
    for rank, index in enumerate(order):
        remaining = len(order) - rank
        if not failed:
            level = alpha / remaining
        failed = failed or tests[index].p > level
        corrected = max(corrected, min(1.0, tests[index].p * remaining))
        value, reach = found[index].value, tests[index].reach(level)
        found[index] = Difference(value, value - reach, value + reach, corrected)
    return found


class _Test(NamedTuple):
    error: float  #: standard error of the difference
    freedom: float  #: degrees of freedom
    p: float  #: two-sided

    def reach(self, level: float) -> float:
        """Half the width of the interval of that error rate."""
        return float(stats.t.ppf(1 - level / 2, self.freedom) * self.error) if self.error else 0.0


def _welch_test(left: Moments, right: Moments) -> _Test | None:
    if left.n < 2 or right.n < 2:
        return None
    parts = [side.sd**2 / side.n for side in (left, right)]
    error = float(np.sqrt(sum(parts)))
    gap = abs(left.mean - right.mean)
    if not error:  # no run differs from another one: there is nothing to estimate
        return _Test(0.0, np.inf, float(gap == 0))
    squares = [part**2 / (side.n - 1) for part, side in zip(parts, (left, right), strict=True)]
    freedom = error**4 / sum(squares)
    return _Test(error, freedom, float(2 * stats.t.sf(gap / error, freedom)))


def mean(scores: np.ndarray) -> float:
    """Mean of scores [n], NaN without any."""
    return float(np.mean(scores)) if len(scores) else np.nan


class Sample(NamedTuple):
    """Scores of one method on one map, and the names of its stream of draws."""

    scores: np.ndarray  #: [n]
    names: tuple[str, ...]

    def means(self, bootstrap: Bootstrap) -> np.ndarray:
        """Means of redrawn runs, [R]."""
        n = len(self.scores)
        return bootstrap.counts(n, *self.names) @ self.scores / n


def suite(pairs: Sequence[tuple[Sample, Sample]], bootstrap: Bootstrap) -> Difference:
    """Difference of the means over maps, with a bootstrap over runs stratified by map.

    Args:
        pairs: left and right on each map, at least two runs each.
    """
    if not pairs:
        return Difference(np.nan, np.nan, np.nan)
    value = np.mean([mean(left.scores) - mean(right.scores) for left, right in pairs])
    samples = np.mean([x.means(bootstrap) - y.means(bootstrap) for x, y in pairs], axis=0)
    low, high = interval(samples)
    return Difference(float(value), float(low), float(high))


def largest_gain(
    maps: Sequence[tuple[Sample, Sequence[Sample]]], bootstrap: Bootstrap
) -> tuple[Difference, int | None]:
    """The largest lead, over maps, of one method over the best of the others.

    The largest of several noisy leads is too large on average, and the best of the others too good;
    the bootstrap redraws both choices.

    Args:
        maps: the method and the others on each map, at least two runs each.

    Returns:
        The lead, and on which of the maps it is.
    """
    if not maps:
        return Difference(np.nan, np.nan, np.nan), None
    leads = [mean(one.scores) - max(mean(other.scores) for other in others) for one, others in maps]
    samples = [
        one.means(bootstrap) - np.max([other.means(bootstrap) for other in others], axis=0)
        for one, others in maps
    ]
    low, high = interval(np.max(samples, axis=0))
    best = int(np.argmax(leads))
    return Difference(leads[best], float(low), float(high)), best
