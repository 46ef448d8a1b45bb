"""Ablations of a study: methods side by side as a figure and a table each.

What is compared stands in the study file under ``ablations``; numbers come from the statistics
alone. Each figure has learning curves on the left and final win rates on the right.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from benchmark.analysis import figures, labels, plots, statistics, tables
from benchmark.analysis.labels import PlotStyle
from benchmark.analysis.tables import select
from benchmark.training.config import DEFAULT, one_line_errors
from benchmark.training.study import Ablation, load_study

_WIDTH = 1.6 * plots.WIDTH
_COLUMNS = {
    "Final win rate": ("win_rate", "training"),
    "Absolute win rate": ("win_rate", "absolute"),
    "Final return": ("return", "training"),
}
_VALUE = {"mean": "value"}  #: what panels call it


def captions(ablations: list[Ablation]) -> dict[str, str]:
    """Names and captions of the figures, in the study's order."""
    return {
        f"ablation_{each.name}": f"{each.title}: mean test win rate over runs, and at the end of"
        f" training; 95 % bootstrap intervals. {figures.THINNED}"
        for each in ablations
    }


def figure_files(ablations: list[Ablation]) -> list[str]:
    """Names of the files in the figures folder."""
    return [f"{name}.{suffix}" for name in captions(ablations) for suffix in figures.FORMATS]


def table_files(ablations: list[Ablation]) -> list[str]:
    """Names of the files in the tables folder."""
    return [f"{name}.{suffix}" for name in captions(ablations) for suffix in tables.FORMATS]


def draw(results: dict[str, pd.DataFrame], ablations: list[Ablation]) -> Iterator:
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


def _figure(results: dict[str, pd.DataFrame], ablation: Ablation) -> Figure:
    final = select(results["final"], metric="win_rate", phase="training")
    looks, maps = _looks(ablation), _maps(final, ablation)
    curves = _shown(select(results["curves"], metric="win_rate"), ablation, maps)
    shown = _shown(final, ablation, maps)
    figure = Figure(figsize=(_WIDTH, 0.6 + 1.4 * max(1, len(maps))))
    grid = figure.subplots(max(1, len(maps)), 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), map in zip(grid, maps, strict=False):
        on_map = select(curves, map=map)
        parts = {look: select(on_map, **method) for method, look in _items(looks)}
        scale, unit = plots.unit(on_map)
        plots.curves(left, {look: part for look, part in parts.items() if len(part)}, scale)
        plots.steps_axis(left, on_map, scale)
        if on_map.empty:
            left.text(0.5, 0.5, "no runs", transform=left.transAxes, ha="center", color="#555555")
        left.set(title=map, ylabel="test win rate", ylim=(-0.03, 1.03))
        left.set_xlabel(f"env steps ({unit})")
        ends = [(look, select(shown, map=map, **method)) for method, look in _items(looks)]
        plots.intervals(
            right,
            [
                (look._replace(name=_noted(look.name, end, shown)), end.rename(columns=_VALUE))
                for look, end in ends
            ],
        )
        right.set(title="end of training", xlim=(-0.03, 1.03), xlabel="test win rate")
    if not maps:
        plots.nothing(figure, "no runs yet")
    source = statistics.source_of(results["final"])
    about = f"{_runs(shown)}{_lacking(final, ablation)}{_budgets(shown, ablation)}"
    return figures.finish(figure, f"{source}, {about}{figures.averaged(curves)}")


def _table(final: pd.DataFrame, ablation: Ablation) -> tables.Table:
    maps, cells = _maps(final, ablation), {}
    shown = _shown(final, ablation, maps)
    for map in maps:
        for method, look in _items(_looks(ablation)):
            label = look.name if len(maps) == 1 else f"{look.name}, {map}"
            rows = select(shown, map=map, **method)
            cells[label] = [
                _cell(select(rows, metric=metric, phase=phase), shown)
                for metric, phase in _COLUMNS.values()
            ]
    source = statistics.source_of(final)
    caption = (
        f"{ablation.title}, on {', '.join(maps) or 'no map yet'}: mean over"
        f" {_runs(shown)}, with 95 % bootstrap interval"
        f"{_lacking(final, ablation)}{_budgets(shown, ablation)}. Source: {source}."
    )
    name = f"ablation_{ablation.name}"
    return tables.Table(name, caption, "Method", list(_COLUMNS), cells, shown)


