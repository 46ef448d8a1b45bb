"""The paper's figures twice: as their authors drew them, and from cleaned data, side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.analysis import figures, labels, plots
from benchmark.errors import BenchmarkError
from benchmark.published import notebook
from benchmark.published.audit import Audit
from benchmark.published.claims import Method
from benchmark.published.release import Release
from benchmark.published.runs import WINDOW, Measurement, estimate, scores
from benchmark.published.sources import PaperFigure, Source
from benchmark.published.table import Cell, Series
from benchmark.training.config import DEFAULT

CAPTION = (
    "as published, drawn as the authors' notebook draws the files (pooled, smoothed, band 0.75"
    f" standard deviations), and cleaned, mean over runs per {WINDOW:,} env steps with 95 % Student"
    " interval."
)
WIDTH = 6.75  #: inches, both columns of a page
_ROW = 1.3  #: inches per row of panels
_VARIANTS = ("#882255", "#332288", "#117733", "#999933", "#661100")
_MARKERS = ("s", "D", "v", "P", "X")
_MARKS = 5  #: along a curve
_BAND = 0.14  #: opacity


class Curve(NamedTuple):
    """A mean curve with its band; all arrays are [N]."""

    step: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray  #: runs behind each point


def mean_curve(series: list[Series], end: int, how: Measurement, width: int = WINDOW) -> Curve:
    """Means over runs, each over ``width`` env steps, with Student intervals.

    Args:
        series: the curves of one cell.
        end: env step at which the curve ends.
    """
    rows = []
    for until in range(width, end + 1, width):
        found = scores(series, until, how._replace(window=width))
        if len(found.value):
            about = estimate(found.value, series[0].cell.metric)
            rows.append((until, about.mean, about.low, about.high, about.n))
    if not rows:
        return Curve(*(np.array([]) for _ in Curve._fields))
    return Curve(*np.array(rows, float).T)


def drawn_curve(series: list[Series], end: int) -> Curve:
    """A curve as the authors' notebook draws it."""
    drawn = notebook.draw(series).until(end)
    n = np.full(len(drawn.steps), np.nan)
    return Curve(drawn.steps.astype(float), drawn.value, drawn.low, drawn.high, n)


def panel_series(release: Release, map: str, metric: str, panel: str) -> dict[Method, list[Series]]:
    """The curves that one panel of a published figure draws, by method, in our order."""
    found: dict[Method, list[Series]] = {}
    for each in release.series:
        if (each.cell.map, each.cell.metric, each.panel) == (map, metric, panel):
            method = Method(each.cell.algorithm, each.cell.variant)
            found.setdefault(method, []).append(each)
    return dict(sorted(found.items(), key=_order))


def _order(item: tuple[Method, list[Series]]) -> tuple:
    (algorithm, variant), _ = item
    number = int("".join(filter(str.isdigit, variant)) or 0)
    return labels.order(algorithm), variant != DEFAULT, number, variant


def draw(found: Audit) -> Iterator[tuple[str, Figure]]:
    """Draws every figure that the mapping of a release names.

    Raises:
        BenchmarkError: it names none.
    """
    source = found.release.source
    if not source.figures:
        raise BenchmarkError(
            f"the mapping {source.name} names no figures; list them under `figures`"
        )
    cleaned = found.cleaned()
    plots.style()
    for about in source.figures:
        draw_one = _maps_figure if list(about.panels) == ["main"] else _ablation_figure
        figure = draw_one(about, found.release, cleaned)
        yield about.name, figures.finish(figure, f"{about.title}: {CAPTION} {credit(source)}")


def credit(source: Source) -> str:
    """Where numbers come from, in the words that stand on every figure."""
    commit = f" {source.commit[:7]}" if source.commit else ""
    where = labels.source(source.backend, source.protocol)
    return f"Source: {source.title} ({source.origin}{commit}), {where}."


