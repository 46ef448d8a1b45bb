"""Whether two methods differ: a permutation test that holds its level with few runs.

A bootstrap of few runs cannot say it: where all runs of X beat all of Y, every replication does
too, and the interval of the probability of improvement is [1, 1], with two runs as with twenty.

If X and Y had the same distribution on each map, any of the map's runs could as well be X's. The
p-value is the share of all such labellings, map by map, whose probability of improvement is as far
from 1/2 as the one found. All are counted, none drawn: on one map the distribution of the sum of
ranks is built up run by run (ties have the mean of their ranks), and over maps it is convolved.
"""

import math

import numpy as np
import pandas as pd

LEVEL = 0.05  #: of all comparisons that are shown together, the chance of any false one
DECIDED_BY = (
    "an exact permutation test of the runs within each map, two-sided, at a level of"
    f" {100 * LEVEL:.0f} % for all comparisons together (Holm's correction)"
)


def p_value(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    """The exact two-sided p-value of the probability of improvement, averaged over maps.

    Args:
        x: scores of X, one array [n_x] per map.
        y: scores of Y on the same maps, [n_y] each.
    """
    from scipy.signal import convolve  # takes a second to import, as rliable

    # 2 n_x n_y P is a whole number from 0; multiples of it weigh maps with unequal runs equally.
    wins = [len(ours) * len(theirs) for ours, theirs in zip(x, y, strict=True)]
    common = math.lcm(*wins)
    found, share = 0, np.ones(1)
    for ours, theirs, most in zip(x, y, wins, strict=True):
        won, of_map = _labellings(ours, theirs)
        weighted = np.zeros(2 * common + 1)
        weighted[:: common // most] = of_map
        found += won * (common // most)
        share = convolve(share, weighted)
    middle = len(x) * common
    distance = np.abs(np.arange(len(share)) - middle)
    return float(np.clip(share[distance >= abs(found - middle)].sum(), 0, 1))


def _labellings(x: np.ndarray, y: np.ndarray) -> tuple[int, np.ndarray]:
    """How often X beats Y, a win counted as 2 and a draw as 1, and the share of each such number.

    Returns:
        the number found, and the shares [2 n_x n_y + 1] of all labellings of the runs.
    """
    from scipy.stats import rankdata

    ranks = (2 * rankdata(np.concatenate([x, y]))).astype(int)
    ways = np.zeros((len(x) + 1, ranks.sum() + 1))  # labelled X so far, sum of their ranks
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, :-rank]
    least = len(x) * (len(x) + 1)  # the sum of the ranks where X always loses
    shares = ways[-1, least : least + 2 * len(x) * len(y) + 1]
    return int(ranks[: len(x)].sum()) - least, shares / shares.sum()


def smallest(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    """The smallest p-value that so many runs without ties can give: all of X beat all of Y, or none
    does."""
    labellings = math.prod(
        math.comb(len(ours) + len(theirs), len(ours)) for ours, theirs in zip(x, y, strict=True)
    )
    return 2 / labellings


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """What the test says of comparisons that are shown together, each of which is there once.

    Args:
        rows: of the statistics ``improvement``.

    Returns:
        The rows, with Holm's correction of ``p`` and ``p_smallest`` over all of them, and

        * ``p_alone``: ``p`` before;
        * ``differs``: the methods differ, at a level of ``LEVEL`` for all rows together;
        * ``testable``: some outcome of so many runs could have said so.
    """
    corrected = {name: _holm(rows[name].to_numpy(float)) for name in ("p", "p_smallest")}
    differs = corrected["p"] <= LEVEL
    testable = differs | (corrected["p_smallest"] <= LEVEL)  # ties can be less likely than no tie
    return rows.assign(p_alone=rows["p"], **corrected, differs=differs, testable=testable)


def _holm(p_values: np.ndarray) -> np.ndarray:
    """The k-th smallest of m counts m - k + 1 times, and no larger one gets less than it.

    Written out since statsmodels collects garbage in each call, a seventh of a second.
    """
    ascending = np.argsort(p_values)
    times = np.arange(len(p_values), 0, -1)
    found = np.empty(len(p_values))
    found[ascending] = np.maximum.accumulate(p_values[ascending] * times).clip(max=1)
    return found
