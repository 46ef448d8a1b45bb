"""The rules of the audit: each finds one kind of defect; no file or curve is named in a rule.

A rule is a function of a release and of what it looks at there: a curve, the curves of a cell, ...
(``looks_at`` in ``rules.yaml``, where its sentences are too). It yields findings.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark import strict_yaml
from benchmark.analysis import labels
from benchmark.published import paper_plots
from benchmark.published.release import Cell, Curve, Release, off_grid
from benchmark.published.scores import per_evaluation, recovered
from benchmark.training.config import DEFAULT

SEVERITIES = ("error", "warning", "note")  #: the worst first
EVERYWHERE = Cell("", "", "", "")  #: the cell of a finding that is about a whole release
#: rule -> ``looks_at``, ``finds``, and per severity ``evidence`` and ``effect``; in the order of
#: the findings.
RULES: dict[str, dict] = strict_yaml.load(Path(__file__).with_name("rules.yaml"))

_TRAINING_TAGS = re.compile(
    r"(?<!test_)(battle_won_mean|return_mean)$|(^|[_/])train", re.IGNORECASE
)
_DATE = re.compile(r"(20\d\d-\d\d-\d\d)")
_COPY = re.compile(r"\bcopy\b|\(\d+\)")  #: in a file's name
_DAYS = 3  #: between a file's name and its clock; time zones and long queues stay below
_FROZEN = 12  #: equal values between the bounds in a row that do not come by chance
_LINE = 4  #: points on a straight line that are not there by chance
_SCALE = 1.15  #: ratio of returns at equal win rates above which runs have different scales
_MOVES = 0.05  #: standard deviation of a win rate that shows the slope of returns
_STRETCH = 16  #: so many evaluations in a row, with
_DISTINCT = 6  #: so many different values among them, do not agree by chance
_SHARED = 0.98  #: share of steps that two logs of the same runs have in common
_STUB = 5  #: a curve with fewer evaluations is none
_SHORT = 0.97  #: of the published length; the last evaluation comes a little before the end
_ANCHORED = 0.15  #: of the interval: evaluations that follow the grid come this soon after it
_GAP = 0.015  #: of the interval between two groups of offsets
_OFFSET = 0.01  #: of the interval that offsets of different methods may differ
_STEADY = 11  #: evaluations over which the number of visible runs is the largest that is seen


class Exclusion(NamedTuple):
    """A curve, or rows of it, that the cleaned data do without."""

    curve: Curve
    rows: tuple[int, int] | None = None  #: first and last row of the file; None for all

    def __str__(self) -> str:
        return self.curve.name + (f" rows {self.rows[0]} to {self.rows[1]}" if self.rows else "")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that a reader should know."""

    severity: str
    curves: Sequence[Curve]  #: that it is about; the first one is what a picture shows
    excludes: Sequence[Exclusion]
    cell: Cell
    size: float  #: how much of it there is, among findings of one rule
    numbers: dict  #: that the sentences name
    rule: str = ""
    change: str = ""  #: of the final value, by all exclusions; filled in by the audit

    @property
    def evidence(self) -> str:
        """What was seen, in words."""
        return self._in_words("evidence")

    @property
    def effect(self) -> str:
        """What it does to the published figure, in words."""
        return self._in_words("effect") + self.change

    def _in_words(self, sentence: str) -> str:
        known = {"count": _count(self.curves), "curves": self.curves}
        return RULES[self.rule][self.severity][sentence].format(**known, **self.numbers)


Findings = Iterator[Finding]


def findings(release: Release) -> Findings:
    """Applies every rule to all that it looks at."""
    for name, about in RULES.items():
        rule = globals()[name]
        for group in _GROUPS[about["looks_at"]](release):
            for finding in rule(release, *group):
                yield replace(finding, rule=name)


def _count(curves: Sequence[Curve]) -> str:
    return "one curve" if len(curves) == 1 else f"{len(curves)} curves"


def _finding(
    severity: str,
    curves: Sequence[Curve],
    excludes: Iterable[Curve | Exclusion] = (),
    *,
    cell: Cell | None = None,
    size: float = 0.0,
    **numbers: object,
) -> Finding:
    """A finding; by default about the first curve's cell."""
    parts = [part if isinstance(part, Exclusion) else Exclusion(part) for part in excludes]
    return Finding(severity, curves, parts, cell or curves[0].cell, size, numbers)


