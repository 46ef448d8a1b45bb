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

from benchmark import files
from benchmark.analysis import figures, labels, plots
from benchmark.errors import BenchmarkError
from benchmark.published import judgement
from benchmark.published.claims import Claims
from benchmark.published.inference import Difference, Moments, welch
from benchmark.published.judgement import CLEANED, Evidence, Sides
from benchmark.published.redraw import WIDTH, Curve, line, mean_curve, steps_axis
from benchmark.published.table import Cell, own_runs
from benchmark.training.config import DEFAULT

NAMES = ("claims.csv", "reproduction.csv", "compare.png", "compare.pdf")  #: files that are written

COLUMNS = [
    *("source", "published_backend", "backend", "map", "algorithm", "variant", "metric", "at"),
    *("n_published", "mean_published", "n_ours", "mean_ours", "difference", "low", "high"),
    "verdict",
]
CAPTION = (
    "Published results beside ours, mean over runs with 95 % Student interval. Every panel names"
    " its backend; numbers of different backends are not comparable."
)

_ROW = 1.35  #: inches per map


class Comparison(NamedTuple):
    """A study compared with the published facts."""

    claims: pd.DataFrame  #: ``judgement.COLUMNS``, published and ours
    reproduction: pd.DataFrame  #: ``COLUMNS``
    figure: Figure


def compare(
    evaluations: pd.DataFrame,
    published: dict[str, pd.DataFrame],
    about: dict,
    claims: Claims,
    replications: int,
) -> Comparison:
    """Compares a study with the published facts.

    Args:
        evaluations: the study's table, rows of ``EVALUATION_SCHEMA``.
        published: the facts, see ``facts.COLUMNS``.
        about: where they come from, see ``facts.about``.

    Raises:
        BenchmarkError: the table is empty, damaged, or mixes backends or protocols.
    """
    series = own_runs(evaluations)
    backend, protocol = evaluations[["backend", "protocol"]].iloc[0]
    ends = about["sources"][0]["ends"]
    ours = judgement.of_runs(series, "ours", backend, ends, claims.window)
    judged = judgement.judge(claims, [Sides("ours", ours, ours)], replications)
    return Comparison(
        pd.concat([published["claims"], judged], ignore_index=True),
        _reproduction(published["final"], about["sources"], ours, protocol, claims),
        _figure(published["curves"], about, ours, protocol),
    )


