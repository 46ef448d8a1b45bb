"""A picture of one claim: the difference between two methods on each map, by set of numbers."""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis import figures, labels, plots
from benchmark.published.judgement import WIDEST

CAPTION = (
    "Final test win rates, difference per map, with Welch's intervals and Holm's correction over"
    " the methods on a map; bars are cut off where they leave the picture."
)
_LOOKS = (("#777777", "s"), ("#D55E00", "o"), ("#0072B2", "^"), ("#009E73", "D"))
_ROW = 0.34  #: inches per map
_LIMITS = (-0.65, 1.0)  #: of the picture; longer bars are cut off


def draw(judged: pd.DataFrame, claim: str, right: str) -> Figure | None:
    """Draws the comparisons of a claim with one method; None where there is none.

    Args:
        judged: rows of ``judgement.COLUMNS``.
        claim: a claim that is judged per map.
        right: the method on its right side.
    """
    rows = judged[(judged["claim"] == claim) & (judged["right"] == right)]
    rows = rows[(rows["data"] != WIDEST) & rows["difference"].notna()]
    if rows.empty:
        return None
    maps = sorted(rows["place"].unique(), key=labels.map_order)
    sets = list(rows["data"].unique())
    plots.style()
    figure = Figure(figsize=(plots.WIDTH, 0.6 + _ROW * len(maps)))
    axes = figure.subplots()
    for number, (name, (colour, marker)) in enumerate(zip(sets, _LOOKS, strict=False)):
        shift = (number - (len(sets) - 1) / 2) * 0.24
        part = rows[rows["data"] == name]
        height = [maps.index(map) + shift for map in part["place"]]
        low, high = part["low"].clip(*_LIMITS), part["high"].clip(*_LIMITS)
        axes.hlines(height, low, high, color=colour, linewidth=2, alpha=0.5)
        axes.plot(part["difference"], height, marker, color=colour, markersize=3.5, label=name)
    axes.axvline(0, color="#777777", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(range(len(maps)), maps)
    axes.set_ylim(len(maps) - 0.4, -0.6)
    axes.set_xlim(*_LIMITS)
    left = labels.label(rows["left"].iloc[0])
    axes.set_xlabel(f"final test win rate: {left} minus {labels.label(right)}")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper center", ncols=len(sets), frameon=False, handletextpad=0.1)
    backends = ", ".join(sorted(map(labels.played_by, rows["backend"].unique())))
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()  # the layout needs a second pass to see the long names
    return figures.finish(figure, f"{CAPTION} Source: {backends}.")
