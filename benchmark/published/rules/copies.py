"""The same numbers more than once."""

import re
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from benchmark.published.findings import Finding, finds, whole
from benchmark.published.release import Curve, Release, off_grid

_STRETCH = 16  #: so many evaluations in a row, with
_DISTINCT = 6  #: so many different values among them, do not agree by chance


@finds('identical curves of one cell, e.g. under two seeds or as "... copy.csv"')
def counted_twice(release: Release) -> Iterator[Finding]:
    """Identical curves are one run, so a mean and a band over the files count it twice."""
    for cell, _, curves in release.drawn_together():
        groups = [same for same in _identical(curves) if len(same) > 1]
        for same in groups:
            if not _is_distinctive(same[0]):
                yield Finding(
                    "note",
                    cell,
                    same,
                    f"{_alike(release, same)}, but constant on a regular grid: {len(same)} runs"
                    f" that stay at {same[0].value[0]:g} look like this too",
                    "none; identity is no evidence here",
                )
        groups = [
            sorted(same, key=_plain_name_first) for same in groups if _is_distinctive(same[0])
        ]
        copies = [copy for _, *others in groups for copy in others]
        if copies:
            yield Finding(
                "error",
                cell,
                [curve for same in groups for curve in same],
                f"{len(copies)} of {len(curves)} curves are copies: {_alike(release, groups[0])}",
                "mean and band count the same runs again",
                whole(*copies),
                size=len(copies) / len(curves),
            )


@finds("a curve that several figures draw, e.g. the method itself in each ablation")
def reused(release: Release) -> Iterator[Finding]:
    """That is fine as long as nobody takes the figures for independent evidence."""
    for cell, curves in release.cells.items():
        ordered = sorted(curves, key=lambda curve: (curve.panel != "main", curve.panel))
        found = []
        for same in _identical(ordered):
            others = [curve for curve in same if curve.panel != same[0].panel]
            if others and _is_distinctive(same[0]):
                found.append((same[0], others))
        if found:
            again = [curve for _, others in found for curve in others]
            yield Finding(
                "note",
                cell,
                [*(first for first, _ in found), *again],
                f"{_alike(release, [found[0][0], *found[0][1]])}: drawn in {found[0][0].panel} and"
                f" again in {', '.join(dict.fromkeys(curve.panel for curve in again))}",
                "these curves are one and the same data",
                whole(*again),
            )


@finds("identical curves of different maps, methods, variants or metrics")
def under_two_names(release: Release) -> Iterator[Finding]:
    """At most one name is right.

    It is taken to be the one whose other metric was logged at the same steps; where that does not
    decide, no name is believed.
    """
    for same in _identical(release.curves):
        cells = {curve.cell for curve in same}
        if len(cells) < 2 or not _is_distinctive(same[0]):
            continue
        owners = {curve.cell for curve in same if _other_metric_has_its_steps(release, curve)}
        names = " and ".join(sorted(map(str, cells)))
        owner = (
            f"the other metric of {next(iter(owners))} has these steps, so it is the owner"
            if len(owners) == 1
            else "nothing tells whose they are"
        )
        for curve in same:
            if len(owners) != 1 or curve.cell not in owners:
                yield Finding(
                    "error",
                    curve.cell,
                    [curve, *(other for other in same if other is not curve)],
                    f"{_alike(release, same)} as {names}; {owner}",
                    f"the figure of {curve.cell.map} shows a run of something else",
                    whole(curve),
                )


@finds("curves that differ, but agree value by value over long stretches")
def shared_stretch(release: Release) -> Iterator[Finding]:
    """Two runs never agree like that; one was made from the other.

    That is taken to be the one with values off the grid, or else the later name.
    """
    different = [same[0] for same in _identical(release.curves) if _is_distinctive(same[0])]
    for pair in sorted(_pairs_with_a_common_stretch(different)):
        kept, made = sorted((different[i] for i in pair), key=lambda c: _off_grid_last(release, c))
        length = min(len(kept.value), len(made.value))
        same = np.abs(kept.value[:length] - made.value[:length]) < 1e-6
        longest = max(np.diff(np.flatnonzero(np.concatenate([[True], ~same, [True]])))) - 1
        yield Finding(
            "error",
            made.cell,
            [made, kept],
            f"the same value as {kept.name} in {same.sum()} of {length} evaluations, up to"
            f" {longest} in a row, and another one in between",
            "two runs of the figure are pieces of one run",
            whole(made),
            size=float(same.sum()),
        )


def _plain_name_first(curve: Curve) -> tuple:
    return bool(re.search(r"\bcopy\b|\(\d+\)", curve.name)), curve.name


def _identical(curves: list[Curve]) -> list[list[Curve]]:
    """Curves with the same steps and values, together."""
    found: dict[tuple, list[Curve]] = {}
    for curve in curves:
        found.setdefault((curve.steps.tobytes(), curve.value.tobytes()), []).append(curve)
    return list(found.values())


def _is_distinctive(curve: Curve) -> bool:
    """Whether two curves like this would not agree by chance."""
    irregular = len(np.unique(np.diff(curve.steps))) > 3
    return len(curve.value) > 1 and (irregular or len(np.unique(curve.value)) >= _DISTINCT)


def _alike(release: Release, same: list[Curve]) -> str:
    digests = {release.digests.get(curve.file, curve.file) for curve in same}
    if len(digests) == 1 and len({curve.file for curve in same}) > 1:
        return "byte-identical files"
    return f"the same {len(same[0].value)} values at the same steps"


def _other_metric_has_its_steps(release: Release, curve: Curve) -> bool:
    return any(
        other.cell[:3] == curve.cell[:3]
        and other.cell.metric != curve.cell.metric
        and np.array_equal(other.steps, curve.steps)
        for other in release.curves
    )


def _off_grid_last(release: Release, curve: Curve) -> tuple:
    n = release.episodes
    return int(off_grid(curve.interior, n).sum()) if n else 0, curve.name


def _pairs_with_a_common_stretch(curves: list[Curve]) -> set[tuple[int, int]]:
    """Indices of pairs of curves that agree over a stretch at the same place."""
    windows: dict[tuple, list[int]] = {}
    for number, curve in enumerate(curves):
        values = np.round(curve.value, 6).tolist()
        for begin in range(len(values) - _STRETCH + 1):
            window = tuple(values[begin : begin + _STRETCH])
            if len(set(window)) >= _DISTINCT and np.isfinite(window).all():
                windows.setdefault((curve.cell.metric, begin, window), []).append(number)
    return {pair for numbers in windows.values() for pair in combinations(numbers, 2)}
