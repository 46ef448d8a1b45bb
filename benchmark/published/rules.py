"""The rules of the audit: each finds one kind of defect, and is told nothing about where one is.

A rule is a function of a release that yields findings: a severity, the cell, the curves (the first
one is what a picture shows), the numbers for the sentences in ``rules.yaml``, and what the cleaned
data do without.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analysis import labels
from benchmark.analysis.labels import DEFAULT
from benchmark.published import paper_plots
from benchmark.published.release import Cell, Curve, Release, off_grid
from benchmark.published.scores import per_evaluation
from benchmark.training.config import load_yaml

SEVERITIES = ("error", "warning", "note")  #: the worst first
#: rule -> ``finds``, and per severity ``evidence`` and ``effect``; in the order of the findings.
SENTENCES: dict[str, dict] = load_yaml(Path(__file__).with_name("rules.yaml"))

_TRAINING_TAGS = re.compile(
    r"(?<!test_)(battle_won_mean|return_mean)$|(^|[_/])train", re.IGNORECASE
)
_DATE = re.compile(r"(20\d\d-\d\d-\d\d)")
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
    cell: Cell | None  #: None where a whole release is meant
    curves: Sequence[Curve]  #: that it is about; the first one is what a picture shows
    numbers: dict  #: that the sentences name
    excludes: Sequence[Exclusion] = ()
    size: float = 0.0  #: how much of it there is, among findings of one rule
    offsets: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  #: of ``step_offset``
    rule: str = ""  #: filled in by the audit
    change: str = ""  #: of the final value, by all exclusions; filled in by the audit

    @property
    def evidence(self) -> str:
        """What was seen, in words."""
        return SENTENCES[self.rule][self.severity]["evidence"].format(**self.numbers)

    @property
    def effect(self) -> str:
        """What it does to the published figure, in words."""
        return SENTENCES[self.rule][self.severity]["effect"].format(**self.numbers) + self.change


Findings = Iterator[Finding]


def _whole(*curves: Curve) -> list[Exclusion]:
    return [Exclusion(curve) for curve in curves]


def _count(curves: Sequence[Curve]) -> str:
    return "one curve" if len(curves) == 1 else f"{len(curves)} curves"


# Numbers that cannot be read, or are not what they are drawn as.


def unreadable(release: Release) -> Findings:
    """What a curve shows is without them."""
    for problem in release.problems:
        yield Finding("warning", None, [], {"problem": problem})


def not_test(release: Release) -> Findings:
    """A test of n episodes gives multiples of 1/n.

    PyMARL's training statistics average whatever episodes ended since the last log, with
    exploration on: they are multiples of nothing, and low.
    """
    n = release.episodes
    for cell, curves in release.cells.items() if n else ():
        known = [curve for curve in curves if curve.shows_grid]
        wrong = [curve for curve in known if not curve.episodes(n)]
        if wrong:
            shares = sorted(curve.share_on_grid(n) for curve in wrong)
            extremes = dict.fromkeys(f"{100 * share:.0f}" for share in (shares[0], shares[-1]))
            numbers = {"wrong": len(wrong), "curves": len(curves), "episodes": n}
            numbers["shares"] = " to ".join(extremes)
            shown = [*wrong, *(curve for curve in known if curve not in wrong)]
            yield Finding("error", cell, shown, numbers, _whole(*wrong), size=len(wrong))


def not_test_kin(release: Release) -> Findings:
    """A curve that hardly leaves 0 or 1 says nothing about itself.

    Where its tag does not say "test" and all other curves of the cell with that tag are training
    statistics, it is taken for one too.
    """
    for cell, silent, training in _silent(release):
        if training:
            numbers = {"curves": _count(silent), "training": len(training)}
            yield Finding("warning", cell, [*silent, *training], numbers, _whole(*silent))


def test_or_training(release: Release) -> Findings:
    """They hardly leave 0 or 1, no tag names them, and no companion tells more."""
    for cell, silent, training in _silent(release):
        untagged = [curve for curve in silent if not curve.tag and np.isfinite(curve.wall).any()]
        if untagged and not training:
            yield Finding("note", cell, untagged, {"curves": _count(untagged)})


def _silent(release: Release) -> Iterator[tuple[Cell, list[Curve], list[Curve]]]:
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
                yield cell, silent, telling


def training_tag(release: Release) -> Findings:
    """PyMARL writes ``battle_won_mean`` while exploring, ``test_battle_won_mean`` in evaluation."""
    for cell, curves in release.cells.items():
        tagged = [curve for curve in curves if _TRAINING_TAGS.search(curve.tag)]
        if tagged:
            numbers = {"curves": _count(tagged), "tag": tagged[0].tag}
            yield Finding("error", cell, tagged, numbers, _whole(*tagged))


def out_of_range(release: Release) -> Findings:
    """The first are no win rates; the second show that a run's returns have their own scale."""
    limit = release.source.return_limit
    for cell, curves in release.cells.items():
        if cell.metric == "win_rate":
            for curve in curves:
                low, high = np.nanmin(curve.value), np.nanmax(curve.value)
                if low < 0 or high > 1:
                    numbers = {"low": low, "high": high}
                    yield Finding("error", cell, [curve], numbers, _whole(curve))
            continue
        above = [curve for curve in curves if np.nanmax(curve.value) > 1.05 * limit]
        if above:
            highest = float(max(np.nanmax(curve.value) for curve in above))
            numbers = {"highest": highest, "curves": _count(above), "limit": limit}
            yield Finding("warning", cell, above, numbers, size=highest)


