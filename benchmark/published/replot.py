"""The paper's figures twice: as their authors drew them, and from cleaned data, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis import figures, labels, plots
from benchmark.analysis.scores import Method
from benchmark.errors import BenchmarkError
from benchmark.published import paper_plots
from benchmark.published.audit import Audit
from benchmark.published.release import Cell, Curve, Release
from benchmark.published.scores import WINDOW, Measurement, estimate, scores
from benchmark.published.sources import PaperFigure, Source
from benchmark.training.config import DEFAULT

CAPTION = (
    "as published, drawn as the authors' notebook draws the files (wandb files: mean of the last"
    f" {paper_plots.POOL} rows, extremes included; then all: centred mean over {paper_plots.SMOOTH}"
    f" rows; band {paper_plots.BAND} standard deviations), and cleaned, mean over runs per"
    f" {WINDOW:,} env steps with 95 % Student interval."
)
WIDTH = 6.75  #: inches, both columns of a page
_ROW = 1.3  #: inches per row of panels
_VARIANTS = ("#882255", "#332288", "#117733", "#999933", "#661100")
_MARKERS = ("s", "D", "v", "P", "X")
_MARKS = 5  #: along a curve
_BAND = 0.14  #: opacity


class MeanCurve(NamedTuple):
    """A mean curve with its band; all arrays are [N]."""

    step: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray  #: runs behind each point


def mean_curve(curves: list[Curve], end: int, how: Measurement, width: int = WINDOW) -> MeanCurve:
    """Means over runs, each over ``width`` env steps, with Student intervals.

    Args:
        curves: those of one cell.
        end: env step at which the curve ends.
    """
    points = []
    for until in range(width, end + 1, width):
        found = scores(curves, until, how._replace(window=width))
        if len(found.value):
            about = estimate(found.value, curves[0].cell.metric)
            points.append((until, about.mean, about.low, about.high, about.n))
    return MeanCurve(*np.array(points, float).reshape(-1, 5).T)


def drawn_curve(curves: list[Curve], end: int) -> MeanCurve:
    """A curve as the authors' notebook draws it."""
    drawn = paper_plots.draw(curves).until(end)
    n = np.full(len(drawn.steps), np.nan)
    return MeanCurve(drawn.steps.astype(float), drawn.value, drawn.low, drawn.high, n)


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
        drawn = _Drawing(about, found.release, cleaned)
        figure = drawn.by_map() if list(about.panels) == ["main"] else drawn.by_ablation()
        yield about.name, figures.finish(figure, f"{about.title}: {CAPTION} {credit(source)}")


def credit(source: Source) -> str:
    """Where numbers come from, in the words that stand on every figure."""
    commit = f" {source.commit[:7]}" if source.commit else ""
    where = labels.source(source.backend, source.protocol)
    return f"Source: {source.title} ({source.origin}{commit}), {where}."


