"""Pictures of what the audit found, one panel per rule that a picture can show, and of one claim.

Each panel shows the largest finding of its rule, so that it works for any release.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis import figures, labels, plots
from benchmark.published.audit import Audit
from benchmark.published.claims import WIDEST
from benchmark.published.release import Curve
from benchmark.published.replot import WIDTH, credit
from benchmark.published.rules import Finding, visible_runs

CLAIM_CAPTION = (
    "Final test win rates, difference per map, with Welch's intervals and Holm's correction over"
    " the methods on a map; bars are cut off where they leave the picture."
)
_WRONG, _RIGHT = "#D55E00", "#0072B2"
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_AROUND = 20  #: evaluations before and after a stretch
_SHOWN = 0.15  #: of the interval: offsets that are drawn
_DATASETS = (("#777777", "s"), ("#D55E00", "o"), ("#0072B2", "^"), ("#009E73", "D"))
_LIMITS = (-0.65, 1.0)  #: of the picture of a claim; longer bars are cut off
_ROW = 0.34  #: inches per map in it


def _not_test(axes: Axes, finding: Finding, found: Audit) -> str:
    n, wrong = found.release.episodes, finding.curves[0]
    tests = [
        curve
        for curve in found.release.curves
        if curve.cell.map == wrong.cell.map
        and (curve.kind == "run" and curve.shows_grid and curve.episodes(n) == n)
    ]
    longest = sorted(tests, key=lambda curve: len(curve.interior))[-1:]
    shown = [(curve, _RIGHT, "a test") for curve in longest]
    for curve, colour, label in (*shown, (wrong, _WRONG, "drawn")):
        inside = (curve.value > 0) & (curve.value < 1)
        value, step = curve.value[inside] * n, curve.steps[inside] / 1e6
        axes.plot(step, value - np.round(value), ".", color=colour, label=label, markersize=2)
    axes.set(ylim=(-0.55, 0.85), ylabel=f"off the grid (in 1/{n})")
    axes.legend(loc="upper left", ncols=2, frameon=False, markerscale=3, handletextpad=0.1)
    return f"win rates that no {n} episodes give\n({_name(wrong)})"


def _counted_twice(axes: Axes, finding: Finding, found: Audit) -> str:
    shown = finding.curves[:4]
    for height, curve in enumerate(shown):
        value = curve.value / max(_highest(curve), 1e-9)
        axes.plot(curve.steps / 1e6, height + 0.9 * value, color=_RIGHT, linewidth=0.6)
    axes.set_yticks(np.arange(len(shown)) + 0.4, [_run(curve) for curve in shown])
    return f"copies\n({_name(finding.curves[0])})"


def _under_two_names(axes: Axes, finding: Finding, found: Audit) -> str:
    first, second = finding.curves[:2]
    _on_top(axes, second, "#bbbbbb", 3, _name(second))
    _on_top(axes, first, _WRONG, 0.7, _name(first))
    axes.set_ylim(top=1.45 * _highest(first, second))
    axes.legend(handles=axes.lines, loc="upper left", frameon=False)
    return "one run under two names"


def _shared_stretch(axes: Axes, finding: Finding, found: Audit) -> str:
    made, kept = finding.curves[:2]
    _on_top(axes, kept, "#bbbbbb", 2.5, _run(kept))
    _on_top(axes, made, _WRONG, 0.6, _run(made))
    axes.set_ylim(top=1.3 * _highest(made, kept))
    axes.legend(handles=axes.lines, loc="upper left", ncols=2, frameon=False)
    return f"one run, made into two\n({_name(made)})"


def _filled(axes: Axes, finding: Finding, found: Audit) -> str:
    (curve,) = finding.curves
    first, last = finding.excludes[0].rows if finding.excludes else (0, len(curve.rows) - 1)
    near = (curve.rows >= first - _AROUND) & (curve.rows <= last + _AROUND)
    made_up = (curve.rows >= first) & (curve.rows <= last)
    axes.plot(curve.steps[near] / 1e6, curve.value[near], ".-", color=_RIGHT, linewidth=0.6)
    axes.plot(curve.steps[made_up] / 1e6, curve.value[made_up], ".-", color=_WRONG)
    axes.set_ylabel(f"test {labels.METRICS[curve.cell.metric]}")
    return f"values that nobody measured\n({_name(curve)})"


def _number_of_runs(axes: Axes, finding: Finding, found: Audit) -> str:
    losing = [
        other
        for other in found.findings
        if other.rule == finding.rule and other.cell.metric == finding.cell.metric
    ]
    most = 0
    for other, colour in zip(losing, _COLOURS, strict=False):
        step, n = visible_runs(found.release, other.curves)
        label = f"{labels.label(other.cell.algorithm, other.cell.variant)}, {other.cell.map}"
        axes.step(step / 1e6, n, where="post", color=colour, label=label, alpha=0.9)
        most = max(most, n.max())
    axes.set(ylabel="runs", ylim=(0, 2.2 * most))
    axes.legend(handles=axes.lines, loc="upper left", frameon=False, fontsize=5)
    return "curves that lose runs"


def _step_offset(axes: Axes, finding: Finding, found: Audit) -> str:
    interval = found.release.source.interval
    names: dict[str, list[np.ndarray]] = {}
    for curve in finding.curves:
        late = curve.steps[curve.steps >= interval] % interval
        if np.mean(late < _SHOWN * interval) > 0.9:
            name = labels.label(curve.cell.algorithm, curve.cell.variant)
            names.setdefault(name, []).append(late)
    for height, parts in enumerate(names.values()):
        late = np.concatenate(parts)
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(late))
        axes.plot(late, height + jitter, ".", markersize=1, color=_RIGHT)
    axes.set_yticks(range(len(names)), list(names))
    axes.set(xlim=(0, _SHOWN * interval), xlabel="steps after a multiple of the interval")
    return f"when evaluations come\n({finding.cell.map})"


def _return_scale(axes: Axes, finding: Finding, found: Audit) -> str:
    pairs = zip(finding.curves[::2], finding.curves[1::2], strict=True)
    for (earned, won), colour in zip(pairs, _COLOURS, strict=False):
        known = np.isfinite(won.value) & np.isfinite(earned.value)
        slope, start = np.polyfit(won.value[known], earned.value[known], 1)
        axes.plot(won.value, earned.value, ".", markersize=1, color=colour)
        ends = np.array([np.nanmin(won.value), np.nanmax(won.value)])
        axes.plot(ends, start + slope * ends, color=colour)
    axes.set(xlabel="test win rate", ylabel="test return")
    return f"returns, a colour per run\n({_name(finding.curves[0])})"


def _on_top(axes: Axes, curve: Curve, colour: str, width: float, label: str) -> None:
    axes.plot(curve.steps / 1e6, curve.value, color=colour, linewidth=width, label=label)
    axes.set_ylabel(f"test {labels.METRICS[curve.cell.metric]}")


def _name(curve: Curve) -> str:
    return f"{labels.label(curve.cell.algorithm)}, {curve.cell.map}"


def _highest(*curves: Curve) -> float:
    return max(float(curve.value[np.isfinite(curve.value)].max()) for curve in curves)


def _run(curve: Curve) -> str:
    return f"seed {curve.seed}" if curve.seed is not None else curve.name[-12:]


#: rule -> draws a finding and returns the panel's title
PANELS: dict[str, Callable[[Axes, Finding, Audit], str]] = {
    "not_test": _not_test,
    "counted_twice": _counted_twice,
    "under_two_names": _under_two_names,
    "shared_stretch": _shared_stretch,
    "filled": _filled,
    "number_of_runs": _number_of_runs,
    "step_offset": _step_offset,
    "return_scale": _return_scale,
}


def of_audit(found: Audit) -> Figure | None:
    """Draws the findings of a release that a picture can show; None without any."""
    largest: dict[str, Finding] = {}
    for finding in found.findings:
        if finding.rule in PANELS and finding.severity != "note":
            other = largest.setdefault(finding.rule, finding)
            largest[finding.rule] = max(other, finding, key=lambda finding: finding.size)
    shown = [(panel, largest[rule]) for rule, panel in PANELS.items() if rule in largest]
    if not shown:
        return None
    plots.style()
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(WIDTH * columns / 3, 0.1 + 1.75 * lines))
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (panel, finding) in zip(grid, shown, strict=False):
        axes.set_title(panel(axes, finding, found))
        if not axes.get_xlabel():
            axes.set_xlabel("env steps (millions)")
    for axes in grid[len(shown) :]:
        axes.remove()
    footer = f"What the audit found, one example per rule. {credit(found.release.source)}"
    return figures.finish(figure, footer)


def of_claim(tests: pd.DataFrame, claim: str, right: str) -> Figure | None:
    """Draws a claim's comparisons with one method, per map and set of numbers; None without any.

    Args:
        tests: rows of ``claims.COLUMNS``.
        claim: a claim that is tested per map.
        right: the method on its right side.
    """
    rows = tests[(tests["claim"] == claim) & (tests["right"] == right)]
    rows = rows[(rows["data"] != WIDEST) & rows["difference"].notna()]
    if rows.empty:
        return None
    maps = sorted(rows["place"].unique(), key=labels.map_order)
    datasets = list(rows["data"].unique())
    plots.style()
    figure = Figure(figsize=(plots.WIDTH, 0.6 + _ROW * len(maps)))
    axes = figure.subplots()
    for number, (name, (colour, marker)) in enumerate(zip(datasets, _DATASETS, strict=False)):
        shift = (number - (len(datasets) - 1) / 2) * 0.24
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
    figure.legend(loc="outside upper center", ncols=len(datasets), frameon=False, handletextpad=0.1)
    backends = ", ".join(sorted(map(labels.played_by, rows["backend"].unique())))
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()  # the layout needs a second pass to see the long names
    # the pad keeps long names in the picture, whose pixels make them a little wider
    return figures.finish(figure, f"{CLAIM_CAPTION} Source: {backends}.", pad=0.05)


def write(found: Audit, folder: Path) -> dict[str, str]:
    """Draws and writes ``audit_<source>``; returns its name and caption, nothing if it is empty."""
    figure = of_audit(found)
    if figure is None:
        return {}
    source = found.release.source
    figures.save(figure, f"audit_{source.name}", folder, dpi=160)
    caption = f"What the audit found in the {source.title}, one example per rule."
    return {f"audit_{source.name}": caption}
