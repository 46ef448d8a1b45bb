"""One score per run, also where the runs of a group cannot be told apart.

A *score* is a run's mean over the evaluations of a window of env steps, by default the last 100 000
before the end of the published curve: a single evaluation of 32 episodes is too noisy.

Of a wandb group the mean, minimum and maximum per step are known. Runs end their evaluations at
different steps, so nearly every row is one run's value; where several runs meet, two or three of
them follow from mean, minimum and maximum. What is lost is which value belongs to which run at the
next evaluation. Scores are therefore made by rank: the best of each evaluation together, the second
best together, and so on. Their mean is right whatever the true order, and their spread is the
*widest* that any order could give (rearrangement inequality).

For win rates that bound is needlessly wide, because it takes the luck of an evaluation for a
difference between runs. A win rate p of n episodes varies by p (1 - p) / n. So the spread is
*estimated* as all variance beyond the luck of one evaluation, plus the luck that is left in the
mean of the window, and the scores are drawn together to it. ``recovery.csv`` compares both with
the truth on the methods whose runs are known.

Differences of two methods have Welch's interval per map, and a bootstrap's over maps.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmark.analysis.bootstrap import Bootstrap, interval
from benchmark.published.release import Curve

WINDOW = 100_000  #: env steps
CONFIDENCE = 0.95

_SHARE = 0.5  #: of the window's evaluations that a run needs


class Measurement(NamedTuple):
    """How a source evaluates, and how its scores are made."""

    interval: int  #: env steps between evaluations
    episodes: int | None  #: per evaluation; None where it is not known
    window: int = WINDOW
    widest: bool = False  #: take the bound for the spread of groups, not the estimate


class Scores(NamedTuple):
    """Scores of the runs of one method on one map."""

    value: np.ndarray  #: [n]
    names: list[str]  #: which run; "rank 1" and so on where it is not known


class Estimate(NamedTuple):
    """A mean over runs with its Student interval; NaN where it has none."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


def estimate(values: np.ndarray, metric: str) -> Estimate:
    """Mean, standard deviation and Student interval of scores [n]; win rates stay in [0, 1]."""
    n = len(values)
    mean = float(np.mean(values)) if n else np.nan
    if n < 2:
        return Estimate(n, mean, np.nan, np.nan, np.nan)
    sd = float(np.std(values, ddof=1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * sd / np.sqrt(n))
    low, high = mean - reach, mean + reach
    if metric == "win_rate":
        low, high = max(low, 0.0), min(high, 1.0)
    return Estimate(n, mean, sd, low, high)


def scores(curves: Iterable[Curve], until: float, how: Measurement) -> Scores:
    """One score per run in the window that ends at ``until``.

    A run that has not at least half of the window's evaluations has none.

    Args:
        curves: those of one cell.
        until: env step.
    """
    values, names = [], []
    for curve in curves:
        inside = curve.between(until - how.window, until)
        if curve.kind == "group":
            ranked = _by_rank(inside, how)
            names += [f"rank {rank + 1}" for rank in range(len(ranked))]
            values += list(ranked)
        else:
            spacing = max(how.interval, _spacing(curve))
            finite = inside.value[np.isfinite(inside.value)]
            if len(finite) >= max(1, _SHARE * how.window // spacing):
                names.append(f"seed {curve.seed}" if curve.seed is not None else curve.column)
                values.append(float(np.mean(finite)))
    return Scores(np.array(values), names)


def _spacing(curve: Curve) -> float:
    return float(np.median(np.diff(curve.steps))) if len(curve.steps) > 1 else 0.0


def _by_rank(group: Curve, how: Measurement) -> np.ndarray:
    """Scores of a group's runs by rank, from the evaluations that show the most runs."""
    evaluations = [np.sort(values) for values in per_evaluation(group, how.interval).values()]
    shown = max(map(len, evaluations), default=0)
    if not shown:
        return np.array([])
    values = np.array([found[::-1] for found in evaluations if len(found) == shown])  # [K, n]
    ranked = values.mean(axis=0)
    if shown == 1 or how.widest or not how.episodes or group.cell.metric != "win_rate":
        return ranked
    luck = float(np.mean(values * (1 - values))) / (how.episodes - 1)
    between = max(0.0, float(np.mean(np.var(values, axis=1, ddof=1))) - luck)
    wanted = between + luck / len(values)
    widest = float(np.var(ranked, ddof=1))
    share = np.sqrt(min(1.0, wanted / widest)) if widest else 0.0
    return ranked.mean() + share * (ranked - ranked.mean())


def per_evaluation(group: Curve, interval: int) -> dict[int, np.ndarray]:
    """The runs' values that a group shows at each evaluation, by the evaluation's number."""
    found: dict[int, list[float]] = {}
    for step, mean, low, high in zip(group.steps, group.value, group.low, group.high, strict=True):
        if np.isfinite(mean):
            found.setdefault(int(step // interval), []).extend(recovered(mean, low, high))
    return {number: np.array(values) for number, values in found.items()}


def recovered(mean: float, low: float, high: float, tolerance: float = 1e-6) -> list[float]:
    """The runs' values behind a mean, a minimum and a maximum over runs.

    One run, or several that agree: one value. Two runs: the extremes, whose middle the mean is.
    Otherwise three runs are taken, if the third lies between; of more only the extremes are known.
    """
    if np.isnan(low) or np.isnan(high) or high - low <= tolerance:
        return [mean]
    third = 3 * mean - low - high
    middle = abs(mean - (low + high) / 2) <= tolerance
    if middle or not low - tolerance <= third <= high + tolerance:
        return [low, high]
    return [low, min(max(third, low), high), high]


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
