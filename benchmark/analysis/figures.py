"""Figures of a study as PDF and PNG, made from its statistics alone.

The footer of every figure names the backend and protocol of its numbers, how many runs they were
computed from and what is left out. Its bytes depend on the statistics only.
"""

import textwrap
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from benchmark import files
from benchmark.analysis import labels, made_from, plots, statistics
from benchmark.analysis.plots import PAGES, Page
from benchmark.analysis.statistics import select
from benchmark.errors import BenchmarkError
from benchmark.training.config import DEFAULT, known

FORMATS = ("pdf", "png")
_DPI = 300
_PAD = 0.05  #: inches, so that labels of neighbours stay apart
_LINE = 0.095  #: inches per line of the footer
_CHARACTERS = 84 / plots.WIDTH  #: of the footer, per inch
INTERVAL = "95 % bootstrap interval"
#: In the caption of every figure of learning curves; the footer says how many that are.
SMOOTHING = (
    "Smoothing: a drawn point is the mean of consecutive evaluations, and its bounds are the means"
    f" of theirs; as many evaluations as leave at most {plots.POINTS} points of the longest curve."
)
#: Figures of a suite: the statistic that is shown (a key of ``statistics.COLUMNS``) -> the function
#: that draws it, and the caption, with {} for the name of the suite. A new figure is an entry here
#: and a function in ``plots``; workflow and report take the names from here.
_SUITE_FIGURES = {
    "aggregate": (
        plots.aggregate,
        "Aggregate metrics of the final test win rate over all runs of the {} maps, with 95 %"
        " stratified bootstrap intervals. Arrows point to where better is.",
    ),
    "profiles": (
        plots.profiles,
        "Performance profiles: share of runs on the {} maps whose final test win rate exceeds a"
        " threshold, with 95 % pointwise intervals.",
    ),
    "improvement": (
        plots.improvement,
        "Probability of improvement: how often a run of the first method has a higher final win"
        " rate than a run of another one on the same map, draws counted as half, averaged over the"
        " {} maps, with 95 % intervals. The dashed line means no difference; a test decides"
        " whether there is one (bold in the table), not the interval.",
    ),
    "efficiency": (
        plots.efficiency,
        "Sample efficiency: interquartile mean of the test win rate over runs and {} maps, as far"
        " as all maps were trained, with 95 % pointwise intervals. Not smoothed.",
    ),
}


def captions(maps: list[str]) -> dict[str, str]:
    """Names and captions of the figures of a study over ``maps``, in their order in the report."""
    found = {}
    for family in labels.families(maps):
        for metric, name in labels.METRICS.items():
            found[f"learning_{family}_{metric}"] = (
                f"Learning curves on the {labels.FAMILIES[family]} maps: mean test {name} over"
                f" runs, with 95 % bootstrap interval. {SMOOTHING}"
            )
    for suite in labels.suites(maps):
        for kind, (_, caption) in _SUITE_FIGURES.items():
            found[f"{kind}_{suite}"] = caption.format(labels.suite_name(suite))
    return found


def outputs(maps: list[str]) -> list[str]:
    """Names of the files in the figures folder of a study over ``maps``."""
    drawn = [f"{name}.{suffix}" for name in captions(maps) for suffix in FORMATS]
    return [*drawn, made_from.NAME]


def draw(
    results: dict[str, pd.DataFrame], page: Page = PAGES["paper", 1]
) -> Iterator[tuple[str, Figure]]:
    """Draws every figure of a study.

    Args:
        results: the study's statistics, see ``statistics.COLUMNS``.
        page: that the figures are for.

    Yields:
        Name and figure, in the order of ``captions``; one without data says so.
    """
    main = {name: select(rows, variant=DEFAULT) for name, rows in results.items()}
    final, curves = main["final"], main["curves"]
    maps = sorted(final["map"].unique(), key=labels.map_order)
    algorithms = sorted(final["algorithm"].unique(), key=labels.order)
    source = statistics.source_of(final)
    plots.style(page)
    for family in labels.families(maps):
        for metric in labels.METRICS:
            rows = select(curves, family=family, metric=metric)
            figure = plots.learning(rows, algorithms, page)
            runs = labels.count(rows["n"], "run")
            footer = f"{source}, {runs} per map{averaged(rows)}; band: {INTERVAL}"
            yield f"learning_{family}_{metric}", finish(figure, footer, page, _PAD)
    for suite, suite_maps in labels.suites(maps).items():
        for statistic, (function, _) in _SUITE_FIGURES.items():
            of_suite = {"suite": suite, "phase": "training"}
            rows, runs = select(main[statistic], **of_suite), select(main["aggregate"], **of_suite)
            if runs.empty:  # only of chosen maps: no aggregate is of them alone
                continue
            rows = rows.dropna(subset="value")
            figure = function(rows, algorithms, page)
            if statistic == "improvement" and len(algorithms) == 1:
                plots.nothing(figure, "one method only: nothing to compare it with")
            elif rows.empty:
                plots.nothing(figure, "no map has a run of every method")
            drawn = "band" if statistic in ("profiles", "efficiency") else "bar"
            scores = final[final["map"].isin(suite_maps)]
            longer = (scores["trained"] > scores["end"]).any()
            further = "; judged before the end of some training" if longer else ""
            footer = f"{source}. {_suite(runs, suite)}{further}; {drawn}: {INTERVAL}"
            yield f"{statistic}_{suite}", finish(figure, footer, page, _PAD)


