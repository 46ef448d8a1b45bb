"""Our own runs compared with the published facts: claims, reproduction, and a figure.

Every panel names its backend. Numbers of the simulator and of StarCraft II are shown next to each
other but never compared: whether a published number is reproduced is said only where both have the
same backend and protocol.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis import figures, labels, plots, statistics
from benchmark.analysis.scores import Scores, evaluations_to_points
from benchmark.analysis.statistics import select
from benchmark.published import claims, facts
from benchmark.published.claims import CLEANED, Claims, Dataset, Difference, Sides, welch
from benchmark.published.release import Cell, Curve
from benchmark.published.replot import WIDTH, mean_curve, panel
from benchmark.published.scores import WINDOW, Estimate, Measurement, estimate
from benchmark.training.config import DEFAULT

NAMES = ("claims.csv", "reproduction.csv", "compare.png", "compare.pdf")  #: files that are written

COLUMNS = [
    *("source", "published_backend", "backend", "map", "algorithm", "variant", "metric", "at"),
    *("n_published", "mean_published", "n_ours", "mean_ours", "difference", "low", "high"),
    "verdict",
]
_POINTS = 30  #: along a curve of ours
CAPTION = (
    "Published results and ours, mean over runs with 95 % Student interval. Smoothing: a published"
    f" point is the mean over {WINDOW:,} env steps, one of ours over about 1/{_POINTS} of training."
    " Every panel names its backend; numbers of different backends are not comparable."
)

_ROW = 1.35  #: inches per map


class Comparison(NamedTuple):
    """A study compared with the published facts."""

    claims: pd.DataFrame  #: ``claims.COLUMNS``, published and ours
    reproduction: pd.DataFrame  #: ``COLUMNS``
    figure: Figure


def compare(
    evaluations: pd.DataFrame,
    published: dict[str, pd.DataFrame],
    about: dict,
    claimed: Claims,
) -> Comparison:
    """Compares a study with the published facts.

    Args:
        evaluations: the study's table, rows of ``EVALUATION_SCHEMA``.
        published: the facts, see ``facts.COLUMNS``.
        about: where they come from, see ``facts.about``.

    Raises:
        BenchmarkError: the table is empty, damaged, or mixes backends or protocols.
    """
    ours = our_data(evaluations, about["sources"][0]["ends"])
    protocol = evaluations["protocol"].iloc[0]
    tests = claims.run(claimed, [Sides("ours", ours, ours)])
    return Comparison(
        pd.concat([published["claims"], tests], ignore_index=True),
        _reproduction(published["final"], about["sources"], ours, protocol, claimed),
        _figure(published["curves"], about["sources"], ours, protocol),
    )


def our_data(evaluations: pd.DataFrame, published_ends: dict[str, int]) -> Dataset:
    """Our own runs as a set of numbers; runs that end before the published curve say so.

    All methods of a map are compared at its end, see ``Scores``.

    Args:
        evaluations: rows of ``EVALUATION_SCHEMA``.
        published_ends: where the published curve of each map ends, in env steps.

    Raises:
        BenchmarkError: the table is empty, damaged, or mixes backends or protocols.
    """
    points = evaluations_to_points(evaluations)
    cells = own_runs(points)
    curves = [run for runs in cells.values() for run in runs]
    spacing = [np.median(np.diff(run.steps)) for run in curves if len(run.steps) > 1]
    reached: dict[str, int] = {}  # by variants, where a map has nothing else
    for run in curves:
        reached[run.cell.map] = max(reached.get(run.cell.map, 0), int(run.steps.max()))
    reached |= Scores(points).ends
    ends = reached | {map: min(end, reached.get(map, end)) for map, end in published_ends.items()}
    flags = {
        cell: [f"judged at {ends[cell.map]:,} of the published {published_ends[cell.map]:,} steps"]
        for cell in cells
        if ends[cell.map] < published_ends.get(cell.map, 0) - WINDOW
    }
    how = Measurement(int(max(spacing, default=1)), None)
    return Dataset("ours", evaluations["backend"].iloc[0], cells, ends, how, flags)


def own_runs(points: pd.DataFrame) -> dict[Cell, list[Curve]]:
    """Our own runs as curves, both metrics of each.

    Args:
        points: what ``evaluations_to_points`` returns.
    """
    points = points[points["phase"] == "training"]
    cells: dict[Cell, list[Curve]] = {}
    run = ["map", "algorithm", "variant", "seed"]
    for (map, algorithm, variant, seed), rows in points.groupby(run, sort=True):
        nothing = np.full(len(rows), np.nan)
        for metric in labels.METRICS:
            cell = Cell(map, algorithm, variant, metric)
            curve = Curve(
                cell=cell,
                kind="run",
                seed=int(seed),
                panel="main",
                tag=metric,
                file=f"{map}/{algorithm}/{variant}/{seed}",
                column=metric,
                steps=rows["step"].to_numpy(),
                value=rows[metric].to_numpy(float),
                low=nothing,
                high=nothing,
                rows=np.arange(len(rows)),
                wall=nothing,
            )
            cells.setdefault(cell, []).append(curve)
    return cells


def _reproduction(
    final: pd.DataFrame, sources: list[dict], ours: Dataset, protocol: str, claimed: Claims
) -> pd.DataFrame:
    """Each published number and ours, where we have runs of that method on that map."""
    made_by = {source["name"]: (source["backend"], source["protocol"]) for source in sources}
    rows = []
    for published in final[final["data"] == CLEANED].to_dict("records"):
        cell = Cell(*(published[name] for name in Cell._fields))
        if cell not in ours.cells:
            continue
        mine = estimate(ours.scores(cell, published["at"]))
        theirs = Estimate(int(published["n"]), published["mean"], published["sd"])
        other = _other((ours.backend, protocol), made_by[published["source"]])
        (difference,) = welch([(mine, theirs)]) if not other else [Difference()]
        rows.append(
            {
                **{name: published[name] for name in ("source", *Cell._fields, "at")},
                **{"published_backend": published["backend"], "backend": ours.backend},
                **{"n_published": theirs.n, "mean_published": theirs.mean},
                **{"n_ours": mine.n, "mean_ours": mine.mean, "difference": difference.value},
                **{"low": difference.low, "high": difference.high},
                "verdict": other
                or reproduction(difference, claimed.reproduction[published["metric"]]),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _other(ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    """Why there is no verdict; empty where backend and protocol are the same."""
    kinds = zip(("backend", "protocol"), ours, theirs, strict=True)
    differing = [kind for kind, mine, published in kinds if mine != published]
    return f"other {' and '.join(differing)}: no verdict" if differing else ""


def reproduction(difference: Difference, margin: float) -> str:
    """Whether our mean is within the margin of the published one, as far as the interval says.

    Unlike a claim's verdict it asks for nothing else: a difference that is surely there, but may
    be within the margin, is inconclusive.
    """
    if np.isnan(difference.low):
        return "no valid data"
    if -margin <= difference.low and difference.high <= margin:
        return "reproduced"
    if difference.low > margin or difference.high < -margin:
        return "not reproduced"
    return "inconclusive"


def _figure(curves: pd.DataFrame, sources: list[dict], ours: Dataset, protocol: str) -> Figure:
    """A row per map of the study that has published results: a panel per source, and ours."""
    plots.style()
    curves = select(curves, data=CLEANED, variant=DEFAULT, metric="win_rate")
    compared = [cell for cell in ours.cells if cell.variant == DEFAULT]
    maps = sorted({cell.map for cell in compared} & set(curves["map"]), key=labels.map_order)
    if not maps:
        figure = Figure(figsize=(WIDTH, 1.0))
        plots.nothing(figure, "no map of this study has published results")
        return figures.finish(figure, f"Ours: {labels.source(ours.backend, protocol)}.")
    curves = curves[curves["map"].isin(maps)]
    sources = [source for source in sources if source["name"] in set(curves["source"])]
    figure = Figure(figsize=(WIDTH, 0.45 + _ROW * len(maps)))
    grid = figure.subplots(len(maps), len(sources) + 1, squeeze=False, sharey=True)
    for row, map in zip(grid, maps, strict=True):
        end = max(source["ends"].get(map, 0) for source in sources)
        for axes, source in zip(row, sources, strict=False):
            published = select(curves, map=map, source=source["name"]).groupby("algorithm")
            title = f"{map}: {source['title']}\n{labels.played_by(source['backend'])}"
            _panel(axes, title, dict(list(published)), end)
        title = f"{map}: ours, {protocol}\n{labels.played_by(ours.backend)}"
        _panel(row[-1], title, _own(ours, map), end)
    for axes in grid[-1]:
        axes.set_xlabel("env steps (millions)")
    figure.supylabel("test win rate", fontsize=7)
    algorithms = {cell.algorithm for cell in compared} | set(curves["algorithm"])
    ordered = sorted(algorithms, key=labels.order)
    plots.legend(figure, ordered, columns=len(ordered))
    return figures.finish(figure, CAPTION)


def _own(ours: Dataset, map: str) -> dict[str, pd.DataFrame]:
    found = {}
    for cell, runs in ours.cells.items():
        if (cell.map, cell.variant, cell.metric) == (map, DEFAULT, "win_rate"):
            last = int(max(run.steps.max() for run in runs))
            interval = ours.how.interval  # as many evaluations behind each point
            width = max(1, -(-last // (_POINTS * interval))) * interval
            found[cell.algorithm] = mean_curve(runs, last, ours.how, width)
    return found


def _panel(axes: Axes, title: str, found: dict[str, pd.DataFrame], end: int) -> None:
    ordered = sorted(found, key=labels.order)
    panel(axes, title, {labels.plot_style(name): found[name] for name in ordered}, end)
    if not found:
        axes.text(0.5, 0.5, "not released", transform=axes.transAxes, ha="center", color="#777777")


def write(found: Comparison, folder: Path) -> None:
    """Writes ``NAMES`` into a folder."""
    tables = {"claims": found.claims, "reproduction": found.reproduction}
    statistics.write(tables, folder, facts.DECIMALS)
    figures.save(found.figure, "compare", folder, dpi=160)


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the claims and the reproduction of a study.

    Raises:
        BenchmarkError: a file is missing or of another version.
    """
    names = {"claims": claims.COLUMNS, "reproduction": COLUMNS}
    return tuple(
        statistics.read_table(
            Path(folder) / f"{name}.csv", columns, facts.TEXT, "published compare STUDY"
        )
        for name, columns in names.items()
    )