def _reproduction(
    final: pd.DataFrame, sources: list[dict], ours: Evidence, protocol: str, claims: Claims
) -> pd.DataFrame:
    """Each published number and ours, where we have runs of that method on that map."""
    theirs_are = {source["name"]: (source["backend"], source["protocol"]) for source in sources}
    rows = []
    for each in final[final["data"] == CLEANED].to_dict("records"):
        cell = Cell(each["map"], each["algorithm"], each["variant"], each["metric"])
        if cell not in ours.cells:
            continue
        scores = ours.scores(cell, int(each["at"]))
        theirs = Moments(int(each["n"]), each["mean"], each["sd"])
        other = _other((ours.backend, protocol), theirs_are[each["source"]])
        difference = Difference(np.nan, np.nan, np.nan)
        if not other:
            (difference,) = welch([(Moments.of(scores), theirs)])
        rows.append(
            {
                "source": each["source"],
                "published_backend": each["backend"],
                "backend": ours.backend,
                **cell._asdict(),
                "at": int(each["at"]),
                "n_published": int(each["n"]),
                "mean_published": each["mean"],
                "n_ours": len(scores),
                "mean_ours": float(np.mean(scores)) if len(scores) else np.nan,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "verdict": other or reproduction(difference, claims.reproduction[cell.metric]),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _other(ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    """Why there is no verdict; empty where backend and protocol are the same."""
    kinds = zip(("backend", "protocol"), ours, theirs, strict=True)
    differing = [kind for kind, mine, published in kinds if mine != published]
    return f"other {' and '.join(differing)}: no verdict" if differing else ""


def reproduction(difference: Difference, margin: float) -> str:
    """Whether our mean is within the margin of the published one, as far as the interval tells.

    Unlike a claim's verdict it asks for nothing else: a difference that is surely there, but may
    lie within the margin, is inconclusive.
    """
    if np.isnan(difference.low):
        return "no valid data"
    if -margin <= difference.low and difference.high <= margin:
        return "reproduced"
    if difference.low > margin or difference.high < -margin:
        return "not reproduced"
    return "inconclusive"


def _figure(curves: pd.DataFrame, about: dict, ours: Evidence, protocol: str) -> Figure:
    """A row per map of the study that somebody published: a panel per source, and ours."""
    plots.style()
    curves = curves[(curves["data"] == CLEANED) & (curves["variant"] == DEFAULT)]
    curves = curves[curves["metric"] == "win_rate"]
    mine = {cell.map for cell in ours.cells}
    maps = sorted(mine & set(curves["map"]), key=labels.map_order)
    if not maps:
        figure = Figure(figsize=(WIDTH, 1.0))
        plots.nothing(figure, "no map of this study has published results")
        return figures.finish(figure, f"Ours: {labels.source(ours.backend, protocol)}.")
    sources = [
        each
        for each in about["sources"]
        if curves.query("source == @each['name']")["map"].isin(maps).any()
    ]
    figure = Figure(figsize=(WIDTH, 0.45 + _ROW * len(maps)))
    grid = figure.subplots(len(maps), len(sources) + 1, squeeze=False, sharey=True)
    algorithms = {cell.algorithm for cell in ours.cells} | set(
        curves[curves["map"].isin(maps)]["algorithm"]
    )
    for row, map in zip(grid, maps, strict=True):
        end = max(source["ends"].get(map, 0) for source in sources)
        for axes, source in zip(row, sources, strict=False):
            part = curves[(curves["map"] == map) & (curves["source"] == source["name"])]
            _panel(axes, _published(part), end)
            axes.set_title(f"{map}: {source['title']}\n{labels.played_by(source['backend'])}")
        _panel(row[-1], _own(ours, map), end)
        row[-1].set_title(f"{map}: ours, {protocol}\n{labels.played_by(ours.backend)}")
    for axes in grid[-1]:
        axes.set_xlabel("env steps (millions)")
    figure.supylabel("test win rate", fontsize=7)
    ordered = sorted(algorithms, key=labels.order)
    plots.legend(figure, ordered, columns=len(ordered))
    return figures.finish(figure, CAPTION)


def _published(rows: pd.DataFrame) -> dict[str, Curve]:
    return {
        algorithm: Curve(*(part[name].to_numpy(float) for name in Curve._fields))
        for algorithm, part in rows.groupby("algorithm")
    }


def _own(ours: Evidence, map: str) -> dict[str, Curve]:
    found = {}
    for cell, series in ours.cells.items():
        if (cell.map, cell.variant, cell.metric) == (map, DEFAULT, "win_rate"):
            last = int(max(each.steps.max() for each in series))
            width = max(ours.how.interval, last // 30)
            found[cell.algorithm] = mean_curve(series, last, ours.how, width)
    return found


def _panel(axes: Axes, found: dict[str, Curve], end: int) -> None:
    for algorithm in sorted(found, key=labels.order, reverse=True):
        line(axes, found[algorithm], labels.plot_style(algorithm))
    if not found:
        axes.text(0.5, 0.5, "not released", transform=axes.transAxes, ha="center", color="#777777")
    steps_axis(axes, end)
    axes.set_ylim(-0.03, 1.03)


def write(found: Comparison, folder: Path) -> None:
    """Writes ``NAMES`` into a folder."""
    for name in ("claims", "reproduction"):
        with files.atomic(Path(folder) / f"{name}.csv") as temporary:
            getattr(found, name).to_csv(
                temporary, index=False, float_format="%.4f", lineterminator="\n"
            )
    figures.save(found.figure, "compare", folder, dpi=160)


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the claims and the reproduction of a study.

    Raises:
        BenchmarkError: a file is missing or of another version.
    """
    tables = []
    for name, columns in (("claims", judgement.COLUMNS), ("reproduction", COLUMNS)):
        path = Path(folder) / f"{name}.csv"
        try:
            table = pd.read_csv(path, keep_default_na=True)
        except (OSError, ValueError) as error:
            raise BenchmarkError(
                f"cannot read {path}: {error}; make it with python -m benchmark published compare"
            ) from error
        if list(table.columns) != columns:
            raise BenchmarkError(
                f"{path} does not have the columns of this version; delete it and run"
                " python -m benchmark published compare again"
            )
        tables.append(table)
    return tuple(tables)