# What rules look at.


def _drawn_together(release: Release) -> Iterator[tuple[list[Curve]]]:
    """The curves of each cell that one figure draws."""
    for curves in release.cells.values():
        for panel in dict.fromkeys(curve.panel for curve in curves):
            yield ([curve for curve in curves if curve.panel == panel],)


def _panels(release: Release) -> Iterator[tuple[Cell, dict[tuple[str, str], list[Curve]]]]:
    """Each panel of a figure: the cell that stands for it, and the curves of each method in it."""
    panels: dict[Cell, dict[tuple[str, str], list[Curve]]] = {}
    for (curves,) in _drawn_together(release):
        cell, panel = curves[0].cell, curves[0].panel
        variant = panel if panel != "main" else DEFAULT
        methods = panels.setdefault(Cell(cell.map, "several", variant, cell.metric), {})
        methods[cell[1:3]] = curves
    yield from panels.items()


def _silent(release: Release) -> Iterator[tuple[list[Curve], list[Curve]]]:
    """Curves that show no grid and have no "test" in their tag, and their companions by tag.

    The companions are training statistics; curves with a companion that is a test are left out.
    """
    n = release.episodes
    for cell, curves in release.cells.items() if n else ():
        for tag in dict.fromkeys(curve.tag for curve in curves if "test" not in curve.tag):
            kin = [curve for curve in curves if curve.tag == tag and curve.kind == "run"]
            silent = [curve for curve in kin if not curve.shows_grid]
            telling = [curve for curve in kin if curve.shows_grid]
            if cell.metric == "win_rate" and silent and not any(c.episodes(n) for c in telling):
                yield silent, telling


def _both_metrics(release: Release) -> Iterator[tuple[list[tuple[Curve, Curve]]]]:
    """Pairs of win rates and returns of a run, for cells of win rates that have returns too.

    Runs are told by their seed, or else by the column's name in front of the metric. Where several
    have one name, nothing tells which belong together.
    """
    for cell, wins in release.cells.items():
        returns = release.cells.get(cell._replace(metric="return"), [])
        if cell.metric == "win_rate" and returns:
            ours = _by_run(win for win in wins if win.panel == wins[0].panel)
            theirs = _by_run(returns)
            yield ([(ours[run], theirs[run]) for run in ours if run in theirs],)


def _by_run(curves: Iterable[Curve]) -> dict[tuple, Curve]:
    """The curves whose run has a name of its own."""
    found: dict[tuple, list[Curve]] = {}
    for curve in curves:
        name = curve.column.rpartition(" - ")[0] if curve.seed is None else ""
        found.setdefault((curve.kind, curve.seed, name), []).append(curve)
    return {run: same[0] for run, same in found.items() if len(same) == 1}


#: ``looks_at`` -> all of that in a release, as further arguments of the rule.
_GROUPS: dict[str, Callable[[Release], Iterable[tuple]]] = {
    "release": lambda release: [()],
    "curve": lambda release: ((curve,) for curves in release.cells.values() for curve in curves),
    "cell": lambda release: ((curves,) for curves in release.cells.values()),
    "drawn_together": _drawn_together,
    "panel": _panels,
    "silent": _silent,
    "both_metrics": _both_metrics,
}


# Numbers that cannot be read, or are not what they are drawn as.


def unreadable(release: Release) -> Findings:
    """What a curve shows is without them."""
    for problem in release.problems:
        yield _finding("warning", [], cell=EVERYWHERE, problem=problem)


def not_test(release: Release, curves: list[Curve]) -> Findings:
    """A test of n episodes gives multiples of 1/n.

    PyMARL's training statistics average whatever episodes ended since the last log, with
    exploration on: they are multiples of nothing, and low.
    """
    n = release.episodes
    known = [curve for curve in curves if n and curve.shows_grid]
    wrong = [curve for curve in known if not curve.episodes(n)]
    if wrong:
        shares = [100 * curve.share_on_grid(n) for curve in wrong]
        extremes = dict.fromkeys(f"{share:.0f}" for share in (min(shares), max(shares)))
        yield _finding(
            "error",
            [*wrong, *(curve for curve in known if curve not in wrong)],
            wrong,
            size=len(wrong),
            wrong=len(wrong),
            of=len(curves),
            episodes=n,
            shares=" to ".join(extremes),
        )