def filled(release: Release) -> Findings:
    """Gaps are filled like that by hand or by software; the values are left out, the curve kept."""
    for curve in release.by_cell:
        for begin, end, how in _filled(curve, release) if curve.kind == "run" else ():
            rows = int(curve.rows[begin]), int(curve.rows[end - 1])
            numbers = {"length": end - begin, "first": begin, "last": end - 1, "how": how}
            excludes = [Exclusion(curve, rows)]
            yield Finding("error", curve.cell, [curve], numbers, excludes, size=end - begin)


def _filled(curve: Curve, release: Release) -> Iterator[tuple[int, int, str]]:
    """Stretches that nobody measured: first index, end, and how they look.

    Values at the bounds repeat honestly: a method that always loses or always wins. What a victory
    is worth may differ by run, so the curve's own highest return is a bound as well.
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


def return_scale(release: Release) -> Findings:
    """Different returns at equal win rates show that returns come in a unit of their own.

    SMACv2's client scales rewards by the first team that a process draws (docs/fidelity.md).
    """
    for cell, pairs in release.both_metrics():
        pairs = [(w, r) for w, r in pairs if w.kind == "run" and np.array_equal(w.steps, r.steps)]
        levels = [_return_at(won.value, earned.value, 0.3) for won, earned in pairs]
        levels = sorted(level for level in levels if level is not None)
        if len(levels) > 1 and levels[-1] > _SCALE * levels[0]:
            factor = levels[-1] / levels[0]
            numbers = {"levels": ", ".join(f"{level:.1f}" for level in levels), "factor": factor}
            shown = [curve for pair in pairs for curve in reversed(pair)]
            yield Finding("warning", cell._replace(metric="return"), shown, numbers, size=factor)


def _return_at(win_rate: np.ndarray, returns: np.ndarray, level: float) -> float | None:
    """A run's return at a win rate, on its own straight line."""
    known = np.isfinite(win_rate) & np.isfinite(returns)
    if not known.any() or np.std(win_rate[known]) < _MOVES:
        return None
    slope, start = np.polyfit(win_rate[known], returns[known], 1)
    return float(start + slope * level)


# The same numbers more than once.


def counted_twice(release: Release) -> Findings:
    """Identical curves are one run, so a mean and a band over the files count it twice."""
    for cell, _, curves in release.drawn_together():
        groups = [same for same in _identical(curves) if len(same) > 1]
        for same in groups:
            if not _is_distinctive(same[0]):
                numbers = {"alike": _alike(release, same), "runs": len(same)}
                yield Finding("note", cell, same, numbers | {"value": same[0].value[0]})
        groups = [
            sorted(same, key=_plain_name_first) for same in groups if _is_distinctive(same[0])
        ]
        copies = [copy for _, *others in groups for copy in others]
        if copies:
            numbers = {"copies": len(copies), "curves": len(curves)}
            numbers["alike"] = _alike(release, groups[0])
            shown, size = [curve for same in groups for curve in same], len(copies) / len(curves)
            yield Finding("error", cell, shown, numbers, _whole(*copies), size)


def reused(release: Release) -> Findings:
    """That is fine as long as nobody takes the figures for independent evidence."""
    for cell, curves in release.cells.items():
        ordered = sorted(curves, key=lambda curve: (curve.panel != "main", curve.panel))
        found = []
        for same in _identical(ordered):
            others = [curve for curve in same if curve.panel != same[0].panel]
            if others and _is_distinctive(same[0]):
                found.append((same[0], others))
        if found:
            again = [curve for _, others in found for curve in others]
            numbers = {
                "alike": _alike(release, [found[0][0], *found[0][1]]),
                "first": found[0][0].panel,
                "again": ", ".join(dict.fromkeys(curve.panel for curve in again)),
            }
            shown = [*(first for first, _ in found), *again]
            yield Finding("note", cell, shown, numbers, _whole(*again))


