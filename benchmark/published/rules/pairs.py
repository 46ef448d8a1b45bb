"""Win rate and return of the same runs, put side by side."""

from collections.abc import Iterator

import numpy as np

from benchmark.analysis import labels
from benchmark.published.findings import Finding
from benchmark.published.release import Release
from benchmark.published.table import Cell, Series

SCALE = 1.15  #: ratio of returns at equal win rates above which runs have different scales
_SHARED = 0.98  #: share of steps that two logs of the same runs have in common
_MOVES = 0.05  #: standard deviation of a win rate that tells its slope


def metrics_of_other_runs(release: Release) -> Iterator[Finding]:
    """Finds cells whose win rates and returns do not come from the same runs.

    Both are logged at the same steps by the same evaluation; steps that only one of them has belong
    to runs that only one of the two figures shows.
    """
    for cell, wins, returns in _both(release):
        pairs = [(w, r) for w in wins for r in returns if _comparable(w, r)]
        for won, earned in pairs:
            ours, theirs = set(won.steps.tolist()), set(earned.steps.tolist())
            common = len(ours & theirs)
            if common < _SHARED * max(len(ours), len(theirs)):
                yield Finding(
                    "warning",
                    cell._replace(metric="return"),
                    (earned, won),
                    f"{len(theirs)} steps with a return, {len(ours)} with a win rate,"
                    f" {common} in common{_runs(won, earned, common, release.source.interval)}",
                    "the figures of win rate and return show different runs",
                )


def return_scale(release: Release) -> Iterator[Finding]:
    """Finds runs whose returns have different scales.

    SMACv2's client scales rewards by the first team that a process draws (docs/fidelity.md), so a
    run's returns come in a unit of its own. It shows as different returns at equal win rates.
    """
    for cell, wins, returns in _both(release):
        pairs = [(w, r) for w in wins for r in returns if _same_run(w, r)]
        levels = [_return_at(w.value, r.value, 0.3) for w, r in pairs]
        levels = [level for level in levels if level is not None]
        if len(levels) > 1 and max(levels) > SCALE * min(levels):
            yield Finding(
                "warning",
                cell._replace(metric="return"),
                tuple(each for pair in pairs for each in reversed(pair)),
                "at a win rate of 0.3 the runs' returns are "
                + ", ".join(f"{level:.1f}" for level in sorted(levels)),
                f"returns differ by a factor of {max(levels) / min(levels):.2f} without any"
                " difference in winning",
                size=max(levels) / min(levels),
            )


def _both(release: Release) -> Iterator[tuple[Cell, list[Series], list[Series]]]:
    """Cells that have both metrics."""
    for cell, wins in release.cells.items():
        returns = release.cells.get(cell._replace(metric="return"), [])
        if cell.metric == "win_rate" and returns:
            main = wins[0].panel
            yield cell, [each for each in wins if each.panel == main], returns


def _comparable(won: Series, earned: Series) -> bool:
    return won.kind == earned.kind and won.seed == earned.seed


def _same_run(won: Series, earned: Series) -> bool:
    return won.kind == "run" and won.seed == earned.seed and np.array_equal(won.steps, earned.steps)


def _runs(won: Series, earned: Series, common: int, interval: int) -> str:
    """In words, how many runs only one of the two shows."""
    if won.kind == "run":
        return " (not one run)" if not common else ""
    per_run = len({step // interval for step in earned.steps.tolist()})
    only = round((len(earned.steps) - common) / per_run)
    alone = round((len(won.steps) - common) / per_run)
    return (
        f": about {labels.count([only], 'run')} with a return only,"
        f" about {labels.count([alone], 'run')} with a win rate only"
    )


def _return_at(win_rate: np.ndarray, returns: np.ndarray, level: float) -> float | None:
    """A run's return at a win rate, on its own straight line."""
    if np.std(win_rate) < _MOVES:
        return None
    slope, start = np.polyfit(win_rate, returns, 1)
    return float(start + slope * level)
