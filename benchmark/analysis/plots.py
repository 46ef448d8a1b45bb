"""How every kind of figure is drawn; ``figures`` says which ones a study gets, and their files.

Every function takes rows of one statistic, the algorithms in their order and the page that the
figure is for. Bands and bars are 95 % bootstrap intervals.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.analysis import labels
from benchmark.analysis.labels import PlotStyle

WIDTH = 3.25  #: inches, one column of a paper


class Page(NamedTuple):
    """What a figure is made for."""

    width: float = WIDTH  #: of the figure, in inches
    scale: float = 1.0  #: of text, lines and heights; 1 is text of 7 points
    panels: int = 2  #: plots in a row
    names: int = 4  #: in a row of the legend, at most


#: style and width in columns -> page; slides are 13.3 inches wide
PAGES = {
    ("paper", 1): Page(),
    ("paper", 2): Page(6.75, 1.0, 3, 8),
    ("slides", 1): Page(6.2, 1.8, 2),
    ("slides", 2): Page(12.6, 2.0, 3, 8),
}
POINTS = 60  #: at most, along a curve in a small plot
_UP, _DOWN = "\u2191", "\u2193"  #: which way is better
_MARKS = 6  #: markers along a curve
_LAST_TICK = 0.85  #: of the axis: no other tick after this, so that labels do not collide
_ROW = 0.14  #: inches per method in interval plots
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.titlepad": 3,
    "axes.labelsize": 7,
    "axes.labelpad": 2,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.0,
    "lines.markersize": 3,
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.5,
    "text.parse_math": False,  # names come from other people's files: a $ is a $
    "pdf.fonttype": 42,  # fonts embedded as TrueType, which publishers ask for
}


def style(page: Page = PAGES["paper", 1]) -> None:
    """Sets fonts, sizes and lines of all figures."""
    fixed = {"pdf.fonttype", "axes.grid", "text.parse_math"}
    scaled = {
        name: value * page.scale if isinstance(value, int | float) and name not in fixed else value
        for name, value in _STYLE.items()
    }
    sns.set_theme(style="ticks", rc=scaled)


def learning(rows: pd.DataFrame, algorithms: Sequence[str], page: Page) -> Figure:
    """Learning curves of one metric: a plot per map, in the order of ``rows``.

    A small plot cannot show hundreds of points, so a drawn point averages ``window`` of them.
    """
    maps = list(rows["map"].unique())
    columns = min(page.panels, len(maps))
    lines = -(-len(maps) // columns)
    high = page.width / columns * (0.62 if columns > 1 else 0.52)
    figure = Figure(figsize=(page.width, 0.65 * page.scale + high * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for axes in grid[len(maps) :]:
        axes.remove()
    scale, unit_name = unit(rows)
    for axes, map in zip(grid, maps, strict=False):
        of_map = rows[rows["map"] == map]
        found = {labels.plot_style(name): part for name, part in _by_algorithm(of_map, algorithms)}
        curves(axes, found, scale)
        axes.set_title(map)
        steps_axis(axes, of_map["step"].max(), scale)
        if map in maps[-columns:]:  # the lowest plot of its column
            axes.set_xlabel(f"env steps ({unit_name})")
    metric = rows["metric"].iloc[0]
    if metric == "win_rate":
        axes.set_ylim(-0.03, 1.03)
    figure.supylabel(f"test {labels.METRICS[metric]}", fontsize=7 * page.scale)
    drawn = set(rows["algorithm"])  # on these maps: the study may have more
    legend(figure, [name for name in algorithms if name in drawn], page.names)
    return figure


def curves(axes: Axes, rows: dict[PlotStyle, pd.DataFrame], scale: float) -> None:
    """Thinned curves over env steps in units of ``scale``, the last one on top."""
    longest = max(map(window, rows.values()), default=1)
    for style, curve in rows.items():
        thinned = _averaged(curve, longest)
        _curve(axes, style, thinned["step"] / scale, thinned)


def window(curve: pd.DataFrame) -> int:
    """How many evaluations one point averages, so that a curve has at most ``POINTS``."""
    return -(-curve["step"].nunique() // POINTS)


def _averaged(curve: pd.DataFrame, window: int) -> pd.DataFrame:
    """Means of consecutive rows, counted from the end. Of bounds too, which is conservative."""
    group = (np.arange(len(curve)) - len(curve)) // window
    return curve[["step", "value", "low", "high"]].groupby(group).mean()


def efficiency(rows: pd.DataFrame, algorithms: Sequence[str], page: Page) -> Figure:
    """The IQM of the win rate over steps."""
    figure, axes = _single(page)
    scale, unit_name = unit(rows)
    for name, curve in _by_algorithm(rows, algorithms):
        _curve(axes, labels.plot_style(name), curve["step"] / scale, curve)
    steps_axis(axes, rows["step"].max(), scale)
    axes.set(xlabel=f"env steps ({unit_name})", ylabel="IQM of test win rate", ylim=(-0.03, 1.03))
    legend(figure, algorithms, page.names)
    return figure


def profiles(rows: pd.DataFrame, algorithms: Sequence[str], page: Page) -> Figure:
    """The share of runs above each win rate."""
    figure, axes = _single(page)
    for name, curve in _by_algorithm(rows, algorithms):
        _curve(axes, labels.plot_style(name), curve["threshold"], curve)
    axes.set_xlabel(r"win rate $\tau$", parse_math=True)
    axes.set_ylabel(r"share of runs above $\tau$", parse_math=True)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03))
    legend(figure, algorithms, page.names)
    return figure


def aggregate(rows: pd.DataFrame, algorithms: Sequence[str], page: Page) -> Figure:
    """The four aggregate metrics: one plot per metric, one line per method."""
    figure = Figure(figsize=(page.width, 2 * page.scale * (0.55 + _ROW * len(algorithms))))
    grid = figure.subplots(2, 2, sharey=True, sharex=True)
    for axes, metric in zip(grid.flat, labels.AGGREGATES, strict=True):
        of_metric = rows[rows["metric"] == metric]
        points = dict(_by_algorithm(of_metric, algorithms))
        lines = [(labels.plot_style(name), points.get(name)) for name in algorithms]
        intervals(axes, lines, page.scale)
        better = _DOWN if metric == "optimality_gap" else _UP
        axes.set_title(f"{labels.AGGREGATES[metric]} {better}")
        gap = metric == "optimality_gap"
        axes.set_xlabel("distance to a win rate of 1" if gap else "final test win rate")
        axes.tick_params(axis="x", labelbottom=True)
    axes.set(xlim=(-0.02, 1.02), xticks=(0, 0.25, 0.5, 0.75, 1))
    axes.xaxis.set_major_formatter("{x:g}")
    return figure


def improvement(rows: pd.DataFrame, algorithms: Sequence[str], page: Page) -> Figure:
    """The probability that the first method beats each of the others."""
    first, *others = algorithms
    figure = Figure(figsize=(page.width, page.scale * (0.55 + _ROW * max(len(others), 2))))
    axes = figure.subplots()
    pairs = {
        name: rows[(rows["algorithm_x"] == first) & (rows["algorithm_y"] == name)]
        for name in others
    }
    lines = [(labels.plot_style(name), pair) for name, pair in pairs.items()]
    intervals(axes, lines, page.scale)
    axes.axvline(0.5, color="#777777", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    axes.set(xlim=(-0.02, 1.02), xlabel=f"P({labels.label(first)} > method)")
    return figure


def _single(page: Page) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(page.width, 2.35 * page.scale))
    return figure, figure.subplots()


def _by_algorithm(
    rows: pd.DataFrame, algorithms: Sequence[str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each algorithm that has some, least important first: the first one is on top."""
    for name in reversed(algorithms):
        part = rows[rows["algorithm"] == name]
        if len(part):
            yield name, part


