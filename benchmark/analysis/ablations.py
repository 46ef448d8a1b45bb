"""Ablations of a study: a figure and a table each, which compare a few methods.

The study file says under ``ablations`` which ones; numbers come from the statistics alone. A figure
has learning curves on the left and final win rates on the right.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis import figures, labels, plots, statistics, tables
from benchmark.analysis.labels import PlotStyle
from benchmark.analysis.scores import Method
from benchmark.analysis.statistics import select
from benchmark.training.config import DEFAULT
from benchmark.training.study import Ablation

_WIDTH = 1.6 * plots.WIDTH
_COLUMNS = {
    "Final win rate": ("win_rate", "training"),
    "Absolute win rate": ("win_rate", "absolute"),
    "Final return": ("return", "training"),
}


def captions(ablations: list[Ablation]) -> dict[str, str]:
    """Names and captions of the figures, in the study's order."""
    return {
        f"ablation_{ablation.name}": f"{ablation.title}: mean test win rate over runs, and at the"
        f" end of training; 95 % bootstrap intervals. {figures.SMOOTHING}"
        for ablation in ablations
    }


def figure_files(ablations: list[Ablation]) -> list[str]:
    """Names of the files in the figures folder."""
    return [f"{name}.{suffix}" for name in captions(ablations) for suffix in figures.FORMATS]


def table_files(ablations: list[Ablation]) -> list[str]:
    """Names of the files in the tables folder."""
    return [f"{name}.{suffix}" for name in captions(ablations) for suffix in tables.FORMATS]


def write(results: dict[str, pd.DataFrame], ablations: list[Ablation], output: Path) -> None:
    """Writes figures and tables of every ablation into ``figures/`` and ``tables/``."""
    for name, figure in draw(results, ablations):
        figures.save(figure, name, output / "figures")
    tables.write(make(results, ablations), output / "tables")


def draw(
    results: dict[str, pd.DataFrame], ablations: list[Ablation]
) -> Iterator[tuple[str, Figure]]:
    """Draws every ablation.

    Args:
        results: the study's statistics, see ``statistics.COLUMNS``.

    Yields:
        Name and figure; a method without data is left out, and the footer says so.
    """
    plots.style()
    for ablation in ablations:
        yield f"ablation_{ablation.name}", _figure(results, ablation)


def make(results: dict[str, pd.DataFrame], ablations: list[Ablation]) -> list[tables.Table]:
    """Makes the table of every ablation: one row per method and map."""
    return [_table(results["final"], ablation) for ablation in ablations]


def shown(
    results: dict[str, pd.DataFrame], ablation: Ablation
) -> tuple[list[str], dict[Method, PlotStyle]]:
    """The maps that an ablation shows, and its methods with their styles."""
    methods = _Methods(ablation, select(results["final"], metric="win_rate", phase="training"))
    return methods.maps, methods.styles


