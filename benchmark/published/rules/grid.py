"""When runs were evaluated, for how long, and how many there are."""

from collections.abc import Iterator

import numpy as np

from benchmark.analysis.labels import DEFAULT
from benchmark.published.findings import Finding, whole
from benchmark.published.release import Release, drawn_together
from benchmark.published.runs import per_evaluation
from benchmark.published.table import Cell, Series

STUB = 5  #: a curve with fewer evaluations is none
_SHORT = 0.97  #: of the published length; the last evaluation comes a little before the end
_ANCHORED = 0.15  #: of the interval: evaluations that follow the grid come this soon after it
_GAP = 0.015  #: of the interval between two groups of offsets
_OFFSET = 0.01  #: of the interval that offsets of different methods may differ
_STEADY = 11  #: evaluations over which the number of visible runs is the largest that is seen


def disorder(release: Release) -> Iterator[Finding]:
    """Finds values that are no numbers, and steps that repeat or go back.

    A run logs each step once, in order; where it does not, files were joined or runs restarted.
    """
    for cell, series in release.cells.items():
        for each in series:
            lost = int((~np.isfinite(each.value)).sum())
            back = int((np.diff(each.steps) <= 0).sum())
            if lost:
                yield Finding(
                    "warning",
                    cell,
                    (each,),
                    f"{lost} of {len(each.value)} values are not finite numbers",
                    "software fills or skips them silently",
                )
            if back:
                where = int(each.steps[np.argmax(np.diff(each.steps) <= 0)])
                yield Finding(
                    "error",
                    cell,
                    (each,),
                    f"steps repeat or go back {back} times, first after step {where:,}",
                    "two runs or two attempts in one curve",
                )


def truncated(release: Release) -> Iterator[Finding]:
    """Finds runs that end before the published curve does.

    The end of the curve then rests on the runs that lasted, which are not a random choice.
    """
    for cell, series in release.cells.items():
        end = release.end(cell.map)
        for each in series:
            last = int(each.steps.max())
            stub = len(each.value) < STUB
            if each.kind == "run" and (stub or last < _SHORT * end):
                yield Finding(
                    "error" if stub else "warning",
                    cell,
                    (each,),
                    f"ends at step {last:,} of {end:,}, after {len(each.value)} evaluations, at"
                    f" {each.value[-1]:.3g}",
                    "has no final score; what the curve shows at its end is without this run",
                    whole(each) if stub else (),
                )


def unequal_grid(release: Release) -> Iterator[Finding]:
    """Finds runs of one cell that were evaluated at different steps, or for different lengths.

    An average row by row then joins values of different training, and ends with the shortest run.
    """
    interval = release.source.interval
    for cell, series in release.cells.items():
        runs = [each for each in series if each.kind == "run" and len(each.value) >= STUB]
        if len(runs) < 2:
            continue
        lengths = [len(each.steps) for each in runs]
        steps = np.array([each.steps[: min(lengths)] for each in runs])
        spread = int(np.ptp(steps, axis=0).max())
        if spread > interval or min(lengths) < _SHORT * max(lengths):
            yield Finding(
                "warning" if spread > 5 * interval else "note",
                cell,
                tuple(runs),
                f"{len(runs)} runs with {min(lengths)} to {max(lengths)} evaluations; in one row"
                f" their steps differ by up to {spread:,}",
                "an average row by row mixes steps, and is cut to the shortest run",
            )


def number_of_runs(release: Release) -> Iterator[Finding]:
    """Finds curves whose number of runs changes while training goes on.

    A curve that loses runs can rise or fall without any run doing so.
    """
    for cell, _, series in drawn_together(release):
        counts = visible_runs(series, release, cell)
        changes = [(step, n) for step, n, before in _changes(counts) if n != before]
        if len(changes) > 1 and changes[-1][1] < max(n for _, n in changes):
            parts = [f"{n} from step {step:,}" for step, n in changes]
            yield Finding(
                "warning",
                cell,
                tuple(series),
                f"runs: {', '.join(parts)} (until {release.end(cell.map):,})",
                "the end of the curve rests on fewer runs than its beginning",
            )


