"""The published curves, drawn by the notebook's steps: against plain loops over the same steps."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.published import paper_plots
from tests.published import releases


def smoothed(values):
    """A centred mean over seven rows, over fewer at the ends."""
    return [np.mean(values[max(0, i - 3) : i + 4]) for i in range(len(values))]


def pooled_plainly(columns: list[np.ndarray]):
    """Mean and standard deviation of all numbers in the last 25 rows, row by row, then smoothed."""
    table = np.array(columns).T  # [rows, columns], NaN where a cell is empty
    means, spreads = [], []
    for row in range(len(table)):
        window = table[max(0, row - 24) : row + 1]
        window = window[np.isfinite(window)]
        means.append(window.mean())
        spreads.append(window.std())
    return smoothed(means), smoothed(spreads)


def test_groups_are_pooled_with_their_extremes():
    group = releases.group([releases.run(seed=seed) for seed in range(4)])
    drawn = paper_plots.draw([group])
    means, spreads = pooled_plainly([group.value, group.low, group.high])
    assert drawn["step"].tolist() == group.steps.tolist()
    assert drawn["mean"].to_numpy() == pytest.approx(means)
    assert drawn["spread"].to_numpy() == pytest.approx(spreads, abs=1e-9)
    assert (drawn["high"] - drawn["low"]).to_numpy() == pytest.approx(
        1.5 * np.array(spreads), abs=1e-9
    )


def test_columns_of_one_file_are_pooled():
    """Runs with values in different rows: an empty cell is no value, its row still counts."""
    runs, columns = [], []
    for seed in range(3):
        one = releases.run(seed=seed)
        rows = np.arange(len(one.value)) * 3 + seed
        same = {"low": one.value, "high": one.value, "rows": rows, "file": "runs.csv"}
        runs.append(replace(one, steps=rows * 100, **same))
        column = np.full(3 * len(one.value), np.nan)
        column[rows] = one.value
        columns += [column] * 3
    drawn = paper_plots.draw(runs)
    means, spreads = pooled_plainly(columns)
    assert drawn["step"].tolist() == [100 * row for row in range(len(means))]
    assert drawn["mean"].to_numpy() == pytest.approx(means)
    assert drawn["spread"].to_numpy() == pytest.approx(spreads, abs=1e-9)


def test_only_the_first_file_of_a_pooled_method_is_drawn():
    one = releases.group([releases.run(seed=seed) for seed in range(3)])
    other = replace(one, file="another.csv", value=one.value * 0)
    assert paper_plots.draw([one, other])["mean"].equals(paper_plots.draw([one])["mean"])


def test_files_are_averaged_row_by_row_without_the_first_deviation():
    runs = [releases.run(seed=seed, points=61 - seed) for seed in range(4)]
    drawn = paper_plots.draw(runs)
    values = np.array([curve.value[:58] for curve in runs])
    mean = values.mean(axis=0)
    lost = np.sqrt(((values[1:] - mean) ** 2).sum(axis=0) / 4)
    assert len(drawn["step"]) == 58
    assert drawn["step"].to_numpy() == pytest.approx(
        np.mean([curve.steps[:58] for curve in runs], axis=0)
    )
    assert drawn["mean"].to_numpy() == pytest.approx(smoothed(mean))
    assert drawn["spread"].to_numpy() == pytest.approx(smoothed(lost))
    assert (drawn["spread"] <= np.array(smoothed(values.std(axis=0))) + 1e-12).all()


def test_one_file_is_drawn_as_it_is():
    one = releases.run()
    drawn = paper_plots.draw([one])
    assert drawn["mean"].tolist() == one.value.tolist()
    assert not drawn["spread"].any()


def test_curves_are_cut_at_the_figures_end():
    drawn = paper_plots.draw([releases.run()], end=300_000)
    assert drawn["step"].max() <= 300_000


def test_what_the_extremes_change():
    apart = [releases.run(seed=seed, late=40) for seed in range(3)]
    together = [releases.run(seed=seed, late=1) for seed in range(3)]
    mean, spread = paper_plots.difference_by_extremes([releases.group(together)])
    assert mean > 0.001
    assert spread > 0.001
    assert paper_plots.difference_by_extremes([releases.group(apart)])[1] < spread
