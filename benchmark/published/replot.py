"""The paper's figures twice: as their authors drew them, and from cleaned data, side by side."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis import figures, labels, plots
from benchmark.analysis.labels import PlotStyle
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


def mean_curve(
    curves: list[Curve], end: int, how: Measurement, width: int = WINDOW
) -> pd.DataFrame:
    """Means over runs, each over ``width`` env steps, with Student intervals.

    The windows are counted back from the end, so that the last evaluations are in one.

    Args:
        curves: those of one cell.
        end: env step at which the curve ends.

    Returns:
        step, mean, low, high, and n, the runs behind each point.
    """
    points = []
    for until in range(width + end % width, end + 1, width):
        found = scores(curves, until, how._replace(window=width))
        if len(found.value):
            points.append({"step": until, **estimate(found.value, curves[0].cell.metric)._asdict()})
    return pd.DataFrame(points, columns=["step", "mean", "low", "high", "n"], dtype=float)


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
        kind = _by_map if list(about.panels) == ["main"] else _by_ablation
        figure = kind(about, found.release, cleaned)
        yield about.name, figures.finish(figure, f"{about.title}: {CAPTION} {credit(source)}")


def credit(source: Source) -> str:
    """Where numbers come from, in the words that stand on every figure."""
    commit = f" {source.commit[:7]}" if source.commit else ""
    where = labels.source(source.backend, source.protocol)
    return f"Source: {source.title} ({source.origin}{commit}), {where}."


def _by_map(about: PaperFigure, release: Release, cleaned: Release) -> Figure:
    """Two panels per map: as published and cleaned; two maps per row."""
    lines = -(-len(about.maps) // 2)
    figure = Figure(figsize=(WIDTH, 0.45 + _ROW * lines))
    grid = figure.subplots(lines, 4, squeeze=False, sharey=about.metric == "win_rate")
    pairs = grid.reshape(-1, 2)
    algorithms: set[str] = set()
    for (left, right), map in zip(pairs, about.maps, strict=False):
        styles = _two_panels(left, right, about, release, cleaned, map, "main")
        algorithms |= {method.algorithm for method in styles}
        if about.metric == "return":
            low, high = zip(left.get_ylim(), right.get_ylim(), strict=True)
            left.set_ylim(min(low), max(high))
            right.set_ylim(min(low), max(high))
    for axes in grid[-1]:
        axes.set_xlabel("env steps (millions)")
    for axes in pairs[len(about.maps) :].flat:
        axes.remove()
    figure.supylabel(f"test {labels.METRICS[about.metric]}", fontsize=7)
    ordered = sorted(algorithms, key=labels.order)
    plots.legend(figure, ordered, columns=len(ordered))
    return figure


def _by_ablation(about: PaperFigure, release: Release, cleaned: Release) -> Figure:
    """A column per ablation: as published above, cleaned below."""
    (map,) = about.maps
    figure = Figure(figsize=(WIDTH, 0.4 + 1.75 * 2))
    grid = figure.subplots(2, len(about.panels), squeeze=False, sharey=True, sharex=True)
    for (above, below), panel in zip(grid.T, about.panels, strict=True):
        styles = _two_panels(above, below, about, release, cleaned, map, panel)
        below.set_xlabel("env steps (millions)")
        handles = [
            Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=name)
            for name, colour, marker in styles.values()
        ]
        above.legend(handles=handles, loc="upper left", frameon=False, handlelength=1.6)
    figure.supylabel(f"test {labels.METRICS[about.metric]} on {map}", fontsize=7)
    return figure


def _two_panels(
    left: Axes,
    right: Axes,
    about: PaperFigure,
    release: Release,
    cleaned: Release,
    map: str,
    name: str,
) -> dict[Method, PlotStyle]:
    """Draws a panel as published and cleaned; returns how each method looks in it."""
    end, title = release.end(map), about.panels[name] or map
    how = Measurement(release.source.interval, release.episodes)
    curves: dict[Method, list[Curve]] = {}
    for curve in release.curves:
        if (curve.cell.map, curve.cell.metric, curve.panel) == (map, about.metric, name):
            method = Method(curve.cell.algorithm, curve.cell.variant)
            curves.setdefault(method, []).append(curve)
    styles = _styles(sorted(curves, key=_order))
    published = {style: paper_plots.draw(curves[m], end) for m, style in styles.items()}
    means = {
        method: mean_curve(cleaned.cells.get(Cell(map, *method, about.metric), []), end, how)
        for method in styles
    }
    panel(left, f"{title}, as published", published, end, about.metric)
    kept = {styles[method]: mean for method, mean in means.items() if len(mean)}
    panel(right, f"{title}, cleaned", kept, end, about.metric)
    if lost := [labels.label(*method) for method, mean in means.items() if mean.empty]:
        text, where = f"no test data:\n{', '.join(lost)}", right.transAxes
        right.text(0.04, 0.96, text, size=6, color="#555555", transform=where, va="top")
    return styles


def _order(method: Method) -> tuple:
    algorithm, variant = method
    number = int("".join(filter(str.isdigit, variant)) or 0)
    return labels.order(algorithm), variant != DEFAULT, number, variant


def _styles(methods: list[Method]) -> dict[Method, PlotStyle]:
    """Name, colour and marker per method: the algorithm's own, and others for its variants."""
    variants = labels.further(_VARIANTS, _MARKERS)
    styles = {}
    for method in methods:
        styles[method] = labels.plot_style(method.algorithm)
        if method.variant != DEFAULT:
            styles[method] = PlotStyle(method.variant.replace("_", " "), *next(variants))
    return styles


def panel(
    axes: Axes,
    title: str,
    curves: dict[PlotStyle, pd.DataFrame],
    end: int,
    metric: str = "win_rate",
) -> None:
    """Draws mean curves with their bands until the end of the published ones, the first on top.

    Args:
        curves: with step, mean, low and high.
        end: env step.
    """
    for style, curve in reversed(curves.items()):
        step, every = curve["step"] / 1e6, max(1, len(curve) // _MARKS)
        axes.plot(
            step,
            curve["mean"],
            color=style.colour,
            marker=style.marker,  # some markers tell methods apart without colour
            markevery=(every * (sum(style.name.encode()) % 10) // 10, every),
            markersize=2.5,
            markeredgewidth=0,
        )
        low, high = curve["low"], curve["high"]
        axes.fill_between(step, low, high, color=style.colour, alpha=_BAND, linewidth=0)
    axes.set_title(title)
    plots.steps_axis(axes, end, 1e6)
    if metric == "win_rate":
        axes.set_ylim(-0.03, 1.03)


def write(found: Audit, folder: Path) -> dict[str, str]:
    """Draws and writes every figure of a release; returns their names and captions."""
    for name, figure in draw(found):
        figures.save(figure, name, folder, dpi=160)
    return {about.name: f"{about.title}: {CAPTION}" for about in found.release.source.figures}
