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

import numpy as np
import pandas as pd

from benchmark.published.release import Curve

POOL = 25  #: rows
SMOOTH = 7  #: rows
BAND = 0.75  #: of the standard deviation


def draw(curves: list[Curve], end: float = np.inf) -> pd.DataFrame:
    """The curve of one method on one map, as one figure shows it: step, mean, spread, low, high.

    Args:
        curves: that the figure draws.
        end: env step at which the figure ends.
    """
    if np.isfinite(curves[0].low).any():
        first = curves[0].file  # the notebook takes the first file and no other
        drawn = pooled([curve for curve in curves if curve.file == first])
    else:
        drawn = row_by_row(curves)
    band = BAND * drawn["spread"]
    drawn = drawn.assign(low=drawn["mean"] - band, high=drawn["mean"] + band)
    return drawn[drawn["step"] <= end]


def pooled(curves: list[Curve], extremes: bool = True) -> pd.DataFrame:
    """Step, mean and spread of the columns of one wandb file.

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
    return _smoothed(at, mean, np.sqrt(variance))


def row_by_row(runs: list[Curve]) -> pd.DataFrame:
    """Step, mean and spread of runs that have a file each."""
    if len(runs) == 1:
        return pd.DataFrame({"step": runs[0].steps, "mean": runs[0].value, "spread": 0.0})
    length = min(len(run.value) for run in runs)
    steps = np.mean([run.steps[:length] for run in runs], axis=0)
    values = np.array([run.value[:length] for run in runs])
    mean = values.mean(axis=0)
    squares = (values[1:] - mean) ** 2  # the first file's deviation is lost
    return _smoothed(steps, mean, np.sqrt(squares.sum(axis=0) / len(runs)))


def _smoothed(steps: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> pd.DataFrame:
    smoothed = pd.DataFrame({"mean": mean, "spread": spread}).rolling(
        SMOOTH, min_periods=1, center=True
    )
    return smoothed.mean().assign(step=steps)


def difference_by_extremes(curves: list[Curve]) -> tuple[float, float]:
    """The most by which pooling the extremes moves the drawn mean, and the drawn spread."""
    by_file: dict[str, list[Curve]] = {}
    for curve in curves:
        by_file.setdefault(curve.file, []).append(curve)
    moved = [(pooled(found) - pooled(found, extremes=False)).abs() for found in by_file.values()]
    mean = max(float(part["mean"].max()) for part in moved)
    return mean, max(float(part["spread"].max()) for part in moved)
