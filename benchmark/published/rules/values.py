"""Numbers that cannot be read, or are not what they are drawn as."""

import re
from collections.abc import Iterator
from itertools import groupby

import numpy as np

from benchmark.published.findings import Exclusion, Finding, count, finds, whole
from benchmark.published.release import Cell, Curve, Release, off_grid

_FROZEN = 12  #: equal values between the bounds in a row that do not come by chance
_LINE = 4  #: points on a straight line that are not there by chance
_SCALE = 1.15  #: ratio of returns at equal win rates above which runs have different scales
_MOVES = 0.05  #: standard deviation of a win rate that shows the slope of returns
_TRAINING_TAGS = re.compile(
    r"(?<!test_)(battle_won_mean|return_mean)$|(^|[_/])train", re.IGNORECASE
)


@finds("files, or parts of files, that cannot be read")
def unreadable(release: Release) -> Iterator[Finding]:
    """What a curve shows is without them."""
    for problem in release.problems:
        effect = "look at the file before you rely on its curves"
        yield Finding("warning", None, [], str(problem), effect)


@finds("win rates that no evaluation of n episodes can give")
def not_test(release: Release) -> Iterator[Finding]:
    """A test of n episodes gives multiples of 1/n.

    PyMARL's training statistics average whatever episodes ended since the last log, with
    exploration on: they are multiples of nothing, and low.
    """
    n = release.episodes
    for cell, curves in release.cells.items() if n else ():
        known = [curve for curve in curves if curve.shows_grid]
        wrong = [curve for curve in known if not curve.on_grid(n)]
        if wrong:
            shares = sorted(curve.share_on_grid(n) for curve in wrong)
            extremes = dict.fromkeys(f"{100 * share:.0f}" for share in (shares[0], shares[-1]))
            yield Finding(
                "error",
                cell,
                [*wrong, *(curve for curve in known if curve not in wrong)],
                f"{len(wrong)} of {len(curves)} curves: only"
                f" {' to '.join(extremes)} % of their win rates"
                f" between 0 and 1 are multiples of 1/{n}, of a test all are",
                "win rates of exploring training episodes are drawn as test win rates",
                whole(*wrong),
                size=len(wrong),
            )


@finds("curves that hardly leave 0 or 1, and whose companions are training statistics")
def not_test_kin(release: Release) -> Iterator[Finding]:
    """Such a curve says nothing about itself.

    Where its tag does not say "test" and all other curves of the cell with that tag are training
    statistics, it is taken for one too.
    """
    for cell, silent, training in _silent(release):
        if training:
            yield Finding(
                "warning",
                cell,
                [*silent, *training],
                f"{count(silent)} with too few win rates between 0 and 1 to tell, and no word of"
                f" a test in the name; the other {len(training)} of this kind are of training",
                "probably a training statistic drawn as a test result",
                whole(*silent),
            )


@finds("curves of which nothing tells whether they are test results")
def test_or_training(release: Release) -> Iterator[Finding]:
    """They hardly leave 0 or 1, no tag names them, and no companion tells more."""
    for cell, silent, training in _silent(release):
        untagged = [curve for curve in silent if not curve.tag and np.isfinite(curve.wall).any()]
        if untagged and not training:
            yield Finding(
                "note",
                cell,
                untagged,
                f"{count(untagged)} without a tag, with too few win rates between 0 and 1",
                "none, if these runs never won",
            )


def _silent(release: Release) -> Iterator[tuple[Cell, list[Curve], list[Curve]]]:
    """Curves that show no grid and have no "test" in their tag, and their companions by tag.

    The companions are training statistics; curves with a companion that is a test are left out.
    """
    n = release.episodes
    for cell, curves in release.cells.items() if n else ():
        for tag in dict.fromkeys(curve.tag for curve in curves if "test" not in curve.tag):
            kin = [curve for curve in curves if curve.tag == tag and curve.kind == "run"]
            silent = [curve for curve in kin if not curve.shows_grid]
            telling = [curve for curve in kin if curve.shows_grid]
            tests = [curve for curve in telling if curve.on_grid(n)]
            if cell.metric == "win_rate" and silent and not tests:
                yield cell, silent, telling


@finds("curves whose own tag says that they are training statistics")
def training_tag(release: Release) -> Iterator[Finding]:
    """PyMARL writes ``battle_won_mean`` while exploring, ``test_battle_won_mean`` in evaluation."""
    for cell, curves in release.cells.items():
        tagged = [curve for curve in curves if _TRAINING_TAGS.search(curve.tag)]
        if tagged:
            yield Finding(
                "error",
                cell,
                tagged,
                f"{count(tagged)} tagged {tagged[0].tag!r}, PyMARL's name for training episodes",
                "training episodes are drawn as test results",
                whole(*tagged),
            )