def _cell(found: pd.DataFrame, shown: pd.DataFrame) -> tables.Cell:
    if found.empty:
        return tables.Cell()
    return tables.Cell(*found.iloc[0][["mean", "low", "high"]], note=_note(found, shown))


def _note(found: pd.DataFrame, shown: pd.DataFrame) -> str:
    """The number of runs of a row, where it is not the usual one."""
    return "".join(f"n = {n}" for n in found["n"] if n != shown["n"].max())


def _noted(name: str, found: pd.DataFrame, shown: pd.DataFrame) -> str:
    note = _note(found, shown)
    return f"{name} ({note})" if note else name


def _runs(shown: pd.DataFrame) -> str:
    """How many runs a method has."""
    usual = shown["n"].max() if len(shown) else 0
    noted = " unless noted" if (shown["n"] != usual).any() else ""
    return f"{labels.count([usual], 'run')} per method{noted}"


def _budgets(shown: pd.DataFrame, ablation: Ablation) -> str:
    """Names the methods on maps where they were not trained for equally many env steps."""
    unequal = []
    for map, rows in shown.groupby("map", sort=False):
        if len(rows["budget"].unique()) > 1:
            found = [
                (look.name, select(rows, **method)) for method, look in _items(_looks(ablation))
            ]
            steps = [f"{name} {part['budget'].max():,}" for name, part in found if len(part)]
            unequal.append(f"{', '.join(steps)} on {map}")
    return f"; env steps of training differ: {'; '.join(unequal)}" if unequal else ""


def _looks(ablation: Ablation) -> dict[tuple[str, str], PlotStyle]:
    """How each method appears: a default as everywhere, the others in further colours."""
    further = labels.further()
    return {
        (curve.algorithm, curve.variant): labels.plot_style(curve.algorithm)._replace(
            name=curve.label
        )
        if curve.variant == DEFAULT
        else PlotStyle(curve.label, *next(further))
        for curve in ablation.curves
    }


def _items(looks: dict[tuple[str, str], PlotStyle]) -> Iterator[tuple[dict[str, str], PlotStyle]]:
    for (algorithm, variant), look in looks.items():
        yield {"algorithm": algorithm, "variant": variant}, look


def _shown(rows: pd.DataFrame, ablation: Ablation, maps: list[str]) -> pd.DataFrame:
    """The rows of the ablation's methods, on its maps."""
    on_maps = rows[rows["map"].isin(maps)]
    return pd.concat([select(on_maps, **method) for method, _ in _items(_looks(ablation))])


def _maps(final: pd.DataFrame, ablation: Ablation) -> list[str]:
    """The maps on which every method of the ablation is expected to have runs."""
    parts = [set(select(final, **method)["map"]) for method, _ in _items(_looks(ablation))]
    found = [part for part in parts if part]
    return sorted(set.intersection(*found) if found else (), key=labels.map_order)


def _lacking(final: pd.DataFrame, ablation: Ablation) -> str:
    """Names the methods without a run."""
    lacking = [
        look.name for method, look in _items(_looks(ablation)) if select(final, **method).empty
    ]
    return f"; no runs of {', '.join(lacking)}" if lacking else ""


def declared(study: str) -> list[Ablation]:
    """The ablations of a study file, or those that JSON gives as the workflow does.

    Raises:
        BenchmarkError: the file or the JSON is not valid.
    """
    if not study.startswith("["):
        return load_study(study).ablations
    with one_line_errors("ablations"):
        return TypeAdapter(list[Ablation]).validate_json(study)


def write(statistics_folder: Path, ablations: list[Ablation], output: Path) -> None:
    """Writes figures and tables of every ablation into ``figures/`` and ``tables/``."""
    results = statistics.read(statistics_folder)
    for name, figure in draw(results, ablations):
        figures.save(figure, name, output / "figures")
    tables.write(make(results, ablations), output / "tables")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("statistics", type=Path, help="a study's statistics folder")
    parser.add_argument("study", help="study file, or its ablations as JSON")
    parser.add_argument("--output", type=Path, help="the study's folder; beside when left out")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    output = arguments.output or arguments.statistics.parent
    write(arguments.statistics, declared(arguments.study), output)
    print(output)