def unit(rows: pd.DataFrame) -> tuple[float, str]:
    """What env steps are divided by on an axis, and its name."""
    millions = len(rows) and rows["step"].max() >= 1e6
    return (1e6, "millions") if millions else (1e3, "thousands")


def steps_axis(axes: Axes, last: float, scale: float) -> None:
    """Env steps from 0 to the last one, which has a tick, in units of ``scale``; 1 without any."""
    last = last / scale if last > 0 else 1.0  # without rows the last one is NaN
    ticks = np.asarray(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0, last))
    axes.set_xlim(0, last)
    axes.set_xticks([*ticks[ticks < _LAST_TICK * last], last])
    axes.xaxis.set_major_formatter("{x:g}")


def _curve(axes: Axes, style: PlotStyle, x: pd.Series, curve: pd.DataFrame) -> None:
    # Markers of different methods do not coincide.
    offset = len(x) // _MARKS * (sum(style.name.encode()) % 10) // 10
    axes.plot(
        x,
        curve["value"],
        color=style.colour,
        marker=style.marker,
        markevery=(offset, max(1, len(x) // _MARKS)),
        markeredgewidth=0,
        clip_on=False,
    )
    axes.fill_between(x, curve["low"], curve["high"], color=style.colour, alpha=0.18, linewidth=0)


def intervals(
    axes: Axes, lines: list[tuple[PlotStyle, pd.DataFrame | None]], scale: float = 1.0
) -> None:
    """One line per method: a marker on the value of its row, a bar over the interval."""
    for height, (style, row) in enumerate(lines):
        if row is None or row.empty:
            continue
        value, low, high = row.iloc[0][["value", "low", "high"]]
        bar: dict[str, Any] = {"linewidth": 3 * scale, "alpha": 0.4, "solid_capstyle": "butt"}
        axes.plot([low, high], [height, height], color=style.colour, **bar)
        marker: dict[str, Any] = {
            "marker": style.marker,
            "markersize": 4 * scale,
            "markeredgewidth": 0,
        }
        axes.plot(value, height, color=style.colour, linestyle="", **marker)
    axes.set_yticks(range(len(lines)), [style.name for style, _ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def legend(figure: Figure, algorithms: Sequence[str], columns: int = 4) -> None:
    """A line per algorithm above the plots."""
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markeredgewidth=0, label=style.name)
        for style in map(labels.plot_style, algorithms)
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(len(handles), columns),
        frameon=False,
        handlelength=1.6,
        columnspacing=1.2,
        borderaxespad=0,
        labelspacing=0.3,
    )


def nothing(figure: Figure, reason: str) -> None:
    """Says across a figure why it is empty."""
    figure.text(
        0.5, 0.6, reason, ha="center", va="center", color="#555555", backgroundcolor="white"
    )