@dataclass(frozen=True)
class _Drawing:
    """One figure of the paper, from the release as it is and cleaned."""

    about: PaperFigure
    release: Release
    cleaned: Release

    def by_map(self) -> Figure:
        """Two panels per map: as published and cleaned; two maps per row."""
        about = self.about
        lines = -(-len(about.maps) // 2)
        figure = Figure(figsize=(WIDTH, 0.45 + _ROW * lines))
        grid = figure.subplots(lines, 4, squeeze=False, sharey=about.metric == "win_rate")
        algorithms: dict[str, None] = {}
        for number, map in enumerate(about.maps):
            left, right = grid[number // 2][2 * (number % 2) : 2 * (number % 2) + 2]
            styles = self._panels(left, right, map, "main")
            algorithms |= dict.fromkeys(method.algorithm for method in styles)
            left.set_title(f"{map}, as published")
            right.set_title(f"{map}, cleaned")
            if about.metric == "return":
                low = min(left.get_ylim()[0], right.get_ylim()[0])
                high = max(left.get_ylim()[1], right.get_ylim()[1])
                left.set_ylim(low, high)
                right.set_ylim(low, high)
        for axes in grid[-1]:
            axes.set_xlabel("env steps (millions)")
        for axes in grid.flat[2 * len(about.maps) :]:
            axes.remove()
        figure.supylabel(f"test {labels.METRICS[about.metric]}", fontsize=7)
        ordered = sorted(algorithms, key=labels.order)
        plots.legend(figure, ordered, columns=len(ordered))
        return figure

    def by_ablation(self) -> Figure:
        """A column per ablation: as published above, cleaned below."""
        (map,) = self.about.maps
        figure = Figure(figsize=(WIDTH, 0.4 + 1.75 * 2))
        grid = figure.subplots(2, len(self.about.panels), squeeze=False, sharey=True, sharex=True)
        for (above, below), (panel, title) in zip(grid.T, self.about.panels.items(), strict=True):
            styles = self._panels(above, below, map, panel)
            above.set_title(f"{title}, as published")
            below.set_title(f"{title}, cleaned")
            below.set_xlabel("env steps (millions)")
            handles = [
                Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=name)
                for name, colour, marker in styles.values()
            ]
            above.legend(handles=handles, loc="upper left", frameon=False, handlelength=1.6)
        figure.supylabel(f"test {labels.METRICS[self.about.metric]} on {map}", fontsize=7)
        return figure

    def _panels(
        self, left: Axes, right: Axes, map: str, panel: str
    ) -> dict[Method, labels.PlotStyle]:
        """Draws a panel as published and cleaned; returns how each method looks in it."""
        metric, end = self.about.metric, self.release.end(map)
        how = Measurement(self.release.source.interval, self.release.episodes)
        drawn: dict[Method, list[Curve]] = {}
        for curve in self.release.curves:
            if (curve.cell.map, curve.cell.metric, curve.panel) == (map, metric, panel):
                method = Method(curve.cell.algorithm, curve.cell.variant)
                drawn.setdefault(method, []).append(curve)
        styles = _styles(sorted(drawn, key=_order))
        lost = []
        for method, style in reversed(styles.items()):
            line(left, drawn_curve(drawn[method], end), style)
            mean = mean_curve(self.cleaned.cells.get(Cell(map, *method, metric), []), end, how)
            if len(mean.step):
                line(right, mean, style)
            else:
                lost.append(labels.label(*method))
        if lost:
            text = f"no test data:\n{', '.join(reversed(lost))}"
            where = right.transAxes
            right.text(0.04, 0.96, text, size=6, color="#555555", transform=where, va="top")
        for axes in (left, right):
            plots.steps_axis(axes, end, 1e6)
            if metric == "win_rate":
                axes.set_ylim(-0.03, 1.03)
        return styles


def _order(method: Method) -> tuple:
    algorithm, variant = method
    number = int("".join(filter(str.isdigit, variant)) or 0)
    return labels.order(algorithm), variant != DEFAULT, number, variant


def _styles(methods: list[Method]) -> dict[Method, labels.PlotStyle]:
    """Name, colour and marker per method: the algorithm's own, and others for its variants."""
    variants = iter(zip(_VARIANTS, _MARKERS, strict=True))
    styles = {}
    for method in methods:
        styles[method] = labels.plot_style(method.algorithm)
        if method.variant != DEFAULT:
            styles[method] = labels.PlotStyle(method.variant.replace("_", " "), *next(variants))
    return styles


def line(axes: Axes, curve: MeanCurve, style: labels.PlotStyle) -> None:
    """Draws a mean curve with its band; some markers tell methods apart without colour."""
    step, every = curve.step / 1e6, max(1, len(curve.step) // _MARKS)
    axes.plot(
        step,
        curve.mean,
        color=style.colour,
        marker=style.marker,
        markevery=(every * (sum(style.name.encode()) % 10) // 10, every),
        markersize=2.5,
        markeredgewidth=0,
    )
    axes.fill_between(step, curve.low, curve.high, color=style.colour, alpha=_BAND, linewidth=0)


def write(found: Audit, folder: Path) -> dict[str, str]:
    """Draws and writes every figure of a release; returns their names and captions."""
    for name, figure in draw(found):
        figures.save(figure, name, folder, dpi=160)
    return {about.name: f"{about.title}: {CAPTION}" for about in found.release.source.figures}