@finds("win rates outside 0 to 1, and returns above what a victory is worth")
def out_of_range(release: Release) -> Iterator[Finding]:
    """The first are no win rates; the second show that a run's returns have their own scale."""
    limit = release.source.return_limit
    for cell, curves in release.cells.items():
        if cell.metric == "win_rate":
            for curve in curves:
                low, high = np.nanmin(curve.value), np.nanmax(curve.value)
                if low < 0 or high > 1:
                    yield Finding(
                        "error",
                        cell,
                        [curve],
                        f"win rates from {low:g} to {high:g}",
                        "no win rates, or in per cent",
                        whole(curve),
                    )
            continue
        above = [curve for curve in curves if np.nanmax(curve.value) > 1.05 * limit]
        if above:
            highest = max(np.nanmax(curve.value) for curve in above)
            yield Finding(
                "warning",
                cell,
                above,
                f"returns up to {highest:.1f} in {count(above)}, where a victory is scaled"
                f" to {limit:g}",
                "the run's returns have another scale than those they are compared with",
                size=float(highest),
            )


@finds("stretches that were not measured: on a straight line, off the grid, or frozen")
def filled(release: Release) -> Iterator[Finding]:
    """Gaps are filled like that by hand or by software; the values are left out, the curve kept."""
    for cell, curves in release.cells.items():
        for curve in curves:
            for begin, end, how in _filled(curve, release.episodes) if curve.kind == "run" else ():
                rows = int(curve.rows[begin]), int(curve.rows[end - 1])
                yield Finding(
                    "error",
                    cell,
                    [curve],
                    f"{end - begin} evaluations in a row ({begin} to {end - 1}, counted from 0)"
                    f" {how}",
                    "the curve shows values that nobody measured",
                    [Exclusion(curve, rows)],
                    size=end - begin,
                )


def _filled(curve: Curve, n: int | None) -> Iterator[tuple[int, int, str]]:
    """Stretches that nobody measured: first index, end, and how they look.

    Values at the bounds repeat honestly: a method that always loses or always wins. What a victory
    is worth may differ by run, so the bound of returns is the curve's own highest.
    """
    values = curve.value
    if curve.cell.metric == "win_rate":
        inside = (values > 0) & (values < 1)
    else:
        inside = (values != 0) & (values < np.nanmax(values) - 1e-9)
    if n and curve.shows_grid and curve.on_grid(n):
        for begin, end in _true_runs(inside & off_grid(values, n)):
            straight = end - begin >= _LINE and np.ptp(np.diff(values[begin:end])) < 1e-6
            line = " and on a straight line" if straight else ""
            yield begin, end, f"are no multiples of 1/{n}{line}"
    elif curve.cell.metric == "return":
        bent = ~(np.abs(np.diff(values, 2)) <= 1e-9)  # NaN is no point of a line
        for begin, end in _true_runs(~bent):
            moves = abs(values[end] - values[begin]) > 1e-9
            if end - begin + 2 >= _LINE + 1 and moves:
                yield begin, end + 2, "are on a straight line"
    frozen = (np.diff(values) == 0) & inside[1:]
    for begin, end in _true_runs(frozen):
        if end - begin + 1 >= _FROZEN:
            yield begin, end + 1, f"are all {values[begin]:g}"


def _true_runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """First index and end of each run of true values."""
    position = 0
    for value, group in groupby(mask.tolist()):
        length = len(list(group))
        if value:
            yield position, position + length
        position += length


@finds("runs whose returns have different scales")
def return_scale(release: Release) -> Iterator[Finding]:
    """Different returns at equal win rates show that returns come in a unit of their own.

    SMACv2's client scales rewards by the first team that a process draws (docs/fidelity.md).
    """
    for cell, wins, returns in release.both_metrics():
        pairs = [
            (won, earned)
            for won in wins
            for earned in returns
            if (won.kind, won.seed) == ("run", earned.seed)
            and np.array_equal(won.steps, earned.steps)
        ]
        levels = [_return_at(won.value, earned.value, 0.3) for won, earned in pairs]
        levels = sorted(level for level in levels if level is not None)
        if len(levels) > 1 and levels[-1] > _SCALE * levels[0]:
            yield Finding(
                "warning",
                cell._replace(metric="return"),
                [curve for pair in pairs for curve in reversed(pair)],
                "at a win rate of 0.3 the runs' returns are "
                + ", ".join(f"{level:.1f}" for level in levels),
                f"returns differ by a factor of {levels[-1] / levels[0]:.2f} without any"
                " difference in winning",
                size=levels[-1] / levels[0],
            )


def _return_at(win_rate: np.ndarray, returns: np.ndarray, level: float) -> float | None:
    """A run's return at a win rate, on its own straight line."""
    known = np.isfinite(win_rate) & np.isfinite(returns)
    if np.std(win_rate[known]) < _MOVES:
        return None
    slope, start = np.polyfit(win_rate[known], returns[known], 1)
    return float(start + slope * level)