class _Methods:
    """The methods of an ablation, and their final scores on the maps of all of them."""

    def __init__(self, ablation: Ablation, final: pd.DataFrame):
        further = labels.further()
        self.styles: dict[Method, PlotStyle] = {}  #: a default as everywhere, others in new colours
        for curve in ablation.curves:
            if curve.variant == DEFAULT:
                style = labels.plot_style(curve.algorithm)._replace(name=curve.label)
            else:
                style = PlotStyle(curve.label, *next(further))
            self.styles[Method(curve.algorithm, curve.variant)] = style
        rows = {method: select(final, **method._asdict()) for method in self.styles}
        maps = [set(part["map"]) for part in rows.values() if len(part)]
        self.maps = sorted(set.intersection(*maps) if maps else (), key=labels.map_order)
        self.lacking = [self.styles[method].name for method, part in rows.items() if part.empty]
        self.final = self.shown(final)
        self.usual_n = self.final["n"].max() if len(self.final) else 0

    def shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of some rows that the ablation shows, method by method."""
        on_maps = rows[rows["map"].isin(self.maps)]
        return pd.concat([select(on_maps, **method._asdict()) for method in self.styles])

    def parts(self, rows: pd.DataFrame) -> dict[PlotStyle, pd.DataFrame]:
        """The rows of each method, by its style."""
        return {style: select(rows, **m._asdict()) for m, style in self.styles.items()}

    def note(self, rows: pd.DataFrame) -> str:
        """The number of runs of a method's row on a map, where it is not the usual one."""
        return "".join(f"n = {n}" for n in rows["n"] if n != self.usual_n)

    def runs(self) -> str:
        """How many runs a method has."""
        noted = " unless noted" if (self.final["n"] != self.usual_n).any() else ""
        return f"{labels.count([self.usual_n], 'run')} per method{noted}"

    def gaps(self) -> str:
        """Names the methods without a run, and those trained for other numbers of env steps."""
        text = f"; no runs of {', '.join(self.lacking)}" if self.lacking else ""
        unequal = []
        for map, rows in self.final.groupby("map", sort=False):
            if len(rows["end"].unique()) > 1:
                steps = [
                    f"{style.name} {part['end'].max():,}"
                    for style, part in self.parts(rows).items()
                    if len(part)
                ]
                unequal.append(f"{', '.join(steps)} on {map}")
        return text + (f"; env steps of training differ: {'; '.join(unequal)}" if unequal else "")


def _figure(results: dict[str, pd.DataFrame], ablation: Ablation) -> Figure:
    methods = _Methods(ablation, select(results["final"], metric="win_rate", phase="training"))
    curves = methods.shown(select(results["curves"], metric="win_rate"))
    lines = max(1, len(methods.maps))
    figure = Figure(figsize=(_WIDTH, 0.6 + 1.4 * lines))
    grid = figure.subplots(lines, 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), map in zip(grid, methods.maps, strict=False):
        on_map = select(curves, map=map)
        scale, unit = plots.unit(on_map)
        present = {style: part for style, part in methods.parts(on_map).items() if len(part)}
        plots.curves(left, present, scale)
        plots.steps_axis(left, on_map["step"].max(), scale)
        if on_map.empty:
            left.text(0.5, 0.5, "no runs", transform=left.transAxes, ha="center", color="#555555")
        left.set(title=map, ylabel="test win rate", ylim=(-0.03, 1.03))
        left.set_xlabel(f"env steps ({unit})")
        ends = []
        for style, end in methods.parts(select(methods.final, map=map)).items():
            note = methods.note(end)
            name = f"{style.name} ({note})" if note else style.name
            ends.append((style._replace(name=name), end.rename(columns={"mean": "value"})))
        plots.intervals(right, ends)
        right.set(title="end of training", xlim=(-0.03, 1.03), xlabel="test win rate")
    if not methods.maps:
        plots.nothing(figure, "no runs yet")
    source = statistics.source_of(results["final"])
    about = f"{methods.runs()}{methods.gaps()}{figures.averaged(curves)}; band: {figures.INTERVAL}"
    return figures.finish(figure, f"{source}, {about}")


def _table(final: pd.DataFrame, ablation: Ablation) -> tables.Table:
    methods, cells = _Methods(ablation, final), {}
    for map in methods.maps:
        for style, rows in methods.parts(select(methods.final, map=map)).items():
            label = style.name if len(methods.maps) == 1 else f"{style.name}, {map}"
            cells[label] = [
                _cell(select(rows, metric=metric, phase=phase), methods)
                for metric, phase in _COLUMNS.values()
            ]
    source = statistics.source_of(final)
    caption = (
        f"{ablation.title}, on {', '.join(methods.maps) or 'no map yet'}: mean over"
        f" {methods.runs()}, with 95 % bootstrap interval{methods.gaps()}. Source: {source}."
    )
    name = f"ablation_{ablation.name}"
    return tables.Table(name, caption, "Method", list(_COLUMNS), cells, methods.final)


def _cell(found: pd.DataFrame, methods: _Methods) -> tables.Cell:
    if found.empty:
        return tables.Cell()
    mean, low, high = found.iloc[0][["mean", "low", "high"]]
    return tables.Cell(mean, low, high, note=methods.note(found))
