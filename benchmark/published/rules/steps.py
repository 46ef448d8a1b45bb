"""When runs were evaluated, for how long, and how many there are."""

from collections.abc import Iterator

import numpy as np

from benchmark.analysis.labels import DEFAULT
from benchmark.published.findings import Finding, finds, whole
from benchmark.published.release import Cell, Curve, Release
from benchmark.published.run_scores import per_evaluation

_STUB = 5  #: a curve with fewer evaluations is none
_SHORT = 0.97  #: of the published length; the last evaluation comes a little before the end
_ANCHORED = 0.15  #: of the interval: evaluations that follow the grid come this soon after it
_GAP = 0.015  #: of the interval between two groups of offsets
_OFFSET = 0.01  #: of the interval that offsets of different methods may differ
_STEADY = 11  #: evaluations over which the number of visible runs is the largest that is seen


@finds("values that are no numbers, and steps that repeat or go back")
def disorder(release: Release) -> Iterator[Finding]:
    """A run logs each step once, in order; else files were joined or runs restarted."""
    for curve in _sorted_by_cell(release):
        lost = int((~np.isfinite(curve.value)).sum())
        if lost:
            yield Finding(
                "warning",
                curve.cell,
                [curve],
                f"{lost} of {len(curve.value)} values are not finite numbers",
                "software fills or skips them silently",
            )
        back = np.diff(curve.steps) <= 0
        if back.any():
            yield Finding(
                "error",
                curve.cell,
                [curve],
                f"steps repeat or go back {back.sum()} times, first after step"
                f" {curve.steps[np.argmax(back)]:,}",
                "two runs or two attempts in one curve",
            )


@finds("runs that end before the published curve does")
def truncated(release: Release) -> Iterator[Finding]:
    """The end of the curve is then made of the runs that lasted, which are no random choice."""
    for curve in _sorted_by_cell(release):
        end, last = release.end(curve.cell.map), int(curve.steps.max())
        stub = len(curve.value) < _STUB
        if curve.kind == "run" and (stub or last < _SHORT * end):
            yield Finding(
                "error" if stub else "warning",
                curve.cell,
                [curve],
                f"ends at step {last:,} of {end:,}, after {len(curve.value)} evaluations, at"
                f" {curve.value[-1]:.3g}",
                "has no final score; what the curve shows at its end is without this run",
                whole(curve) if stub else (),
            )


@finds("runs of one cell that were evaluated at different steps, or for different lengths")
def unequal_grid(release: Release) -> Iterator[Finding]:
    """An average row by row joins values of different training, and ends with the shortest run."""
    interval = release.source.interval
    for cell, curves in release.cells.items():
        runs = [curve for curve in curves if curve.kind == "run" and len(curve.value) >= _STUB]
        if len(runs) < 2:
            continue
        lengths = [len(run.steps) for run in runs]
        spread = int(np.ptp([run.steps[: min(lengths)] for run in runs], axis=0).max())
        if spread > interval or min(lengths) < _SHORT * max(lengths):
            yield Finding(
                "warning" if spread > 5 * interval else "note",
                cell,
                runs,
                f"{len(runs)} runs with {min(lengths)} to {max(lengths)} evaluations; in one row"
                f" their steps differ by up to {spread:,}",
                "an average row by row mixes steps, and is cut to the shortest run",
            )


@finds("curves whose number of runs changes while training goes on")
def number_of_runs(release: Release) -> Iterator[Finding]:
    """A curve that loses runs can rise or fall without any run doing so."""
    for cell, _, curves in release.drawn_together():
        changes = list(_changes(visible_runs(curves, release, cell)))
        if len(changes) > 1 and changes[-1][1] < max(n for _, n in changes):
            parts = [f"{n} from step {step:,}" for step, n in changes]
            yield Finding(
                "warning",
                cell,
                curves,
                f"runs: {', '.join(parts)} (until {release.end(cell.map):,})",
                "the end of the curve rests on fewer runs than its beginning",
            )


@finds("maps on which the methods were run a different number of times")
def different_numbers(release: Release) -> Iterator[Finding]:
    """Bands of different numbers of runs cannot be compared by eye."""
    for cell, drawn in _by_panel(release):
        counts = {
            method: max((n for _, n in visible_runs(curves, release, cell)), default=0)
            for method, curves in drawn.items()
        }
        if len(set(counts.values())) > 1:
            # a variant is named with its algorithm here
            names = {m: m[0] if m[1] == DEFAULT else " ".join(m) for m in counts}
            yield Finding(
                "note",
                cell,
                [curve for curves in drawn.values() for curve in curves],
                ", ".join(f"{names[method]} {n}" for method, n in counts.items()),
                f"bands of {min(counts.values())} and of {max(counts.values())} runs are drawn"
                " alike",
            )