def under_two_names(release: Release) -> Findings:
    """At most one name is right.

    It is taken to be the one whose other metric was logged at the same steps; where that does not
    decide, no name is believed.
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
                about = numbers | {"map": curve.cell.map}
                yield Finding("error", curve.cell, shown, about, _whole(curve))


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
        numbers = {"kept": kept.name, "same": same.sum(), "length": length, "longest": longest}
        size = float(same.sum())
        yield Finding("error", made.cell, [made, kept], numbers, _whole(made), size)


def _plain_name_first(curve: Curve) -> tuple:
    return bool(re.search(r"\bcopy\b|\(\d+\)", curve.name)), curve.name


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
                numbers = {"curves": _count(curves), "metric": metric.replace("_", " ")}
                numbers |= {"files": len({c.file for c in curves}), "mean": mean, "band": band}
                yield Finding(severity, None, curves, numbers)


def several_groups(release: Release) -> Findings:
    """Runs are grouped by what they were started with, so these are different experiments."""
    for cell, _, curves in release.drawn_together():
        groups = [curve for curve in curves if curve.kind == "group"]
        if len(groups) > 1:
            named = (f"{group.column!r} ({len(group.value)} values)" for group in groups)
            yield Finding("note", cell, groups, {"groups": " and ".join(named)})


def unverifiable_label(release: Release) -> Findings:
    """Only the file's name then says which variant it is, and nothing can confirm it."""
    groups: dict[str, list[Curve]] = {}
    for curve in release.curves:
        if curve.kind == "group":
            groups.setdefault(curve.column, []).append(curve)
    for column, curves in groups.items():
        different = list({c.value.tobytes(): c for c in reversed(curves)}.values())
        variants = sorted({curve.cell.variant for curve in different})
        if len(variants) > 1:
            numbers = {"files": len(different), "variants": ", ".join(variants), "column": column}
            cell = different[0].cell._replace(variant="several")
            yield Finding("warning", cell, different, numbers)


def name_date(release: Release) -> Findings:
    """A file that was renamed to stand for another run keeps its old clock."""
    for curve in release.by_cell:
        dates = _DATE.findall(curve.file)
        if not dates or not np.isfinite(curve.wall).any():
            continue
        try:
            said = datetime.fromisoformat(dates[-1]).replace(tzinfo=UTC)
            ran = datetime.fromtimestamp(float(np.nanmin(curve.wall)), UTC)
        except (ValueError, OverflowError, OSError):  # a number that is no date
            continue
        if abs((ran - said).days) > _DAYS:
            yield Finding("warning", curve.cell, [curve], {"said": said, "ran": ran})


def metrics_of_other_runs(release: Release) -> Findings:
    """One evaluation logs both at the same steps.

    Steps that only one of them has belong to runs that only one of the two figures shows.
    """
    for cell, pairs in release.both_metrics():
        for won, earned in pairs:
            ours, theirs = set(won.steps.tolist()), set(earned.steps.tolist())
            common = len(ours & theirs)
            if common < _SHARED * max(len(ours), len(theirs)):
                numbers = {"returns": len(theirs), "win_rates": len(ours), "common": common}
                numbers["runs"] = _runs_of_one_metric(won, earned, common, release.source.interval)
                yield Finding("warning", cell._replace(metric="return"), [earned, won], numbers)