def not_test_kin(release: Release, silent: list[Curve], training: list[Curve]) -> Findings:
    """A curve that hardly leaves 0 or 1 says nothing about itself.

    Where its tag does not say "test" and all other curves of the cell with that tag are training
    statistics, it is taken for one too.
    """
    if training:
        numbers = {"silent": _count(silent), "training": len(training)}
        yield _finding("warning", [*silent, *training], silent, **numbers)


def test_or_training(release: Release, silent: list[Curve], training: list[Curve]) -> Findings:
    """They hardly leave 0 or 1, no tag names them, and no companion tells more."""
    untagged = [curve for curve in silent if not curve.tag and np.isfinite(curve.wall).any()]
    if untagged and not training:
        yield _finding("note", untagged)


def training_tag(release: Release, curves: list[Curve]) -> Findings:
    """PyMARL writes ``battle_won_mean`` while exploring, ``test_battle_won_mean`` in evaluation."""
    tagged = [curve for curve in curves if _TRAINING_TAGS.search(curve.tag)]
    if tagged:
        yield _finding("error", tagged, tagged)


def out_of_range(release: Release, curves: list[Curve]) -> Findings:
    """The first are no win rates; the second show that a run's returns have their own scale."""
    if curves[0].cell.metric == "win_rate":
        for curve in curves:
            low, high = np.nanmin(curve.value), np.nanmax(curve.value)
            if low < 0 or high > 1:
                yield _finding("error", [curve], [curve], low=low, high=high)
        return
    limit = release.source.return_limit
    above = [curve for curve in curves if np.nanmax(curve.value) > 1.05 * limit]
    if above:
        highest = float(max(np.nanmax(curve.value) for curve in above))
        yield _finding("warning", above, size=highest, highest=highest, limit=limit)


def filled(release: Release, curve: Curve) -> Findings:
    """Gaps are filled like that by hand or by software; the values are left out, the curve kept."""
    for begin, end, how in _filled(curve, release) if curve.kind == "run" else ():
        rows = Exclusion(curve, (int(curve.rows[begin]), int(curve.rows[end - 1])))
        numbers = {"length": end - begin, "first": begin, "last": end - 1, "how": how}
        yield _finding("error", [curve], [rows], size=end - begin, **numbers)


def _filled(curve: Curve, release: Release) -> Iterator[tuple[int, int, str]]:
    """Stretches that nobody measured: first index, end, and how they look.

    Values at the bounds repeat without a fault: a method that always loses or always wins. What a
    victory is worth may differ by run, so the curve's own highest return is a bound as well.
    """
    values, n = curve.value, release.episodes
    if curve.cell.metric == "win_rate":
        inside = (values > 0) & (values < 1)
    else:
        won = np.isclose(values, release.source.return_limit, rtol=0, atol=1e-9)
        inside = (values != 0) & (values < np.nanmax(values) - 1e-9) & ~won
    if n and curve.shows_grid and (n := curve.episodes(n)):
        for begin, end in _stretches(inside & off_grid(values, n)):
            straight = end - begin >= _LINE and np.ptp(np.diff(values[begin:end])) < 1e-6
            line = " and on a straight line" if straight else ""
            yield begin, end, f"are no multiples of 1/{n}{line}"
    elif curve.cell.metric == "return":
        bent = ~(np.abs(np.diff(values, 2)) <= 1e-9)  # NaN is no point of a line
        for begin, end in _stretches(~bent):
            moves = abs(values[end] - values[begin]) > 1e-9
            if end - begin + 2 >= _LINE + 1 and moves:
                yield begin, end + 2, "are on a straight line"
    for begin, end in _stretches((np.diff(values) == 0) & inside[1:]):
        if end - begin + 1 >= _FROZEN:
            yield begin, end + 1, f"are all {values[begin]:g}"