@finds("methods, or runs of one method, that count their steps from different beginnings")
def step_offset(release: Release) -> Iterator[Finding]:
    """Evaluations come just after a multiple of the interval.

    Where they keep a constant distance from it, the counter was ahead when training began: so much
    was trained and not counted alike.
    """
    interval = release.source.interval
    for cell, drawn in _by_panel(release):
        offsets, shown = {}, []
        for (algorithm, variant), curves in drawn.items():
            if found := _offsets(curves, interval):
                offsets[algorithm if variant == DEFAULT else variant] = found
                shown += curves
        first = [offset for parts in offsets.values() for offset, _ in parts]
        if first and np.ptp(first) > _OFFSET * interval:
            mixed = ", ".join(name for name, parts in offsets.items() if len(parts) > 1)
            yield Finding(
                "warning",
                cell,
                shown,
                "steps after the grid: "
                + ", ".join(f"{name} {_in_words(parts)}" for name, parts in offsets.items()),
                "the methods' step 0 is not the same"
                + (f"; {mixed} joins runs of different set-ups" if mixed else ""),
                size=float(np.ptp(first)),
                offsets=offsets,
            )


def _sorted_by_cell(release: Release) -> Iterator[Curve]:
    return (curve for curves in release.cells.values() for curve in curves)


def _by_panel(release: Release) -> Iterator[tuple[Cell, dict[tuple[str, str], list[Curve]]]]:
    """Per panel of a figure: the cell that stands for it, and the curves of each method in it."""
    panels: dict[Cell, dict[tuple[str, str], list[Curve]]] = {}
    for cell, panel, curves in release.drawn_together():
        variant = panel if panel != "main" else DEFAULT
        methods = panels.setdefault(Cell(cell.map, "several", variant, cell.metric), {})
        methods[cell[1:3]] = curves
    yield from panels.items()


def _in_words(offsets: list[tuple[int, float]]) -> str:
    if len(offsets) == 1:
        return str(offsets[0][0])
    return " and ".join(f"{offset} ({share:.0%})" for offset, share in offsets)


def _offsets(curves: list[Curve], interval: int) -> list[tuple[int, float]]:
    """How far after multiples of the interval a cell's evaluations begin.

    Returns:
        Smallest offset and share of evaluations of each group of offsets; nothing where the
        evaluations do not follow the grid.
    """
    steps = np.concatenate([curve.steps for curve in curves])
    late = np.sort(steps[steps >= interval] % interval)
    if not len(late) or np.mean(late < _ANCHORED * interval) < 0.98:
        return []
    late = late[late < _ANCHORED * interval]
    breaks = np.flatnonzero(np.diff(late) > _GAP * interval) + 1
    groups = [group for group in np.split(late, breaks) if len(group) >= 0.05 * len(late)]
    return [(int(group[0]), len(group) / len(late)) for group in groups]


def visible_runs(curves: list[Curve], release: Release, cell: Cell) -> list[tuple[int, int]]:
    """How many runs a cell shows: (step, number) per evaluation until the end of the figure.

    A group hides runs that agree at one step, so the largest number nearby is taken.
    """
    interval, reach = release.source.interval, _STEADY // 2
    grid = np.arange(0, release.end(cell.map) // interval + 1)
    total = np.zeros(len(grid), int)
    for curve in curves:
        if curve.kind == "group":
            shown = {number: len(v) for number, v in per_evaluation(curve, interval).items()}
            seen = [shown.get(number, 0) for number in grid]
            total += [max(seen[max(0, i - reach) : i + reach + 1]) for i in range(len(grid))]
        else:
            total += grid * interval <= curve.steps.max() + interval
    return [(int(number * interval), int(n)) for number, n in zip(grid, total, strict=True)]


def _changes(counts: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Steps at which the number of runs changes for good, and the number from there on."""
    before = None
    for index, (step, n) in enumerate(counts):
        if n != before and {later for _, later in counts[index : index + _STEADY]} == {n}:
            yield step, n
            before = n
