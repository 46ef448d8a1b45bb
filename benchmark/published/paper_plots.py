"""The published curves as their authors' notebook draws them (R3DM's plt.ipynb).

Described, not copied. Two ways, by method:

* R3DM, ACORM and QMIX (wandb files): all columns but the step are taken for values, so the extremes
  are pooled with the runs. A value is the mean over a window of the last 25 rows, the spread their
  population standard deviation; both are then smoothed by a centred mean over 7 rows.
* The others (one TensorBoard file per run): files are averaged row by row, steps too, as far as the
  shortest file goes. The spread is the population standard deviation, except that the first file
  has been overwritten by the mean by then, and counts as being it. Then the same mean over 7 rows.

The band is 0.75 of that spread to each side. Which file is first depends on the file system.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.published.release import Curve

POOL = 25  #: rows
SMOOTH = 7  #: rows
BAND = 0.75  #: of the standard deviation


class Drawn(NamedTuple):
    """A curve as drawn."""

    steps: np.ndarray  #: [N]
    value: np.ndarray  #: [N]
    spread: np.ndarray  #: [N] standard deviation

    @property
    def low(self) -> np.ndarray:
        """Lower edge of the band."""
        return self.value - BAND * self.spread

    @property
    def high(self) -> np.ndarray:
        """Upper edge of the band."""
        return self.value + BAND * self.spread

    def until(self, step: float) -> "Drawn":
        """The curve up to a step."""
        kept = self.steps <= step
        return Drawn(*(array[kept] for array in self))


def draw(curves: list[Curve]) -> Drawn:
    """Draws the curves of one method on one map, as one figure shows them."""
    if np.isfinite(curves[0].low).any():
        first = curves[0].file  # the notebook takes the first file and no other
        return pooled([curve for curve in curves if curve.file == first])
    return row_by_row(curves)


def pooled(curves: list[Curve], extremes: bool = True) -> Drawn:
    """Draws the columns of one wandb file.

    Args:
        extremes: take minimum and maximum for values too, as the notebook does.
    """
    rows = np.concatenate([curve.rows for curve in curves])
    steps = np.concatenate([curve.steps for curve in curves])
    columns = ("value", "low", "high") if extremes else ("value",)
    values = np.array(
        [np.concatenate([getattr(curve, name) for curve in curves]) for name in columns]
    )
    number, place = np.unique(rows, return_inverse=True)
    sums = [np.bincount(place, np.nansum(values**power, axis=0), len(number)) for power in (1, 2)]
    count = np.bincount(place, np.isfinite(values).sum(axis=0), len(number))
    # a row of the file in which no column has a value still takes a place in the window
    full = pd.RangeIndex(number[0], number[-1] + 1)
    total, squares, n = (
        pd.Series(of_row, number).reindex(full, fill_value=0).rolling(POOL, min_periods=1).sum()
        for of_row in (*sums, count)
    )
    mean = (total / n)[number].to_numpy()
    variance = np.maximum((squares / n)[number].to_numpy() - mean**2, 0)
    at = np.zeros(len(number), steps.dtype)
    at[place] = steps
    return Drawn(at, _smooth(mean), _smooth(np.sqrt(variance)))


def row_by_row(runs: list[Curve]) -> Drawn:
    """Draws runs that have a file each."""
    if len(runs) == 1:
        only = runs[0]
        return Drawn(only.steps, only.value, np.zeros(len(only.value)))
    length = min(len(run.value) for run in runs)
    steps = np.mean([run.steps[:length] for run in runs], axis=0)
    values = np.array([run.value[:length] for run in runs])
    mean = values.mean(axis=0)
    squares = (values[1:] - mean) ** 2  # the first file's deviation is lost
    return Drawn(steps, _smooth(mean), _smooth(np.sqrt(squares.sum(axis=0) / len(runs))))


def difference_by_extremes(curves: list[Curve]) -> tuple[float, float]:
    """The most by which pooling the extremes moves the drawn mean, and the drawn spread."""
    by_file: dict[str, list[Curve]] = {}
    for curve in curves:
        by_file.setdefault(curve.file, []).append(curve)
    pairs = [(pooled(found), pooled(found, extremes=False)) for found in by_file.values()]
    value = max(float(np.abs(a.value - b.value).max()) for a, b in pairs)
    return value, max(float(np.abs(a.spread - b.spread).max()) for a, b in pairs)


def _smooth(values: np.ndarray) -> np.ndarray:
    return pd.Series(values).rolling(SMOOTH, min_periods=1, center=True).mean().to_numpy()