def _stretches(mask: np.ndarray) -> list[list[int]]:
    """First index and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return edges.reshape(-1, 2).tolist()


def return_scale(release: Release, pairs: list[tuple[Curve, Curve]]) -> Findings:
    """Different returns at equal win rates show that returns come in a unit of their own.

    SMACv2's client scales rewards by the first team that a process draws (docs/fidelity.md).
    """
    pairs = [(w, r) for w, r in pairs if w.kind == "run" and np.array_equal(w.steps, r.steps)]
    levels = [_return_at(won.value, earned.value, 0.3) for won, earned in pairs]
    levels = sorted(level for level in levels if level is not None)
    if len(levels) > 1 and levels[-1] > _SCALE * levels[0]:
        shown = [curve for pair in pairs for curve in reversed(pair)]
        factor, words = levels[-1] / levels[0], ", ".join(f"{level:.1f}" for level in levels)
        yield _finding("warning", shown, size=factor, levels=words, factor=factor)


def _return_at(win_rate: np.ndarray, returns: np.ndarray, level: float) -> float | None:
    """A run's return at a win rate, on its own straight line."""
    known = np.isfinite(win_rate) & np.isfinite(returns)
    if not known.any() or np.std(win_rate[known]) < _MOVES:
        return None
    slope, start = np.polyfit(win_rate[known], returns[known], 1)
    return float(start + slope * level)


# The same numbers more than once.


def counted_twice(release: Release, curves: list[Curve]) -> Findings:
    """Identical curves are one run, so a mean and a band over the files count it twice."""
    copied = []
    for same in _identical(curves):
        if len(same) > 1 and _is_distinctive(same[0]):
            copied.append(sorted(same, key=_plain_name_first))
        elif len(same) > 1:
            numbers = {"alike": _alike(release, same), "runs": len(same)}
            yield _finding("note", same, **numbers, value=same[0].value[0])
    copies = [copy for _, *others in copied for copy in others]
    if copies:
        shown = [curve for same in copied for curve in same]
        numbers = {"copies": len(copies), "of": len(curves), "alike": _alike(release, copied[0])}
        yield _finding("error", shown, copies, size=len(copies) / len(curves), **numbers)


def reused(release: Release, curves: list[Curve]) -> Findings:
    """That is fine as long as nobody takes the figures for independent evidence."""
    ordered = sorted(curves, key=lambda curve: (curve.panel != "main", curve.panel))
    found = [
        [same[0], *others]
        for same in _identical(ordered)
        if _is_distinctive(same[0])
        and (others := [curve for curve in same if curve.panel != same[0].panel])
    ]
    if found:
        again = [curve for _, *others in found for curve in others]
        shown = [first for first, *_ in found] + again
        panels = ", ".join(dict.fromkeys(curve.panel for curve in again))
        yield _finding("note", shown, again, alike=_alike(release, found[0]), again=panels)


def under_two_names(release: Release) -> Findings:
    """At most one name is right.

    It is taken to be the one whose other metric was logged at the same steps; where that does not
    decide, none is taken.
    """
    logged = {(curve.cell, curve.steps.tobytes()) for curve in release.curves}
    for same in _identical(release.curves):
        cells = {curve.cell for curve in same}
        if len(cells) < 2 or not _is_distinctive(same[0]):
            continue
        steps = same[0].steps.tobytes()
        owners = {
            cell
            for cell in cells
            for other in labels.METRICS
            if other != cell.metric and (cell._replace(metric=other), steps) in logged
        }
        numbers = {"alike": _alike(release, same), "names": " and ".join(sorted(map(str, cells)))}
        numbers["owner"] = (
            f"the other metric of {next(iter(owners))} has these steps, so it is the owner"
            if len(owners) == 1
            else "nothing tells whose they are"
        )
        for curve in same:
            if len(owners) != 1 or curve.cell not in owners:
                shown = [curve, *(other for other in same if other is not curve)]
                yield _finding("error", shown, [curve], **numbers)


