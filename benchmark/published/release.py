"""A release as the audit and the judgement see it: its curves by cell, how they were measured."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from benchmark.published import table
from benchmark.published.intake import Imported
from benchmark.published.sources import Source
from benchmark.published.table import Cell, Series

EPISODES = 400  #: the most episodes per evaluation that are looked for

_INTERIOR = 8  #: so many win rates between 0 and 1 tell what they are multiples of
_CLEAR = 0.9  #: share of values on a grid that shows it
_MOSTLY = 0.5  #: share of values on a known grid; gaps may be filled, chance gives a tenth


@dataclass(frozen=True)
class Release:
    """Curves of one source."""

    source: Source
    series: list[Series]
    digests: dict[str, str] = field(default_factory=dict)  #: file -> sha256

    @cached_property
    def cells(self) -> dict[Cell, list[Series]]:
        """The curves of each cell, by map, method and metric, sorted."""
        found: dict[Cell, list[Series]] = {}
        for each in self.series:
            found.setdefault(each.cell, []).append(each)
        return dict(sorted(found.items()))

    @cached_property
    def episodes(self) -> int | None:
        """Episodes per evaluation, from what most curves are multiples of; None if none is."""
        grids = Counter(grid for each in self.series if (grid := _grid(interior(each))) is not None)
        return max(grids, key=lambda n: (grids[n], n)) if grids else None

    def end(self, map: str) -> int | None:
        """The env step at which the published curves of a map end."""
        if map in self.source.ends:
            return self.source.ends[map]
        return max((int(s.steps.max()) for s in self.series if s.cell.map == map), default=None)


def of_import(imported: Imported) -> Release:
    """The release that an import holds."""
    digests = dict(zip(imported.files["file"], imported.files["sha256"], strict=True))
    return Release(imported.source, table.series(imported.evaluations), digests)


def drawn_together(release: Release) -> Iterator[tuple[Cell, str, list[Series]]]:
    """The curves of each cell that one figure draws: cell, panel, curves."""
    for cell, series in release.cells.items():
        for panel in dict.fromkeys(each.panel for each in series):
            yield cell, panel, [each for each in series if each.panel == panel]


def interior(series: Series) -> np.ndarray:
    """Win rates strictly between 0 and 1 of a single run at a time: they show the grid."""
    if series.cell.metric != "win_rate":
        return np.array([])
    single = np.isnan(series.low) | (series.low == series.high)
    values = series.value[single]
    return values[(values > 0) & (values < 1)]


def tells_grid(values: np.ndarray) -> bool:
    """Whether there are enough values to tell a grid."""
    return len(values) >= _INTERIOR


def off_grid(values: np.ndarray, n: int) -> np.ndarray:
    """Where values are no multiples of 1/n; the tolerance allows for numbers printed short."""
    return np.abs(values * n - np.round(values * n)) > 1e-3


def on_grid(values: np.ndarray, n: int) -> bool:
    """Whether values are win rates of n episodes, but for stretches that somebody filled."""
    return float(np.mean(~off_grid(values, n))) >= _MOSTLY


def _grid(values: np.ndarray) -> int | None:
    """The smallest n of which values are multiples of 1/n."""
    if not tells_grid(values):
        return None
    shares = (float(np.mean(~off_grid(values, n))) for n in range(2, EPISODES + 1))
    return next((n for n, share in enumerate(shares, start=2) if share >= _CLEAR), None)
