"""One score per run, also where the runs of a group cannot be told apart.

A *score* is a run's mean over the evaluations of ``WINDOW`` env steps before the end of the
published curve: a single evaluation of 32 episodes is too noisy.

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
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmark.published.release import Curve

#: Env steps that a score averages; fixed before any claim was tested.
WINDOW = 100_000
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
    """A mean over runs with its Student interval; NaN where there are too few runs."""

    n: int
    mean: float
    sd: float = np.nan
    low: float = np.nan
    high: float = np.nan


def estimate(values: np.ndarray, metric: str = "") -> Estimate:
    """Mean, standard deviation and Student interval of scores [n]; win rates stay in [0, 1]."""
    n = len(values)
    mean = float(np.mean(values)) if n else np.nan
    if n < 2:
        return Estimate(n, mean)
    sd = float(np.std(values, ddof=1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * sd / np.sqrt(n))
    low, high = mean - reach, mean + reach
    if metric == "win_rate":
        low, high = max(low, 0.0), min(high, 1.0)
    return Estimate(n, mean, sd, low, high)


def scores(curves: Iterable[Curve], until: float, how: Measurement) -> Scores:
    """One score per run in the window that ends at ``until``.

    A run that has not at least half of the window's evaluations has none; nor has any where the
    window would begin before training, with the untrained policy.

    Args:
        curves: those of one cell.
        until: env step.
    """
    values, names = [], []
    for curve in curves if until >= how.window else ():
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