def shared_stretch(release: Release) -> Findings:
    """Two runs never agree like that; one was made from the other.

    That is taken to be the one with values off the grid, or else the later name.
    """
    n = release.episodes
    different = [same[0] for same in _identical(release.curves) if _is_distinctive(same[0])]
    for pair in sorted(_pairs_with_a_common_stretch(different)):
        kept, made = sorted(
            (different[number] for number in pair),
            key=lambda curve: (off_grid(curve.interior, n).sum() if n else 0, curve.name),
        )
        length = min(len(kept.value), len(made.value))
        same = np.abs(kept.value[:length] - made.value[:length]) < 1e-6
        longest = max(end - begin for begin, end in _stretches(same))
        numbers = {"same": same.sum(), "length": length, "longest": longest}
        yield _finding("error", [made, kept], [made], size=float(same.sum()), **numbers)


def _plain_name_first(curve: Curve) -> tuple:
    return bool(_COPY.search(curve.name)), curve.name


def _identical(curves: Iterable[Curve]) -> list[list[Curve]]:
    """Curves with the same steps and values, together."""
    found: dict[tuple, list[Curve]] = {}
    for curve in curves:
        found.setdefault((curve.steps.tobytes(), curve.value.tobytes()), []).append(curve)
    return list(found.values())


def _is_distinctive(curve: Curve) -> bool:
    """Whether two curves like this would not agree by chance."""
    irregular = len(np.unique(np.diff(curve.steps))) > 3
    return len(curve.value) > 1 and (irregular or len(np.unique(curve.value)) >= _DISTINCT)


def _alike(release: Release, same: list[Curve]) -> str:
    digests = {release.digests.get(curve.file, curve.file) for curve in same}
    if len(digests) == 1 and len({curve.file for curve in same}) > 1:
        return "byte-identical files"
    return f"the same {len(same[0].value)} values at the same steps"


def _pairs_with_a_common_stretch(curves: list[Curve]) -> set[tuple[int, int]]:
    """Indices of pairs of curves that agree over a stretch at the same place.

    Of several curves that agree, each is paired with the first: time and memory stay linear.
    """
    found = set()
    values = [np.round(curve.value, 6).tolist() for curve in curves]
    for begin in range(max(map(len, values), default=0) - _STRETCH + 1):
        first: dict[tuple, int] = {}
        for number, curve in enumerate(curves):
            window = tuple(values[number][begin : begin + _STRETCH])
            if len(window) == _STRETCH and len(set(window)) >= _DISTINCT:
                other = first.setdefault((curve.cell.metric, window), number)
                if other != number and np.isfinite(window).all():
                    found.add((other, number))
    return found


# Whose runs a curve shows, and how many.


def aggregated_as_runs(release: Release) -> Findings:
    """Taking every column of such a file for a run counts the extremes in.

    Of a group, the runs themselves are no longer in the file at all.
    """
    wandb = [curve for curve in release.curves if np.isfinite(curve.low).any()]
    for metric in labels.METRICS:
        for kind, severity in (("group", "warning"), ("run", "note")):
            curves = [c for c in wandb if (c.cell.metric, c.kind) == (metric, kind)]
            if curves:
                mean, band = paper_plots.difference_by_extremes(curves)
                numbers = {"metric": metric.replace("_", " "), "mean": mean, "band": band}
                files = len({curve.file for curve in curves})
                yield _finding(severity, curves, cell=EVERYWHERE, files=files, **numbers)


def several_groups(release: Release, curves: list[Curve]) -> Findings:
    """Runs are grouped by what they were started with, so these are different experiments."""
    groups = [curve for curve in curves if curve.kind == "group"]
    if len(groups) > 1:
        named = (f"{group.column!r} ({len(group.value)} values)" for group in groups)
        yield _finding("note", groups, groups=" and ".join(named))


def unverifiable_label(release: Release) -> Findings:
    """Only the file's name then says which variant it is, and nothing can confirm it."""
    groups: dict[str, list[Curve]] = {}
    for curve in release.curves:
        if curve.kind == "group":
            groups.setdefault(curve.column, []).append(curve)
    for curves in groups.values():
        different = list({c.value.tobytes(): c for c in reversed(curves)}.values())
        variants = sorted({curve.cell.variant for curve in different})
        if len(variants) > 1:
            numbers = {"files": len(different), "variants": ", ".join(variants)}
            cell = different[0].cell._replace(variant="several")
            yield _finding("warning", different, cell=cell, **numbers)