def different_numbers(release: Release) -> Iterator[Finding]:
    """Finds maps on which the methods were run a different number of times.

    Bands of different numbers of runs cannot be compared by eye.
    """
    counts: dict[tuple, dict[str, int]] = {}
    shown: dict[tuple, list[Series]] = {}
    for cell, panel, series in drawn_together(release):
        n = max((n for _, n in visible_runs(series, release, cell)), default=0)
        name = cell.algorithm if cell.variant == DEFAULT else f"{cell.algorithm} {cell.variant}"
        counts.setdefault((cell.map, cell.metric, panel), {})[name] = n
        shown.setdefault((cell.map, cell.metric, panel), []).extend(series)
    for (map, metric, panel), found in counts.items():
        if len(set(found.values())) > 1:
            yield Finding(
                "note",
                Cell(map, "several", panel if panel != "main" else DEFAULT, metric),
                tuple(shown[map, metric, panel]),
                ", ".join(f"{name} {n}" for name, n in found.items()),
                f"bands of {min(found.values())} and of {max(found.values())} runs are drawn alike",
            )


def step_offset(release: Release) -> Iterator[Finding]:
    """Finds methods, or runs of one method, that count their steps from different beginnings.

    Evaluations come just after a multiple of the interval. Where they keep a constant distance from
    it, the counter was ahead when training began: so much was trained and not counted alike.
    """
    by_map: dict[tuple, dict[str, list[tuple[int, float]]]] = {}
    shown: dict[tuple, list[Series]] = {}
    for cell, panel, series in drawn_together(release):
        found = offsets(series, release.source.interval)
        if found:
            name = cell.algorithm if cell.variant == DEFAULT else cell.variant
            by_map.setdefault((cell.map, cell.metric, panel), {})[name] = found
            shown.setdefault((cell.map, cell.metric, panel), []).extend(series)
    for (map, metric, panel), found in by_map.items():
        lowest = [offset for parts in found.values() for offset, _ in parts]
        if np.ptp(lowest) > _OFFSET * release.source.interval:
            mixed = [name for name, parts in found.items() if len(parts) > 1]
            yield Finding(
                "warning",
                Cell(map, "several", panel if panel != "main" else DEFAULT, metric),
                tuple(shown[map, metric, panel]),
                "steps after the grid: "
                + ", ".join(f"{name} {_parts(parts)}" for name, parts in found.items()),
                f"the methods' step 0 is not the same{_mixed(mixed)}",
                size=float(np.ptp(lowest)),
            )


def _mixed(names: list[str]) -> str:
    return f"; {', '.join(names)} joins runs of different set-ups" if names else ""


def _parts(parts: list[tuple[int, float]]) -> str:
    if len(parts) == 1:
        return str(parts[0][0])
    return " and ".join(f"{offset} ({share:.0%})" for offset, share in parts)


def offsets(series: list[Series], interval: int) -> list[tuple[int, float]]:
    """How far after multiples of the interval a cell's evaluations begin.

    Returns:
        Smallest offset and share of evaluations of each group of offsets; nothing where the
        evaluations do not follow the grid.
    """
    steps = np.concatenate([each.steps for each in series])
    late = np.sort(steps[steps >= interval] % interval)
    if not len(late) or np.mean(late < _ANCHORED * interval) < 0.98:
        return []
    late = late[late < _ANCHORED * interval]
    breaks = np.flatnonzero(np.diff(late) > _GAP * interval) + 1
    groups = [group for group in np.split(late, breaks) if len(group) >= 0.05 * len(late)]
    return [(int(group[0]), len(group) / len(late)) for group in groups]


def visible_runs(series: list[Series], release: Release, cell: Cell) -> list[tuple[int, int]]:
    """How many runs a cell shows: (step, number) per evaluation until the end of the figure.

    A group hides runs that agree at one step, so the largest number nearby is taken.
    """
    end, interval = release.end(cell.map), release.source.interval
    grid = np.arange(0, end // interval + 1)
    total = np.zeros(len(grid), int)
    for each in series:
        if each.kind == "group":
            shown = {number: len(v) for number, v in per_evaluation(each, interval).items()}
            raw = np.array([shown.get(number, 0) for number in grid])
            total += [_nearby(raw, i) for i in range(len(grid))]
        else:
            total += grid * interval <= each.steps.max() + interval
    return [(int(number * interval), int(n)) for number, n in zip(grid, total, strict=True)]


def _nearby(raw: np.ndarray, i: int) -> int:
    reach = _STEADY // 2
    return int(raw[max(0, i - reach) : i + reach + 1].max())


def _changes(counts: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Steps at which the number of runs changes for good: step, number, number before."""
    before = -1
    for index, (step, n) in enumerate(counts):
        ahead = {later for _, later in counts[index : index + _STEADY]}
        if n != before and len(ahead) == 1:
            yield step, n, before
            before = n
