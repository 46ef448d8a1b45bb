"""Pictures of what the audit found, one panel per rule that a picture can show.

Each panel shows the largest finding of its rule, so that it works for any release.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis import figures, labels, plots
from benchmark.published.audit import Audit
from benchmark.published.findings import Finding
from benchmark.published.redraw import WIDTH, credit
from benchmark.published.release import interior, on_grid, tells_grid
from benchmark.published.rules.grid import visible_runs
from benchmark.published.table import Series

_WRONG, _RIGHT = "#D55E00", "#0072B2"
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_AROUND = 40  #: evaluations before and after a stretch
_SHOWN = 0.15  #: of the interval: offsets that are drawn


def _not_test(axes: Axes, finding: Finding, found: Audit) -> str:
    n = found.release.episodes
    wrong = finding.series[0]
    tests = [
        each
        for each in found.release.series
        if each.cell.map == wrong.cell.map and tells_grid(interior(each)) and each.kind == "run"
    ]
    tests = [each for each in tests if on_grid(interior(each), n)]
    shown = sorted(tests, key=lambda each: len(interior(each)))[-1:]
    for each, colour, label in (*((s, _RIGHT, "a test") for s in shown), (wrong, _WRONG, "drawn")):
        inside = (each.value > 0) & (each.value < 1)
        value = each.value[inside] * n
        step = each.steps[inside] / 1e6
        axes.plot(step, value - np.round(value), ".", color=colour, label=label, markersize=2)
    axes.set(ylim=(-0.55, 0.85), ylabel=f"off the grid (in 1/{n})")
    axes.legend(loc="upper left", ncols=2, frameon=False, markerscale=3, handletextpad=0.1)
    return f"win rates that no {n} episodes give\n({_name(wrong)})"


def _counted_twice(axes: Axes, finding: Finding, found: Audit) -> str:
    shown = finding.series[:4]
    for height, each in enumerate(shown):
        value = each.value / max(each.value.max(), 1e-9)
        axes.plot(each.steps / 1e6, height + 0.9 * value, color=_RIGHT, linewidth=0.6)
    names = [f"seed {s.seed}" if s.seed is not None else s.name[-12:] for s in shown]
    axes.set_yticks(np.arange(len(names)) + 0.4, names)
    return f"copies\n({_name(finding.series[0])})"


def _under_two_names(axes: Axes, finding: Finding, found: Audit) -> str:
    first, second = finding.series[:2]
    axes.plot(second.steps / 1e6, second.value, color="#bbbbbb", linewidth=3, label=_name(second))
    axes.plot(first.steps / 1e6, first.value, color=_WRONG, linewidth=0.7, label=_name(first))
    axes.set_ylim(top=1.45 * max(first.value.max(), second.value.max()))
    axes.set_ylabel(_metric(first))
    axes.legend(loc="upper left", frameon=False)
    return "one run under two names"


def _shared_stretch(axes: Axes, finding: Finding, found: Audit) -> str:
    mended, kept = finding.series[:2]
    for each, colour, width in ((kept, "#bbbbbb", 2.5), (mended, _WRONG, 0.6)):
        label = f"seed {each.seed}" if each.seed is not None else each.name[-12:]
        axes.plot(each.steps / 1e6, each.value, color=colour, linewidth=width, label=label)
    axes.set_ylim(top=1.3 * max(mended.value.max(), kept.value.max()))
    axes.set_ylabel(_metric(mended))
    axes.legend(loc="upper left", ncols=2, frameon=False)
    return f"one run, made into two\n({_name(mended)})"


def _filled(axes: Axes, finding: Finding, found: Audit) -> str:
    (series,) = finding.series
    first, last = finding.excludes[0].rows if finding.excludes else (0, len(series.rows) - 1)
    near = (series.rows >= first - _AROUND // 2) & (series.rows <= last + _AROUND // 2)
    made_up = (series.rows >= first) & (series.rows <= last)
    axes.plot(series.steps[near] / 1e6, series.value[near], ".-", color=_RIGHT, linewidth=0.6)
    axes.plot(series.steps[made_up] / 1e6, series.value[made_up], ".-", color=_WRONG)
    axes.set_ylabel(_metric(series))
    return f"values that nobody measured\n({_name(series)})"


def _number_of_runs(axes: Axes, finding: Finding, found: Audit) -> str:
    losing = [
        each
        for each in found.findings
        if each.rule == finding.rule and each.cell.metric == finding.cell.metric
    ]
    most = 0
    for each, colour in zip(losing, _COLOURS, strict=False):
        step, n = np.array(visible_runs(list(each.series), found.release, each.cell)).T
        label = f"{labels.label(each.cell.algorithm, each.cell.variant)}, {each.cell.map}"
        axes.step(step / 1e6, n, where="post", color=colour, label=label, alpha=0.9)
        most = max(most, n.max())
    axes.set(ylabel="runs", ylim=(0, 2.2 * most))
    axes.legend(loc="upper left", frameon=False, fontsize=5)
    return "curves that lose runs"


def _step_offset(axes: Axes, finding: Finding, found: Audit) -> str:
    interval = found.release.source.interval
    names: dict[str, list[np.ndarray]] = {}
    for each in finding.series:
        late = each.steps[each.steps >= interval] % interval
        if np.mean(late < _SHOWN * interval) > 0.9:
            name = labels.label(each.cell.algorithm, each.cell.variant)
            names.setdefault(name, []).append(late)
    for height, parts in enumerate(names.values()):
        late = np.concatenate(parts)
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(late))
        axes.plot(late, height + jitter, ".", markersize=1, color=_RIGHT)
    axes.set_yticks(range(len(names)), list(names))
    axes.set(xlim=(0, _SHOWN * interval), xlabel="steps after a multiple of the interval")
    return f"when evaluations come\n({finding.cell.map})"


def _return_scale(axes: Axes, finding: Finding, found: Audit) -> str:
    pairs = zip(finding.series[::2], finding.series[1::2], strict=True)
    for (earned, won), colour in zip(pairs, _COLOURS, strict=False):
        slope, start = np.polyfit(won.value, earned.value, 1)
        axes.plot(won.value, earned.value, ".", markersize=1, color=colour)
        ends = np.array([won.value.min(), won.value.max()])
        axes.plot(ends, start + slope * ends, color=colour)
    axes.set(xlabel="test win rate", ylabel="test return")
    return f"returns, a colour per run\n({_name(finding.series[0])})"


def _name(series: Series) -> str:
    return f"{labels.label(series.cell.algorithm)}, {series.cell.map}"


def _metric(series: Series) -> str:
    return f"test {labels.METRICS[series.cell.metric]}"


#: rule -> draws a finding and returns the panel's title
PICTURES: dict[str, Callable[[Axes, Finding, Audit], str]] = {
    "not_test": _not_test,
    "counted_twice": _counted_twice,
    "under_two_names": _under_two_names,
    "shared_stretch": _shared_stretch,
    "filled": _filled,
    "number_of_runs": _number_of_runs,
    "step_offset": _step_offset,
    "return_scale": _return_scale,
}


def draw(found: Audit) -> Figure | None:
    """Draws the findings of a release that a picture can show; None without any."""
    largest: dict[str, Finding] = {}
    for finding in found.findings:
        if finding.rule in PICTURES and finding.severity != "note":
            other = largest.setdefault(finding.rule, finding)
            largest[finding.rule] = max(other, finding, key=lambda each: each.size)
    shown = [(picture, largest[rule]) for rule, picture in PICTURES.items() if rule in largest]
    if not shown:
        return None
    plots.style()
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(WIDTH * columns / 3, 0.1 + 1.75 * lines))
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (picture, finding) in zip(grid, shown, strict=False):
        axes.set_title(picture(axes, finding, found))
        if not axes.get_xlabel():
            axes.set_xlabel("env steps (millions)")
    for axes in grid[len(shown) :]:
        axes.remove()
    footer = f"What the audit found, one example per rule. {credit(found.release.source)}"
    return figures.finish(figure, footer)


def write(found: Audit, folder: Path, formats: tuple[str, ...] = figures.FORMATS) -> dict[str, str]:
    """Draws and writes ``audit_<source>``; returns its name and caption, nothing if it is empty."""
    figure = draw(found)
    if figure is None:
        return {}
    source = found.release.source
    figures.save(figure, f"audit_{source.name}", folder, formats, dpi=160)
    caption = f"What the audit found in the {source.title}, one example per rule."
    return {f"audit_{source.name}": caption}