def _runs_of_one_metric(won: Curve, earned: Curve, common: int, interval: int) -> str:
    """How many runs only one of the two shows, in words."""
    if won.kind == "run":
        return " (not one run)" if not common else ""
    per_run = len({step // interval for step in earned.steps.tolist()})
    parts = []
    for curve, metric in ((earned, "return"), (won, "win rate")):
        runs = round((len(curve.steps) - common) / per_run)
        parts.append(f"about {labels.count([runs], 'run')} with a {metric} only")
    return f": {', '.join(parts)}"


def number_of_runs(release: Release) -> Findings:
    """A curve that loses runs can rise or fall without any run doing so."""
    for cell, _, curves in release.drawn_together():
        changes = _changes(*visible_runs(curves, release, cell))
        if len(changes) > 1 and changes[-1][1] < max(n for _, n in changes):
            parts = ", ".join(f"{n} from step {step:,}" for step, n in changes)
            numbers = {"numbers": parts, "end": release.end(cell.map)}
            yield Finding("warning", cell, curves, numbers)


def different_numbers(release: Release) -> Findings:
    """Bands of different numbers of runs cannot be compared by eye."""
    for cell, drawn in _by_panel(release):
        counts = {m: visible_runs(c, release, cell)[1].max() for m, c in drawn.items()}
        if len(set(counts.values())) > 1:
            # a variant is named with its algorithm here
            names = {m: m[0] if m[1] == DEFAULT else " ".join(m) for m in counts}
            numbers = {"numbers": ", ".join(f"{names[m]} {n}" for m, n in counts.items())}
            numbers |= {"fewest": min(counts.values()), "most": max(counts.values())}
            yield Finding("note", cell, [c for curves in drawn.values() for c in curves], numbers)


def visible_runs(
    curves: list[Curve], release: Release, cell: Cell
) -> tuple[np.ndarray, np.ndarray]:
    """How many runs a cell shows per evaluation until the end of the figure: steps [K], runs [K].

    A group hides runs that agree at one step, so the largest number nearby is taken.
    """
    interval = release.source.interval
    steps = np.arange(0, release.end(cell.map) // interval + 1) * interval
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


def disorder(release: Release) -> Findings:
    """A run logs each step once, in order; else files were joined or runs restarted."""
    for curve in release.by_cell:
        lost = int((~np.isfinite(curve.value)).sum())
        if lost:
            numbers = {"lost": lost, "values": len(curve.value)}
            yield Finding("warning", curve.cell, [curve], numbers)
        back = np.diff(curve.steps) <= 0
        if back.any():
            numbers = {"times": back.sum(), "step": curve.steps[np.argmax(back)]}
            yield Finding("error", curve.cell, [curve], numbers)


def truncated(release: Release) -> Findings:
    """The end of the curve is then made of the runs that lasted, which are no random choice."""
    for curve in release.by_cell:
        end, last, evaluations = release.end(curve.cell.map), curve.steps.max(), len(curve.value)
        if curve.kind == "run" and last < _SHORT * end:
            numbers = {"last": last, "end": end, "evaluations": evaluations}
            numbers["value"] = curve.value[-1]
            stub = evaluations < _STUB
            severity, excludes = ("error", _whole(curve)) if stub else ("warning", ())
            yield Finding(severity, curve.cell, [curve], numbers, excludes)


def unequal_grid(release: Release) -> Findings:
    """An average row by row joins values of different training, and ends with the shortest run."""
    interval = release.source.interval
    for cell, curves in release.cells.items():
        runs = [curve for curve in curves if curve.kind == "run" and len(curve.value) >= _STUB]
        if len(runs) < 2:
            continue
        lengths = [len(run.steps) for run in runs]
        spread = int(np.ptp([run.steps[: min(lengths)] for run in runs], axis=0).max())
        if spread > interval or min(lengths) < _SHORT * max(lengths):
            numbers = {"runs": len(runs), "shortest": min(lengths), "longest": max(lengths)}
            severity = "warning" if spread > 5 * interval else "note"
            yield Finding(severity, cell, runs, numbers | {"spread": spread})


def step_offset(release: Release) -> Findings:
    """Evaluations come just after a multiple of the interval.

    Where they keep a constant distance from it, the counter was ahead when training began: so much
    was trained and not counted alike.
    """
    interval = release.source.interval
    for cell, drawn in _by_panel(release):
        offsets, shown = {}, []
        for (algorithm, variant), curves in drawn.items():
            if found := _offsets(curves, interval):
                offsets[algorithm if variant == DEFAULT else variant] = found
                shown += curves
        first = [offset for parts in offsets.values() for offset, _ in parts]
        if first and np.ptp(first) > _OFFSET * interval:
            mixed = ", ".join(name for name, parts in offsets.items() if len(parts) > 1)
            numbers = {
                "offsets": ", ".join(f"{name} {_in_words(p)}" for name, p in offsets.items()),
                "mixed": f"; {mixed} joins runs of different set-ups" if mixed else "",
            }
            size = float(np.ptp(first))
            yield Finding("warning", cell, shown, numbers, size=size, offsets=offsets)


def _by_panel(release: Release) -> Iterator[tuple[Cell, dict[tuple[str, str], list[Curve]]]]:
    """Per panel of a figure: the cell that stands for it, and the curves of each method in it."""
    panels: dict[Cell, dict[tuple[str, str], list[Curve]]] = {}
    for cell, panel, curves in release.drawn_together():
        variant = panel if panel != "main" else DEFAULT
        methods = panels.setdefault(Cell(cell.map, "several", variant, cell.metric), {})
        methods[cell[1:3]] = curves
    yield from panels.items()


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


#: In the order in which findings are listed.
RULES: dict[str, Callable[[Release], Findings]] = {name: globals()[name] for name in SENTENCES}
