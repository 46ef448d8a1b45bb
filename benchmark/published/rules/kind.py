"""Numbers that are not what they are drawn as."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

import numpy as np

from benchmark.analysis.labels import METRICS
from benchmark.published import notebook
from benchmark.published.findings import Exclusion, Finding, whole
from benchmark.published.release import (
    Release,
    drawn_together,
    interior,
    off_grid,
    on_grid,
    tells_grid,
)
from benchmark.published.table import Cell, Series

FROZEN = 12  #: equal values between 0 and 1 in a row that do not come by chance
LINE = 4  #: points on a straight line that are not there by chance
_TRAINING_TAGS = re.compile(
    r"(?<!test_)(battle_won_mean|return_mean)$|(^|[_/])train", re.IGNORECASE
)
_DATE = re.compile(r"(20\d\d-\d\d-\d\d)")
_DAYS = 3  #: time zones and long queues stay below


def not_test(release: Release) -> Iterator[Finding]:
    """Finds win rates that no evaluation of n episodes can give.

    A test of n episodes gives multiples of 1/n. PyMARL's training statistics average whatever
    episodes ended since the last log, with exploration on: they lie on no grid, and low.
    """
    n = release.episodes
    for cell, series in release.cells.items() if n else ():
        telling = [each for each in series if tells_grid(interior(each))]
        wrong = [each for each in telling if not on_grid(interior(each), n)]
        if wrong:
            shares = [float(np.mean(~off_grid(interior(each), n))) for each in wrong]
            right = [each for each in telling if each not in wrong]
            yield Finding(
                "error",
                cell,
                (*wrong, *right),
                f"{len(wrong)} of {len(series)} curves: only {_percent(shares)} of their win rates"
                f" between 0 and 1 are multiples of 1/{n}, of a test all are",
                "win rates of exploring training episodes are drawn as test win rates",
                whole(*wrong),
                size=len(wrong),
            )


def _percent(shares: list[float]) -> str:
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def not_test_kin(release: Release) -> Iterator[Finding]:
    """Finds curves that hardly leave 0 or 1, and whose companions are training statistics.

    Such a curve says nothing about itself. Where its tag does not say "test" and all other curves
    of the cell with that tag are training statistics, it is taken for one too.
    """
    for cell, silent, telling in _silent(release):
        if telling:
            yield Finding(
                "warning",
                cell,
                (*silent, *telling),
                f"{_curves(silent)} with too few win rates between 0 and 1 to tell, and no word of"
                f" a test in the name; the other {len(telling)} of this kind are of training",
                "probably a training statistic drawn as a test result",
                whole(*silent),
            )


def test_or_training(release: Release) -> Iterator[Finding]:
    """Finds curves of which nothing tells whether they are test results.

    They hardly leave 0 or 1, no tag names them, and no companion tells more.
    """
    for cell, silent, telling in _silent(release):
        untagged = [each for each in silent if not each.tag and np.isfinite(each.wall).any()]
        if untagged and not telling:
            yield Finding(
                "note",
                cell,
                tuple(untagged),
                f"{_curves(untagged)} without a tag, with too few win rates between 0 and 1",
                "none, if these runs never won",
            )


def _silent(release: Release) -> Iterator[tuple[Cell, list[Series], list[Series]]]:
    """Curves without a grid and without "test" in their tag, by tag, and the training statistics
    among their companions; those with a companion that is a test are passed over."""
    n = release.episodes
    for cell, series in release.cells.items() if n else ():
        for tag in dict.fromkeys(each.tag for each in series if "test" not in each.tag):
            kin = [each for each in series if each.tag == tag and each.kind == "run"]
            silent = [each for each in kin if not tells_grid(interior(each))]
            telling = [each for each in kin if tells_grid(interior(each))]
            tests = [each for each in telling if on_grid(interior(each), n)]
            if cell.metric == "win_rate" and silent and not tests:
                yield cell, silent, telling


def training_tag(release: Release) -> Iterator[Finding]:
    """Finds curves whose own tag says that they are training statistics.

    PyMARL writes ``battle_won_mean`` while exploring and ``test_battle_won_mean`` in evaluation.
    """
    for cell, series in release.cells.items():
        tagged = [each for each in series if _TRAINING_TAGS.search(each.tag)]
        if tagged:
            yield Finding(
                "error",
                cell,
                tuple(tagged),
                f"{_curves(tagged)} tagged {tagged[0].tag!r}, PyMARL's name for training episodes",
                "training episodes are drawn as test results",
                whole(*tagged),
            )


def out_of_range(release: Release) -> Iterator[Finding]:
    """Finds win rates outside 0 to 1, and returns above what a victory is worth.

    The first are no win rates. The second show that a run's returns have a scale of their own.
    """
    limit = release.source.return_limit
    for cell, series in release.cells.items():
        if cell.metric == "win_rate":
            for each in series:
                low, high = np.nanmin(each.value), np.nanmax(each.value)
                if low < 0 or high > 1:
                    yield Finding(
                        "error",
                        cell,
                        (each,),
                        f"win rates from {low:g} to {high:g}",
                        "no win rates, or in per cent",
                        whole(each),
                    )
            continue
        above = [each for each in series if np.nanmax(each.value) > 1.05 * limit]
        if above:
            highest = max(np.nanmax(each.value) for each in above)
            yield Finding(
                "warning",
                cell,
                tuple(above),
                f"returns up to {highest:.1f} in {_curves(above)}, where a victory is scaled"
                f" to {limit:g}",
                "the run's returns have another scale than those they are compared with",
                size=float(highest),
            )


def aggregated_as_runs(release: Release) -> Iterator[Finding]:
    """Finds wandb's minimum and maximum columns, which are not runs.

    Whoever takes every column of such a file for a run counts the extremes in; of a group, the runs
    themselves are no longer in the file at all.
    """
    for metric in METRICS:
        for kind in ("group", "run"):
            wandb = [
                each
                for each in release.series
                if (each.cell.metric, each.kind) == (metric, kind) and np.isfinite(each.low).any()
            ]
            if wandb:
                mean, band = notebook.difference_by_extremes(wandb)
                lost = " over runs that cannot be told apart" if kind == "group" else ""
                yield Finding(
                    "warning" if kind == "group" else "note",
                    None,
                    tuple(wandb),
                    f"{_curves(wandb)} of {metric.replace('_', ' ')} in {len(_files(wandb))} files"
                    f" with __MIN and __MAX columns beside them{lost}",
                    "taking all columns for runs moves a drawn mean by up to"
                    f" {mean:.2g} and a drawn standard deviation by up to {band:.2g}",
                )


def _files(series: list[Series]) -> set[str]:
    return {each.file for each in series}


def filled(release: Release) -> Iterator[Finding]:
    """Finds stretches that were not measured: on a straight line, off the grid, or frozen.

    Gaps are filled like that by hand or by software. The values are left out, the curve is kept.
    """
    for cell, series in release.cells.items():
        for each in series:
            if each.kind == "run":
                for begin, end, how in _filled(each, release.episodes):
                    rows = int(each.rows[begin]), int(each.rows[end - 1])
                    yield Finding(
                        "error",
                        cell,
                        (each,),
                        f"{end - begin} evaluations in a row ({begin} to {end - 1}, counted from 0)"
                        f" {how}",
                        "the curve shows values that nobody measured",
                        (Exclusion.of(each, rows),),
                        size=end - begin,
                    )


def name_date(release: Release) -> Iterator[Finding]:
    """Finds files whose name gives another day than the clock inside.

    A file that was renamed to stand for another run keeps its old clock.
    """
    for cell, series in release.cells.items():
        for each in series:
            dates = _DATE.findall(each.file)
            if not dates or not np.isfinite(each.wall).any():
                continue
            said = datetime.fromisoformat(dates[-1]).replace(tzinfo=UTC)
            ran = datetime.fromtimestamp(float(np.nanmin(each.wall)), UTC)
            if abs((ran - said).days) > _DAYS:
                yield Finding(
                    "warning",
                    cell,
                    (each,),
                    f"the name says {said:%Y-%m-%d}, its first value was logged {ran:%Y-%m-%d}",
                    "the file may not be the run that its name says",
                )


def unverifiable_label(release: Release) -> Iterator[Finding]:
    """Finds different data that carry one wandb group's name but stand for different variants.

    Only the file's name then says which variant it is, and nothing can confirm it.
    """
    groups: dict[str, list[Series]] = {}
    for each in release.series:
        if each.kind == "group":
            groups.setdefault(each.column, []).append(each)
    for column, series in groups.items():
        different = {each.value.tobytes(): each for each in reversed(series)}
        variants = sorted({each.cell.variant for each in different.values()})
        if len(variants) > 1:
            yield Finding(
                "warning",
                different[next(iter(different))].cell._replace(variant="several"),
                tuple(different.values()),
                f"{len(different)} different files ({', '.join(variants)}) have the same column"
                f" {column!r}",
                "which curve is which rests on the file names alone",
            )


def several_groups(release: Release) -> Iterator[Finding]:
    """Finds cells whose curves come from several wandb groups.

    Runs are grouped by what they were started with, so these were started as different experiments.
    """
    for cell, _, series in drawn_together(release):
        groups = [each for each in series if each.kind == "group"]
        if len(groups) > 1:
            yield Finding(
                "note",
                cell,
                tuple(groups),
                " and ".join(f"{each.column!r} ({len(each.value)} values)" for each in groups),
                "one curve joins runs that were started as different experiments",
            )


def _curves(series: list[Series]) -> str:
    return "one curve" if len(series) == 1 else f"{len(series)} curves"


def _filled(series: Series, n: int | None) -> Iterator[tuple[int, int, str]]:
    """Stretches that nobody measured: first index, end, and how they look."""
    values = series.value
    inside = (values > 0) & (values < 1) if series.cell.metric == "win_rate" else values != 0
    measured = interior(series)
    if n and tells_grid(measured) and on_grid(measured, n):
        for begin, end in _true_runs(inside & off_grid(values, n)):
            straight = end - begin >= LINE and np.ptp(np.diff(values[begin:end])) < 1e-6
            line = " and on a straight line" if straight else ""
            yield begin, end, f"are no multiples of 1/{n}{line}"
    elif series.cell.metric == "return":
        bent = np.abs(np.diff(values, 2)) > 1e-9
        for begin, end in _true_runs(~bent):
            moves = abs(values[end] - values[begin]) > 1e-9
            if end - begin + 2 >= LINE + 1 and moves:
                yield begin, end + 2, "are on a straight line"
    frozen = (np.diff(values) == 0) & inside[1:]
    for begin, end in _true_runs(frozen):
        if end - begin + 1 >= FROZEN:
            yield begin, end + 1, f"are all {values[begin]:g}"


def _true_runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """First index and end of each run of true values."""
    position = 0
    for value, group in groupby(mask.tolist()):
        length = len(list(group))
        if value:
            yield position, position + length
        position += length
