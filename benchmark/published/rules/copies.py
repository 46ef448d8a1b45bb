"""The same numbers more than once."""

import re
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from benchmark.published.findings import Finding, whole
from benchmark.published.release import Release, drawn_together, interior, off_grid
from benchmark.published.table import Series

STRETCH = 16  #: so many evaluations in a row, with
DISTINCT = 6  #: so many different values among them, do not agree by chance


def counted_twice(release: Release) -> Iterator[Finding]:
    """Finds identical curves of one cell, e.g. under two seeds or as "... copy.csv".

    Each is one run, so a mean and a band over the files count it twice.
    """
    for cell, _, series in drawn_together(release):
        again = [same for same in _classes(series) if len(same) > 1]
        telling = [sorted(same, key=_plain_name_first) for same in again if _tells(same[0])]
        for same in again:
            if not _tells(same[0]):
                yield Finding(
                    "note",
                    cell,
                    tuple(same),
                    f"{_how(release, same)}, but constant on a regular grid: {len(same)} runs that"
                    f" stay at {same[0].value[0]:g} look like this too",
                    "none; identity is no evidence here",
                )
        if telling:
            copies = [each for _, *others in telling for each in others]
            yield Finding(
                "error",
                cell,
                tuple(each for same in telling for each in same),
                f"{len(copies)} of {len(series)} curves are copies: {_how(release, telling[0])}",
                "mean and band count the same runs again",
                whole(*copies),
                size=len(copies) / len(series),
            )


def reused(release: Release) -> Iterator[Finding]:
    """Finds a curve that several figures draw, e.g. the method itself in each ablation.

    That is fine as long as nobody takes the figures for independent evidence.
    """
    for cell, series in release.cells.items():
        ordered = sorted(series, key=lambda each: (each.panel != "main", each.panel))
        found = []
        for same in _classes(ordered):
            others = [each for each in same if each.panel != same[0].panel]
            if others and _tells(same[0]):
                found += [(same[0], others)]
        if found:
            again = [each for _, others in found for each in others]
            yield Finding(
                "note",
                cell,
                (*(first for first, _ in found), *again),
                f"{_how(release, [found[0][0], *found[0][1]])}: drawn in {found[0][0].panel} and"
                f" again in {', '.join(dict.fromkeys(each.panel for each in again))}",
                "these curves are one and the same data",
                whole(*again),
            )


def under_two_names(release: Release) -> Iterator[Finding]:
    """Finds identical curves of different maps, methods, variants or metrics.

    At most one name is right. It is taken to be the one whose other metric was logged at the same
    steps; where that does not decide, no name is believed.
    """
    for same in _classes(release.series):
        cells = {each.cell for each in same}
        if len(cells) < 2 or not _tells(same[0]):
            continue
        owners = {each.cell for each in same if _has_twin(release, each)}
        wrong = [each for each in same if len(owners) != 1 or each.cell not in owners]
        names = " and ".join(sorted(map(str, cells)))
        verdict = (
            f"the other metric of {next(iter(owners))} has these steps, so it is the owner"
            if len(owners) == 1
            else "nothing tells whose they are"
        )
        for each in wrong:
            yield Finding(
                "error",
                each.cell,
                (each, *(other for other in same if other is not each)),
                f"{_how(release, same)} as {names}; {verdict}",
                f"the figure of {each.cell.map} shows a run of something else",
                whole(each),
            )


def shared_stretch(release: Release) -> Iterator[Finding]:
    """Finds curves that differ, but agree value by value over long stretches.

    Two runs never do; one of them was made from the other. That is taken to be the one with values
    off the grid, or else the later name.
    """
    different = [same[0] for same in _classes(release.series) if _tells(same[0])]
    for pair in sorted(_alike(different)):
        kept, mended = sorted((different[i] for i in pair), key=lambda s: _off_grid(release, s))
        length = min(len(kept.value), len(mended.value))
        same = np.abs(kept.value[:length] - mended.value[:length]) < 1e-6
        longest = max(np.diff(np.flatnonzero(np.concatenate([[True], ~same, [True]])))) - 1
        yield Finding(
            "error",
            mended.cell,
            (mended, kept),
            f"the same value as {kept.name} in {same.sum()} of {length} evaluations, up to"
            f" {longest} in a row, and another one in between",
            "two runs of the figure are pieces of one run",
            whole(mended),
            size=float(same.sum()),
        )


def _plain_name_first(series: Series) -> tuple:
    return bool(re.search(r"\bcopy\b|\(\d+\)", series.name)), series.name


def _classes(series: list[Series]) -> list[list[Series]]:
    """Curves with the same steps and values, together."""
    found: dict[tuple, list[Series]] = {}
    for each in series:
        key = each.steps.tobytes(), each.value.tobytes()
        found.setdefault(key, []).append(each)
    return list(found.values())


def _tells(series: Series) -> bool:
    """Whether two curves like this would not agree by chance."""
    irregular = len(np.unique(np.diff(series.steps))) > 3
    return len(series.value) > 1 and (irregular or len(np.unique(series.value)) >= DISTINCT)


def _how(release: Release, same: list[Series]) -> str:
    digests = {release.digests.get(each.file, each.file) for each in same}
    files = {each.file for each in same}
    if len(digests) == 1 and len(files) > 1:
        return "byte-identical files"
    return f"the same {len(same[0].value)} values at the same steps"


def _has_twin(release: Release, series: Series) -> bool:
    """Whether the cell's other metric was logged at this curve's steps."""
    return any(
        other.cell[:3] == series.cell[:3]
        and other.cell.metric != series.cell.metric
        and np.array_equal(other.steps, series.steps)
        for other in release.series
    )


def _off_grid(release: Release, series: Series) -> tuple:
    """Sort key: curves with values off the grid last."""
    values = interior(series)
    odd = int(off_grid(values, release.episodes).sum()) if release.episodes else 0
    return odd, series.name


def _alike(series: list[Series]) -> set[tuple[int, int]]:
    """Pairs of curves that agree over a stretch at the same place."""
    windows: dict[tuple, list[int]] = {}
    for number, each in enumerate(series):
        values = np.round(each.value, 6).tolist()
        for begin in range(len(values) - STRETCH + 1):
            window = tuple(values[begin : begin + STRETCH])
            if len(set(window)) >= DISTINCT:
                windows.setdefault((each.cell.metric, begin, window), []).append(number)
    return {pair for places in windows.values() for pair in combinations(places, 2)}
