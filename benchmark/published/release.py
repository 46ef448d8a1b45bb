"""A release as the audit and the claim tests see it: its curves by map, method and metric."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from benchmark.published.formats import Problem
from benchmark.published.sources import Source

_EPISODES = 400  #: the most episodes per evaluation that are looked for
_INTERIOR = 8  #: so many win rates between 0 and 1 show what they are multiples of
_CLEAR = 0.9  #: share of values on a grid that shows it
_MOSTLY = 0.5  #: share of values on a known grid; gaps may be filled, chance gives a tenth


class Cell(NamedTuple):
    """What is compared: one method on one map by one metric."""

    map: str
    algorithm: str
    variant: str
    metric: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, eq=False)  # compared by identity: it holds arrays
class Curve:
    """A run, or a group of runs whose identities are lost; all arrays are [N]."""

    cell: Cell
    kind: str  #: "run" or "group"
    seed: int | None
    panel: str  #: the published figure that draws it
    tag: str  #: what the release calls the number
    file: str
    column: str
    steps: np.ndarray  #: int, as in the file
    value: np.ndarray
    low: np.ndarray  #: lowest of the runs; NaN where there is none
    high: np.ndarray
    rows: np.ndarray  #: row of the file
    wall: np.ndarray  #: seconds since 1970, NaN where unknown

    @property
    def name(self) -> str:
        """The file, with the column where the file holds several."""
        return self.file if self.column in ("Value", "array") else f"{self.file}:{self.column}"

    def between(self, after: float, until: float) -> "Curve":
        """The evaluations with ``after < step <= until``."""
        return self.only((self.steps > after) & (self.steps <= until))

    def only(self, which: np.ndarray) -> "Curve":
        """The evaluations where ``which`` [N] is true."""
        arrays = ("steps", "value", "low", "high", "rows", "wall")
        return replace(self, **{name: getattr(self, name)[which] for name in arrays})

    @cached_property
    def interior(self) -> np.ndarray:
        """Win rates strictly between 0 and 1 of a single run at a time: they show the grid."""
        if self.cell.metric != "win_rate":
            return np.array([])
        values = self.value[np.isnan(self.low) | (self.low == self.high)]
        return values[(values > 0) & (values < 1)]

    @property
    def shows_grid(self) -> bool:
        """Whether there are enough values between 0 and 1 to find what they are multiples of."""
        return len(self.interior) >= _INTERIOR

    def share_on_grid(self, n: int) -> float:
        """The share of ``interior`` that are win rates of n episodes."""
        return float(np.mean(~off_grid(self.interior, n)))

    def on_grid(self, n: int) -> bool:
        """Whether the values are win rates of n episodes, but for stretches that were filled."""
        return self.share_on_grid(n) >= _MOSTLY


@dataclass(frozen=True)
class Release:
    """Curves of one source."""

    source: Source
    curves: list[Curve]
    digests: dict[str, str] = field(default_factory=dict)  #: file -> sha256
    problems: list[Problem] = field(default_factory=list)  #: what could not be read

    @cached_property
    def cells(self) -> dict[Cell, list[Curve]]:
        """The curves of each cell, by map, method and metric, sorted."""
        found: dict[Cell, list[Curve]] = {}
        for curve in self.curves:
            found.setdefault(curve.cell, []).append(curve)
        return dict(sorted(found.items()))

    @cached_property
    def episodes(self) -> int | None:
        """Episodes per evaluation, from what most curves are multiples of; None if none is."""
        grids = Counter(grid for curve in self.curves if (grid := _grid(curve)) is not None)
        return max(grids, key=lambda n: (grids[n], n)) if grids else None

    def end(self, map: str) -> int:
        """The env step at which the published curves of a map end."""
        if map in self.source.ends:
            return self.source.ends[map]
        return max((int(c.steps.max()) for c in self.curves if c.cell.map == map), default=0)

    def drawn_together(self) -> Iterator[tuple[Cell, str, list[Curve]]]:
        """The curves of each cell that one figure draws: cell, panel, curves."""
        for cell, curves in self.cells.items():
            for panel in dict.fromkeys(curve.panel for curve in curves):
                yield cell, panel, [curve for curve in curves if curve.panel == panel]

    def both_metrics(self) -> Iterator[tuple[Cell, list[Curve], list[Curve]]]:
        """Cells of win rates that have returns too: cell, curves of win rates and of returns."""
        for cell, wins in self.cells.items():
            returns = self.cells.get(cell._replace(metric="return"), [])
            if cell.metric == "win_rate" and returns:
                yield cell, [win for win in wins if win.panel == wins[0].panel], returns


def off_grid(values: np.ndarray, n: int) -> np.ndarray:
    """Where values are no multiples of 1/n; the tolerance allows for numbers printed short."""
    with np.errstate(invalid="ignore"):  # an infinite value is on no grid, and said elsewhere
        return np.abs(values * n - np.round(values * n)) > 1e-3


def _grid(curve: Curve) -> int | None:
    """The smallest n of which a curve's values are multiples of 1/n."""
    if not curve.shows_grid:
        return None
    return next((n for n in range(2, _EPISODES + 1) if curve.share_on_grid(n) >= _CLEAR), None)
