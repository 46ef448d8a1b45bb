"""Tables of a study as CSV, Markdown and LaTeX (booktabs), made from its statistics alone.

``win_rate_<family>_final`` is the table of win rates, a row per map and a column per method, and
``return_...`` that of returns; ``aggregate_...`` and ``improvement_...`` are of all maps together.
``..._absolute`` are the same of the best policies. ``scores`` says what a run's win rate is.

Every caption names the backend and protocol of the numbers, how many runs they were computed from
and what is missing. The CSV holds the same rows of the statistics, unrounded.
"""

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis import labels, permutation, statistics
from benchmark.analysis.bootstrap import NARROW
from benchmark.analysis.statistics import select
from benchmark.training.config import DEFAULT

FORMATS = ("csv", "md", "tex")
DASH = "\u2013"  #: where there is no value

_LACKING = "Without a score at the map's end, of the methods and seeds found"
_PHASES = {"training": "at the end of training", "absolute": "of the best policy"}


@dataclass(frozen=True)
class Cell:
    """One entry: a value with its interval."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    bold: bool = False
    note: str = ""  #: e.g. "n = 4" where a cell has fewer runs than the others
    digits: int = 2  #: after the point

    def __str__(self) -> str:
        return f"{self.number} {self.interval}".rstrip()

    @property
    def number(self) -> str:
        """The value, or a dash where there is none."""
        return DASH if np.isnan(self.value) else f"{self.value:z.{self.digits}f}"

    @property
    def interval(self) -> str:
        """The interval, empty where there is none."""
        if np.isnan(self.low):
            return ""
        return f"[{self.low:z.{self.digits}f}, {self.high:z.{self.digits}f}]"


@dataclass(frozen=True)
class Table:
    """A table for readers, and the rows of statistics that it shows."""

    name: str
    caption: str
    corner: str  #: heads the column of row labels
    columns: list[str]
    rows: dict[str, list[Cell]]  #: by row label
    data: pd.DataFrame = field(repr=False)

    def markdown(self) -> str:
        """The table as Markdown."""
        head = list(map(_md, [self.corner, *self.columns]))
        lines = [head, ["---", *["---:"] * len(self.columns)]]
        lines += [[_md(name), *map(_markdown_cell, cells)] for name, cells in self.rows.items()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{_md(self.caption)}**\n\n{table}\n"

    def csv(self) -> str:
        """The rows of statistics behind the table, unrounded."""
        return self.data.to_csv(index=False, float_format="%.6f", lineterminator="\n")

    def latex(self) -> str:
        """The table as a LaTeX ``table`` that needs the package booktabs."""
        lines = [
            "% needs \\usepackage{booktabs}",
            "\\begin{table}",
            "  \\centering",
            f"  \\caption{{{_tex(self.caption)}}}",
            f"  \\label{{tab:{self.name}}}",
            f"  \\begin{{tabular}}{{l{'c' * len(self.columns)}}}",
            "    \\toprule",
            f"    {_tex_row(map(_tex, [self.corner, *self.columns]))}",
            "    \\midrule",
            *(f"    {_tex_row([_tex(name), *map(_tex_cell, r)])}" for name, r in self.rows.items()),
            "    \\bottomrule",
            "  \\end{tabular}",
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    number = f"**{cell.number}**" if cell.bold else cell.number
    note = f"({cell.note})" if cell.note else ""
    return " ".join(part for part in (number, cell.interval, note) if part)


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_cell(cell: Cell) -> str:
    number = _tex(cell.number)
    number = f"\\textbf{{{number}}}" if cell.bold else number
    small = [part for part in (cell.interval, cell.note) if part]
    if not small:
        return number
    below = r"\\".join(rf"{{\tiny {part}}}" for part in small)
    return rf"\shortstack{{{number}\\{below}}}"


def _tex(text: str) -> str:
    """Text for LaTeX: no command, no formula, no paragraph of its own."""
    named = {"\\": "backslash", "^": "asciicircum", "~": "asciitilde"}
    named |= {"|": "bar", "<": "less", ">": "greater"}
    escapes = {character: rf"\text{name}{{}}" for character, name in named.items()}
    escapes |= {DASH: "--"} | {c: f"\\{c}" for c in "&%$#_{}"}
    return "".join(escapes.get(character, character) for character in " ".join(text.split()))


def _md(text: str) -> str:
    """Text for Markdown: no column, no mark and no line of its own; 3s5z_vs_3s6z has no mark."""
    text = re.sub(r"([\\`*|$~<\[])|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    return " ".join(text.split())


def names(maps: list[str]) -> list[str]:
    """Names of the tables of a study over ``maps``."""
    phases = labels.PHASES.values()
    parts = [
        *itertools.product(labels.METRICS, labels.families(maps), phases),
        *itertools.product(["aggregate"], phases),
        *itertools.product(["improvement"], labels.suites(maps), phases),
    ]
    return ["_".join(name) for name in parts]


def outputs(maps: list[str]) -> list[str]:
    """Names of the files in the tables folder of a study over ``maps``."""
    return [f"{name}.{suffix}" for name in names(maps) for suffix in FORMATS]


def make(results: dict[str, pd.DataFrame]) -> list[Table]:
    """Makes every table of a study.

    Args:
        results: the study's statistics, see ``statistics.COLUMNS``.

    Returns:
        The tables, in the order of ``names``; one without data has only dashes.
    """
    final, aggregate, improvement = (
        select(results[name], variant=DEFAULT) for name in ("final", "aggregate", "improvement")
    )
    source = statistics.source_of(final)
    maps = sorted(final["map"].unique(), key=labels.map_order)
    algorithms = sorted(final["algorithm"].unique(), key=labels.order)
    made = []
    for metric, family, phase in itertools.product(
        labels.METRICS, labels.families(maps), labels.PHASES
    ):
        rows = select(final, metric=metric, family=family, phase=phase)
        on = [map for map in maps if labels.family(map) == family]
        made.append(_scores(rows, metric, family, phase, on, algorithms))
    won = select(final, metric="win_rate")
    for phase in labels.PHASES:
        rows, scores = select(aggregate, phase=phase), select(won, phase=phase)
        made.append(_aggregate(rows, scores, phase, algorithms))
    suites = labels.suites(maps)
    for suite, phase in itertools.product(suites, labels.PHASES):
        rows, runs = (select(table, suite=suite, phase=phase) for table in (improvement, aggregate))
        scores = select(won[won["map"].isin(suites[suite])], phase=phase)
        made.append(_improvement(rows, runs, scores, suite, phase, algorithms))
    columns = [labels.label(name) for name in algorithms]
    return [
        Table(name, f"{caption} Source: {source}.", corner, columns, cells, rows)
        for name, (caption, corner, cells, rows) in zip(names(maps), made, strict=True)
    ]


def _scores(
    rows: pd.DataFrame, metric: str, family: str, phase: str, maps: list[str], algorithms: list[str]
) -> tuple:
    """One row per map, one column per method: the mean over runs."""
    usual = int(rows["n"].max()) if len(rows) else 0
    noted = " unless noted" if (rows["n"] != usual).any() else ""
    caption = (
        f"Test {labels.METRICS[metric]} {_PHASES[phase]} on the {labels.FAMILIES[family]} maps:"
        f" mean over {labels.count([usual], 'run')} per map{noted}, with 95 % bootstrap interval."
        f" Bold: the best mean of the row.{unequal(rows)}{_missing(rows)}"
    )
    cells = {map: _row(select(rows, map=map), algorithms, "mean", max, usual) for map in maps}
    return caption, "Map", cells, rows


def _aggregate(rows: pd.DataFrame, final: pd.DataFrame, phase: str, algorithms: list[str]) -> tuple:
    """One row per suite and aggregate metric, one column per method.

    Args:
        final: the scores behind the aggregates.
    """
    caption = (
        f"Win rate {_PHASES[phase]}, aggregated over runs and maps, with 95 % stratified"
        f" bootstrap interval; per method, {_counts(rows)}. Bold: the best of the row"
        f" (the least optimality gap).{unequal(final)}{_left_out(rows, phase)}"
    )
    cells = {}
    for suite, metric in itertools.product(rows["suite"].unique(), labels.AGGREGATES):
        best = min if metric == "optimality_gap" else max
        of_metric = select(rows, suite=suite, metric=metric)
        name = f"{labels.suite_name(suite)}: {labels.AGGREGATES[metric]}"
        cells[name] = _row(of_metric, algorithms, "value", best)
    return caption, "Metric", cells, rows


def _improvement(
    rows: pd.DataFrame,
    aggregates: pd.DataFrame,
    final: pd.DataFrame,
    suite: str,
    phase: str,
    algorithms: list[str],
) -> tuple:
    """One row per X, one column per Y: the probability that X beats Y.

    Args:
        aggregates: the suite's aggregates, which are of the same runs and say how many these are.
        final: the scores of these runs.
    """
    caption = (
        f"Probability that a run of the row's method has a higher win rate {_PHASES[phase]} than a"
        f" run of the column's on the same map, draws counted as half, averaged over the"
        f" {labels.suite_name(suite)} maps, with 95 % stratified bootstrap interval; per method,"
        f" {_counts(aggregates)}. Bold: above 0.5 by {permutation.DECIDED_BY}."
    )
    pairs = permutation.together(rows[rows["algorithm_x"] < rows["algorithm_y"]])
    if not pairs["testable"].all():
        caption += (
            f" Too few runs for it: {(~pairs['testable']).sum()} of {len(pairs)} comparisons."
        )
    caption += f" {NARROW}{unequal(final)}{_left_out(aggregates, phase)}"
    apart = pairs[pairs["differs"]]
    differ = {
        frozenset(pair) for pair in zip(apart["algorithm_x"], apart["algorithm_y"], strict=True)
    }
    cells = {}
    for x in algorithms:
        by_y = {row.algorithm_y: row for row in select(rows, algorithm_x=x).itertuples()}
        cells[labels.label(x)] = [
            Cell(row.value, row.low, row.high, row.value > 0.5 and {x, row.algorithm_y} in differ)
            if row
            else Cell()
            for row in map(by_y.get, algorithms)
        ]
    return caption, "X beats Y", cells, rows


def _row(
    rows: pd.DataFrame,
    algorithms: list[str],
    value: str,
    best: Callable[[Iterable[float]], float],
    usual: int | None = None,
) -> list[Cell]:
    """The cells of one row; the best number is bold, and all that are the same when rounded."""
    found = {row["algorithm"]: row for row in rows.dropna(subset=value).to_dict("records")}
    top = round(best(row[value] for row in found.values()), 2) if found else None
    cells = dict.fromkeys(algorithms, Cell())
    for name, row in found.items():
        note = f"n = {row['n']}" if usual is not None and row["n"] != usual else ""
        cells[name] = Cell(row[value], row["low"], row["high"], round(row[value], 2) == top, note)
    return list(cells.values())


def _counts(rows: pd.DataFrame) -> str:
    """How many runs and maps aggregates are of, by suite."""
    counts = (
        f"{labels.suite_name(suite)} {labels.count(part['n'], 'run')} on"
        f" {labels.count(part['n_maps'], 'map')}"
        for suite, part in rows.groupby("suite", sort=False)
    )
    return ", ".join(counts) or "no runs"


def unequal(final: pd.DataFrame) -> str:
    """Says on which maps some methods were trained further than the end that all are judged at.

    Args:
        final: rows of the statistics ``final``, of one metric and phase.
    """
    places = []
    for map, rows in final[final["trained"] > final["end"]].groupby("map", sort=False):
        trained = {labels.label(row.algorithm): row.trained for row in rows.itertuples()}
        further = ", ".join(f"{name} went on to {steps:,}" for name, steps in trained.items())
        places.append(f"{map} at {rows['end'].iloc[0]:,} env steps ({further})")
    judged = " Judged at the last step at which all methods were evaluated: "
    return f"{judged}{'; '.join(places)}." if places else ""


def _missing(rows: pd.DataFrame) -> str:
    """Names the runs that a table of scores lacks; what was never begun, no statistics know."""
    runs = [
        f"{labels.label(row.algorithm)} on {row.map} (seed {row.missing_seeds.replace(' ', ', ')})"
        for row in rows[rows["n_missing"] > 0].itertuples()
    ]
    return f" {_LACKING}: {'; '.join(runs)}." if runs else ""


def _left_out(rows: pd.DataFrame, phase: str) -> str:
    """Names the maps that an aggregate leaves out, and how many runs it lacks on the others."""
    maps = sorted({map for text in rows["maps_left_out"] for map in text.split()})
    text = f" Left out, because a method has {labels.NO_SCORE}: {', '.join(maps)}." if maps else ""
    if maps and phase == "absolute":
        text += " (A run that went on beyond its map's end has none of its best policy.)"
    if rows["n_missing"].any():
        runs = rows[rows["n_missing"] > 0].groupby("algorithm", sort=False)["n_missing"].max()
        lacking = (f"{labels.label(name)} {count}" for name, count in runs.items())
        text += f" {_LACKING}: {', '.join(lacking)}."
    return text


def write(made: list[Table], folder: Path) -> None:
    """Writes each table in every format."""
    for table in made:
        texts = {"csv": table.csv(), "md": table.markdown(), "tex": table.latex()}
        for suffix, text in texts.items():
            files.write(text, Path(folder) / f"{table.name}.{suffix}")