def chosen(
    results: dict[str, pd.DataFrame], maps: Collection[str], algorithms: Collection[str]
) -> dict[str, pd.DataFrame]:
    """The statistics of some maps and methods; none named are all.

    Aggregates are over all maps of the study, so chosen maps leave only learning curves.

    Raises:
        BenchmarkError: one of them is not in the study.
    """
    final = results["final"]
    for kind, names in (("map", maps), ("algorithm", algorithms)):
        for name in names:
            known(kind, name, final[kind].unique(), "the study")
    found = {}
    for name, rows in results.items():
        if maps:
            rows = rows[rows["map"].isin(maps)] if "map" in rows else rows[:0]
        for column in ("algorithm", "algorithm_x", "algorithm_y") if algorithms else ():
            rows = rows[rows[column].isin(algorithms)] if column in rows else rows
        found[name] = rows
    of_map = found["final"].groupby("map")["n"]
    found["final"] = found["final"][of_map.transform("max") > 0]  # drawn are maps with a run
    if found["final"].empty:
        raise BenchmarkError("no run of these methods on these maps; choose others")
    return found


def averaged(rows: pd.DataFrame) -> str:
    """Says how many evaluations a drawn point of these curves averages; the most of any map."""
    window = max((plots.window(curve) for _, curve in rows.groupby("map")), default=1)
    return f"; a point averages up to {window} evaluations" if window > 1 else ""


def _suite(rows: pd.DataFrame, suite: str) -> str:
    """How many runs and maps an aggregate is of, and which maps it leaves out."""
    runs, maps = labels.count(rows["n"], "run"), labels.count(rows["n_maps"], "map")
    text = f"{labels.suite_name(suite)}: {runs} per method, {maps}"
    left_out = rows["maps_left_out"].iloc[0]
    maps = left_out.replace(" ", ", ")
    return text + (f"; left out, a method has {labels.NO_SCORE}: {maps}" if left_out else "")


def finish(
    figure: Figure, footer: str, page: Page = PAGES["paper", 1], pad: float = 0.02
) -> Figure:
    """Lays a figure out above a footer, with a pad in inches around its plots, and draws both."""
    scale = page.scale
    width = round(_CHARACTERS / scale * figure.get_figwidth())
    needed = len(textwrap.wrap(footer, width))
    lines = textwrap.wrap(footer, min(width, len(footer) // needed + 12))  # about equally long
    below = _LINE * scale * len(lines)
    height = figure.get_figheight() + below
    figure.set_figheight(height)
    share = (below + 0.03) / height
    pads = {"w_pad": pad * scale, "h_pad": min(pad, 0.03) * scale}
    figure.set_layout_engine("constrained", rect=(0, share, 1, 1 - share), **pads)
    text = "\n".join(lines)
    figure.text(0.5, 0.02 / height, text, ha="center", va="bottom", size=5 * scale, color="#555555")
    for axes in figure.axes:
        sns.despine(ax=axes)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # done: every format gets the same layout
    return figure


def write(results: dict[str, pd.DataFrame], folder: Path, page: Page = PAGES["paper", 1]) -> None:
    """Draws every figure of a study and writes it in every format."""
    for name, figure in draw(results, page):
        save(figure, name, folder)


def save(
    figure: Figure, name: str, folder: Path, formats: Sequence[str] = FORMATS, dpi: int = _DPI
) -> None:
    """Writes a figure in some formats; its bytes do not depend on the day."""
    for suffix in formats:
        dated = {"pdf": {"CreationDate": None}, "png": {}}[suffix]
        with files.atomic(Path(folder) / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, dpi=dpi, metadata=dated)