def name_date(release: Release, curve: Curve) -> Findings:
    """A file that was renamed to stand for another run keeps its old clock."""
    dates = _DATE.findall(curve.file)
    if not dates or not np.isfinite(curve.wall).any():
        return
    try:
        said = datetime.fromisoformat(dates[-1]).replace(tzinfo=UTC)
        ran = datetime.fromtimestamp(float(np.nanmin(curve.wall)), UTC)
    except (ValueError, OverflowError, OSError):  # a number that is no date
        return
    if abs((ran - said).days) > _DAYS:
        yield _finding("warning", [curve], said=said, ran=ran)


def metrics_of_other_runs(release: Release, pairs: list[tuple[Curve, Curve]]) -> Findings:
    """One evaluation logs both at the same steps.

    Steps that only one of them has belong to runs that only one of the two figures shows.
    """
    for won, earned in pairs:
        ours, theirs = set(won.steps.tolist()), set(earned.steps.tolist())
        common = len(ours & theirs)
        if common < _SHARED * max(len(ours), len(theirs)):
            numbers = {"returns": len(theirs), "win_rates": len(ours), "common": common}
            runs = _runs_of_one_metric(won, earned, release.source.interval)
            yield _finding("warning", [earned, won], **numbers, runs=runs)


def _runs_of_one_metric(won: Curve, earned: Curve, interval: int) -> str:
    """How many runs only one of the two shows, in words."""
    wins, returns = _values(won), _values(earned)
    if won.kind == "run":
        return " (not one run)" if wins.keys().isdisjoint(returns) else ""
    per_run = len({step // interval for step in returns})
    common = (wins & returns).total()
    parts = []
    for values, metric in ((returns, "return"), (wins, "win rate")):
        runs = round((values.total() - common) / per_run)
        parts.append(f"about {labels.count([runs], 'run')} with a {metric} only")
    return f": {', '.join(parts)}"


def _values(curve: Curve) -> Counter[int]:
    """How many runs' values a curve shows at each step."""
    found: Counter[int] = Counter()
    for step, *row in zip(curve.steps.tolist(), curve.value, curve.low, curve.high, strict=True):
        found[step] += len(recovered(*row))
    return found


def number_of_runs(release: Release, curves: list[Curve]) -> Findings:
    """A curve that loses runs can rise or fall without any run doing so."""
    changes = _changes(*visible_runs(release, curves))
    if len(changes) > 1 and changes[-1][1] < max(n for _, n in changes):
        parts = ", ".join(f"{n} from step {step:,}" for step, n in changes)
        yield _finding("warning", curves, words=parts, end=release.end(curves[0].cell.map))


def different_numbers(
    release: Release, cell: Cell, drawn: dict[tuple[str, str], list[Curve]]
) -> Findings:
    """Bands of different numbers of runs cannot be compared by eye."""
    counts = {method: visible_runs(release, c)[1].max() for method, c in drawn.items()}
    if len(set(counts.values())) > 1:
        # a variant is named with its algorithm here
        names = {m: m[0] if m[1] == DEFAULT else " ".join(m) for m in counts}
        words = ", ".join(f"{names[method]} {n}" for method, n in counts.items())
        numbers = {"fewest": min(counts.values()), "most": max(counts.values()), "words": words}
        shown = [curve for curves in drawn.values() for curve in curves]
        yield _finding("note", shown, cell=cell, **numbers)


def visible_runs(release: Release, curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """How many runs a cell shows per evaluation until the end of the figure: steps [K], runs [K].

    A group hides runs that agree at one step, so the largest number nearby is taken.
    """
    interval = release.source.interval
    steps = np.arange(0, release.end(curves[0].cell.map) // interval + 1) * interval
    runs = np.zeros(len(steps), int)
    for curve in curves:
        if curve.kind == "group":
            shown = {number: len(v) for number, v in per_evaluation(curve, interval).items()}
            seen = pd.Series(shown).reindex(range(len(steps)), fill_value=0)
            runs += seen.rolling(_STEADY, center=True, min_periods=1).max().to_numpy(int)
        else:
            runs += steps <= curve.steps.max() + interval
    return steps, runs


def _changes(steps: np.ndarray, runs: np.ndarray) -> list[tuple[int, int]]:
    """Steps at which the number of runs changes for good, and the number from there on."""
    edges = [0, *(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(runs)]
    found: list[tuple[int, int]] = []
    for begin, end in pairwise(edges):
        lasting = end - begin >= _STEADY or end == len(runs)
        if lasting and (not found or runs[begin] != found[-1][1]):
            found.append((int(steps[begin]), int(runs[begin])))
    return found


# When runs were evaluated, and for how long.


def disorder(release: Release, curve: Curve) -> Findings:
    """A run logs each step once, in order; else files were joined or runs restarted."""
    lost = int((~np.isfinite(curve.value)).sum())
    if lost:
        yield _finding("warning", [curve], lost=lost, values=len(curve.value))
    back = np.diff(curve.steps) <= 0
    if back.any():
        yield _finding("error", [curve], times=back.sum(), step=curve.steps[np.argmax(back)])


def truncated(release: Release, curve: Curve) -> Findings:
    """The end of the curve is then made of the runs that lasted, which are no random choice."""
    end, last, evaluations = release.end(curve.cell.map), curve.steps.max(), len(curve.value)
    if curve.kind == "run" and last < _SHORT * end:
        numbers = {"last": last, "end": end, "evaluations": evaluations}
        severity, excludes = ("error", [curve]) if evaluations < _STUB else ("warning", [])
        yield _finding(severity, [curve], excludes, **numbers, value=curve.value[-1])


def unequal_grid(release: Release, curves: list[Curve]) -> Findings:
    """An average row by row joins values of different training, and ends with the shortest run."""
    interval = release.source.interval
    runs = [curve for curve in curves if curve.kind == "run" and len(curve.value) >= _STUB]
    if len(runs) < 2:
        return
    lengths = [len(run.steps) for run in runs]
    spread = int(np.ptp([run.steps[: min(lengths)] for run in runs], axis=0).max())
    if spread > interval or min(lengths) < _SHORT * max(lengths):
        numbers = {"runs": len(runs), "shortest": min(lengths), "longest": max(lengths)}
        severity = "warning" if spread > 5 * interval else "note"
        yield _finding(severity, runs, **numbers, spread=spread)


def step_offset(
    release: Release, cell: Cell, drawn: dict[tuple[str, str], list[Curve]]
) -> Findings:
    """Evaluations come just after a multiple of the interval.

    Where they keep a constant distance from it, the counter was ahead when training began: so much
    was trained and not counted alike.
    """
    interval = release.source.interval
    offsets, shown = {}, []
    for (algorithm, variant), curves in drawn.items():
        if found := _offsets(curves, interval):
            offsets[algorithm if variant == DEFAULT else variant] = found
            shown += curves
    first = [offset for parts in offsets.values() for offset, _ in parts]
    if first and np.ptp(first) > _OFFSET * interval:
        mixed = ", ".join(name for name, parts in offsets.items() if len(parts) > 1)
        numbers = {
            "offsets": offsets,
            "words": ", ".join(f"{name} {_in_words(parts)}" for name, parts in offsets.items()),
            "mixed": f"; {mixed} joins runs of different set-ups" if mixed else "",
        }
        yield _finding("warning", shown, cell=cell, size=float(np.ptp(first)), **numbers)


def _in_words(offsets: list[tuple[int, float]]) -> str:
    if len(offsets) == 1:
        return str(offsets[0][0])
    return " and ".join(f"{offset} ({share:.0%})" for offset, share in offsets)


def _offsets(curves: list[Curve], interval: int) -> list[tuple[int, float]]:
    """How far after multiples of the interval a cell's evaluations begin.

    Returns:
        Smallest offset and share of evaluations of each group of offsets; nothing where the
        evaluations do not follow the grid.
    """
    steps = np.concatenate([curve.steps for curve in curves])
    late = np.sort(steps[steps >= interval] % interval)
    if not len(late) or np.mean(late < _ANCHORED * interval) < 0.98:
        return []
    late = late[late < _ANCHORED * interval]
    breaks = np.flatnonzero(np.diff(late) > _GAP * interval) + 1
    groups = [group for group in np.split(late, breaks) if len(group) >= 0.05 * len(late)]
    return [(int(group[0]), len(group) / len(late)) for group in groups]