def _maps_figure(about: PaperFigure, release: Release, cleaned: Release) -> Figure:
    """Two panels per map: as published and cleaned; two maps per row."""
    lines = -(-len(about.maps) // 2)
    figure = Figure(figsize=(WIDTH, 0.45 + _ROW * lines))
    grid = figure.subplots(lines, 4, squeeze=False, sharey=about.metric == "win_rate")
    algorithms: dict[str, None] = {}
    for number, map in enumerate(about.maps):
        left, right = grid[number // 2][2 * (number % 2) : 2 * (number % 2) + 2]
        found = panel_series(release, map, about.metric, "main")
        algorithms |= dict.fromkeys(method.algorithm for method in found)
        _both(left, right, found, cleaned, release, map, about.metric)
        left.set_title(f"{map}, as published")
        right.set_title(f"{map}, cleaned")
        if about.metric == "return":
            low = min(left.get_ylim()[0], right.get_ylim()[0])
            high = max(left.get_ylim()[1], right.get_ylim()[1])
            for axes in (left, right):
                axes.set_ylim(low, high)
    for axes in grid[-1]:
        axes.set_xlabel("env steps (millions)")
    for axes in grid.flat[2 * len(about.maps) :]:
        axes.remove()
    figure.supylabel(f"test {labels.METRICS[about.metric]}", fontsize=7)
    ordered = sorted(algorithms, key=labels.order)
    plots.legend(figure, ordered, columns=len(ordered))
    return figure


def _ablation_figure(about: PaperFigure, release: Release, cleaned: Release) -> Figure:
    """A column per ablation: as published above, cleaned below."""
    (map,) = about.maps
    figure = Figure(figsize=(WIDTH, 0.4 + 1.75 * 2))
    grid = figure.subplots(2, len(about.panels), squeeze=False, sharey=True, sharex=True)
    for column, (panel, title) in enumerate(about.panels.items()):
        found = panel_series(release, map, about.metric, panel)
        above, below = grid[:, column]
        _both(above, below, found, cleaned, release, map, about.metric)
        above.set_title(f"{title}, as published")
        below.set_title(f"{title}, cleaned")
        below.set_xlabel("env steps (millions)")
        handles = [
            Line2D(
                [], [], color=look.colour, marker=look.marker, markeredgewidth=0, label=look.name
            )
            for look in _looks(found).values()
        ]
        above.legend(handles=handles, loc="upper left", frameon=False, handlelength=1.6)
    figure.supylabel(f"test {labels.METRICS[about.metric]} on {map}", fontsize=7)
    return figure


def _both(
    left: Axes,
    right: Axes,
    found: dict[Method, list[Series]],
    cleaned: Release,
    release: Release,
    map: str,
    metric: str,
) -> None:
    """Draws a panel as published and from the cleaned data."""
    end = release.end(map)
    how = Measurement(release.source.interval, release.episodes)
    lost = []
    for method, look in reversed(_looks(found).items()):
        line(left, drawn_curve(found[method], end), look)
        curve = mean_curve(cleaned.cells.get(Cell(map, *method, metric), []), end, how)
        if len(curve.step):
            line(right, curve, look)
        else:
            lost.append(labels.label(*method))
    if lost:
        text = f"no test data:\n{', '.join(reversed(lost))}"
        right.text(0.04, 0.96, text, transform=right.transAxes, va="top", size=6, color="#555555")
    for axes in (left, right):
        steps_axis(axes, end)
        if metric == "win_rate":
            axes.set_ylim(-0.03, 1.03)


def _looks(found: dict[Method, list[Series]]) -> dict[Method, labels.PlotStyle]:
    """Name, colour and marker per method: the algorithm's own, and others for its variants."""
    variants = iter(zip(_VARIANTS, _MARKERS, strict=True))
    looks = {}
    for method in found:
        looks[method] = labels.plot_style(method.algorithm)
        if method.variant != DEFAULT:
            looks[method] = labels.PlotStyle(method.variant.replace("_", " "), *next(variants))
    return looks


def steps_axis(axes: Axes, end: int) -> None:
    """Env steps in millions, from 0 to the end of the published curves."""
    axes.set_xlim(0, end / 1e6)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")


def line(axes: Axes, curve: Curve, look: labels.PlotStyle) -> None:
    """Draws a mean curve with its band; some markers tell methods apart without colour."""
    step, every = curve.step / 1e6, max(1, len(curve.step) // _MARKS)
    axes.plot(
        step,
        curve.mean,
        color=look.colour,
        marker=look.marker,
        markevery=(every * (sum(look.name.encode()) % 10) // 10, every),
        markersize=2.5,
        markeredgewidth=0,
    )
    axes.fill_between(step, curve.low, curve.high, color=look.colour, alpha=_BAND, linewidth=0)


def write(found: Audit, folder: Path, formats: tuple[str, ...] = figures.FORMATS) -> dict[str, str]:
    """Draws and writes every figure of a release; returns their names and captions."""
    for name, figure in draw(found):
        figures.save(figure, name, folder, formats, dpi=160)
    return {each.name: f"{each.title}: {CAPTION}" for each in found.release.source.figures}
