"""The paper's claims as data, ``config/claims.yaml``, and their tests, all by the same rules.

The margins below which a difference counts as none are part of the file, and were fixed before any
claim was tested. A claim is tested on several sets of numbers: the released ones as they are, the
same cleaned, the cleaned ones against another release of the compared method, and our own runs.
Numbers of two backends never meet in one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy import stats

from benchmark import files, strict_yaml
from benchmark.analysis import labels
from benchmark.analysis.labels import Metric
from benchmark.analysis.scores import Method
from benchmark.errors import BenchmarkError
from benchmark.published import scores
from benchmark.published.audit import Audit
from benchmark.published.release import Cell, Curve
from benchmark.published.scores import Estimate, Measurement, estimate
from benchmark.training.config import DEFAULT, one_line_errors

#: The claims of the R3DM paper.
PAPER = files.ROOT / "config" / "claims.yaml"

COLUMNS = [
    *("claim", "says", "stated", "data", "backend", "place", "metric", "at", "left", "right"),
    *("n_left", "n_right", "mean_left", "mean_right", "difference", "low", "high", "p"),
    *("verdict", "expected", "outcome", "flags"),
]
ROUNDING = 1e-9  #: runs whose spread is smaller do not differ
OUTCOMES = ("holds", "fails", "open", "partial", "no valid data")

AS_RELEASED, CLEANED = "as released", "cleaned"
WIDEST = "cleaned, widest"  #: with the widest spread that groups of unknown runs can have

Verdict = Literal["higher", "lower", "equal"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Model):
    """What every kind of claim says."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    says: str
    """The claim in our words."""
    stated: str
    """Where the paper states it, or what of it was read from a figure."""
    metric: Metric = "win_rate"
    maps: list[str] = Field(min_length=1)
    left: str
    right: list[str] = Field(min_length=1)
    expect: list[Verdict] = Field(min_length=1)
    """The verdicts that the claim expects."""
    at: float = Field(default=1.0, gt=0, le=1)
    """Which part of training, of the length of the published curve."""

    @field_validator("expect", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @property
    def methods(self) -> tuple[Method, list[Method]]:
        """Left and right."""
        left, *right = (
            Method(algorithm, variant or DEFAULT)
            for algorithm, _, variant in (text.partition("/") for text in (self.left, *self.right))
        )
        return left, right


class PerMap(Comparison):
    """Left against each of right, on each map: Welch's intervals, Holm's correction per map."""

    kind: Literal["per_map"]


class PerSuite(Comparison):
    """Left against each of right, averaged over the maps: Welch's interval of that average.

    Without whole data on every map the average is another one: it is shown, and decides nothing.
    """

    kind: Literal["per_suite"]
    suite: str
    """What the maps are together."""


class LargestGain(Comparison):
    """The largest lead of left over the best of right on any of the maps, against a number.

    One map with whole data of all methods can show it; that it is nowhere, only all maps.
    """

    kind: Literal["largest_gain"]
    suite: str
    gain: float
    """What the lead is compared with."""


Claim = Annotated[PerMap | PerSuite | LargestGain, Field(discriminator="kind")]


class Shown(_Model):
    """The comparison that has a picture of its own."""

    claim: str
    right: str


class Claims(_Model):
    """The file ``config/claims.yaml``."""

    version: Literal[1]
    paper: str
    alpha: float = Field(gt=0, lt=1)
    """Error rate of the family of a claim's comparisons on one map."""
    margins: dict[Metric, float]
    """Differences up to this count as none."""
    reproduction: dict[Metric, float]
    """Ours within this of the published mean counts as reproduced."""
    claims: list[Claim] = Field(min_length=1)
    shown: Shown | None = None

    @field_validator("margins", "reproduction")
    @classmethod
    def _every_metric(cls, value: dict[str, float]) -> dict[str, float]:
        for metric in labels.METRICS:
            if value.get(metric, 0) <= 0:
                raise ValueError(f"needs a margin above 0 for {metric}")
        return value

    @field_validator("claims")
    @classmethod
    def _unique(cls, value: list) -> list:
        ids = [claim.id for claim in value]
        for twice in {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"the id {twice!r} stands twice")
        return value


def load(path: str | Path) -> Claims:
    """Reads a file of claims.

    Raises:
        BenchmarkError: names the file, the key and what is wrong.
    """
    values = strict_yaml.load(path)
    with one_line_errors(str(path)):
        return Claims.model_validate(values)


@dataclass(frozen=True)
class Dataset:
    """One set of numbers."""

    name: str
    backend: str
    cells: dict[Cell, list[Curve]]
    ends: dict[str, int]  #: where the curve of each map ends, in env steps
    how: Measurement
    flags: dict[Cell, list[str]]  #: what the audit found and the numbers still hold

    def scores(self, cell: Cell, at: int) -> np.ndarray:
        """Scores of a cell's runs at a step."""
        return scores.scores(self.cells.get(cell, []), at, self.how).value

    def flagged(self, cell: Cell) -> list[str]:
        """What is known against a cell's numbers."""
        grouped = any(curve.kind == "group" for curve in self.cells.get(cell, []))
        return [*self.flags.get(cell, []), *(["run identity unknown"] if grouped else [])]


def of_release(found: Audit, name: str) -> Dataset:
    """The numbers of a release: ``AS_RELEASED``, ``CLEANED`` or ``WIDEST``."""
    release = found.as_released() if name == AS_RELEASED else found.cleaned()
    return Dataset(
        name=name,
        backend=release.source.backend,
        cells=release.cells,
        ends={cell.map: release.end(cell.map) for cell in release.cells},
        how=Measurement(release.source.interval, release.episodes, widest=name == WIDEST),
        flags={cell: found.rules_of(cell, left=name != AS_RELEASED) for cell in release.cells},
    )


class Sides(NamedTuple):
    """Where the two sides of every comparison come from."""

    data: str
    left: Dataset
    right: Dataset


class Difference(NamedTuple):
    """Left minus right; NaN where it cannot be estimated."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan  #: two-sided, corrected


class _Side(NamedTuple):
    """One method on one map."""

    map: str
    method: Method
    scores: np.ndarray  #: [n], of its runs
    flags: list[str]

    @property
    def mean(self) -> float:
        """Over runs."""
        return estimate(self.scores).mean


class _Pair(NamedTuple):
    """Two methods on one map."""

    at: int  #: env step of the scores: the earlier end, or a part of it; 0 without data
    left: _Side
    right: _Side

    @property
    def whole(self) -> bool:
        """Whether both sides have an interval."""
        return min(len(self.left.scores), len(self.right.scores)) > 1


#: What a test gives: where, against which method, the pairs that it used, their difference, and
#: what it says.
_Tested = Iterator[tuple[str, str, list[_Pair], Difference, str]]


def run(claims: Claims, sides: Iterable[Sides]) -> pd.DataFrame:
    """Tests every claim on every set of numbers.

    Returns:
        One row of ``COLUMNS`` per comparison, in the order of the claims.

    Raises:
        BenchmarkError: the two sides of a set come from different backends.
    """
    tests = {"per_map": _per_map, "per_suite": _per_suite, "largest_gain": _largest_gain}
    sides = list(sides)
    for data in sides:
        if data.left.backend != data.right.backend:
            raise BenchmarkError(
                f"{data.data}: {data.left.backend} and {data.right.backend} are never compared"
            )
    rows = [
        _row(claim, data, *tested)
        for claim in claims.claims
        for data in sides
        for tested in tests[claim.kind](claim, _pairs(claim, data), claims)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _pairs(claim: Comparison, sides: Sides) -> dict[str, list[_Pair]]:
    """Left with each of right, by map; of another release only what it has."""
    left, others = claim.methods
    there = [cell for cell in sides.right.cells if cell.metric == claim.metric]
    maps, methods = {cell.map for cell in there}, {cell[1:3] for cell in there}

    def side(data: Dataset, map: str, method: Method, at: int) -> _Side:
        cell = Cell(map, *method, claim.metric)
        flags = [f"{method}: {flag}" for flag in data.flagged(cell)]
        return _Side(map, method, data.scores(cell, at), flags)

    found: dict[str, list[_Pair]] = {}
    for map in claim.maps:
        at = int(claim.at * min(data.ends.get(map, 0) for data in sides[1:]))
        for other in others:
            if sides.left is sides.right or (map in maps and other in methods):
                pair = side(sides.left, map, left, at), side(sides.right, map, other, at)
                found.setdefault(map, []).append(_Pair(at, *pair))
    return found


def _per_map(claim: PerMap, pairs: dict[str, list[_Pair]], claims: Claims) -> _Tested:
    """Comparisons on single maps; those of the claim on one map are one family."""
    for map, family in pairs.items():
        of_runs = [(estimate(pair.left.scores), estimate(pair.right.scores)) for pair in family]
        for pair, difference in zip(family, welch(of_runs, claims.alpha), strict=True):
            found = verdict(difference, claims.margins[claim.metric])
            yield map, str(pair.right.method), [pair], difference, found


def _per_suite(claim: PerSuite, pairs: dict[str, list[_Pair]], claims: Claims) -> _Tested:
    """Differences of the means over maps, each with a Welch interval of its own."""
    for of_maps in zip(*pairs.values(), strict=True):
        whole = [pair for pair in of_maps if pair.whole]
        place, difference, found = claim.suite, Difference(), "no valid data"
        if whole:
            of_runs = [(estimate(one.left.scores), estimate(one.right.scores)) for one in whole]
            value = float(np.mean([left.mean - right.mean for left, right in of_runs]))
            p, error, freedom = _welch_test(of_runs)
            reach = _reach(error, freedom, claims.alpha)
            difference = Difference(value, value - reach, value + reach, p)
            lacks = _lacks(claim, [pair.left.map for pair in whole])
            found = "partial" if lacks else verdict(difference, claims.margins[claim.metric])
            place += lacks
        yield place, str(of_maps[0].right.method), whole, difference, found


def _lacks(claim: Comparison, whole: list[str], says: str = "lacks") -> str:
    """Names the maps without whole data; empty where every map has them."""
    lacking = [map for map in claim.maps if map not in whole]
    return f" ({says} {', '.join(lacking)})" if lacking else ""


def _largest_gain(claim: LargestGain, pairs: dict[str, list[_Pair]], claims: Claims) -> _Tested:
    """The largest lead, over maps, of one method over the best of the others.

    The largest of several noisy leads is too large on average, and the best of the others too good,
    so the bounds come from all Welch intervals of single pairs. The lead on a map is the smallest
    of its differences. It is at least the lowest lower bound, whichever other method is the best,
    so these are corrected (Bonferroni) for the maps alone; and at most the lowest upper bound,
    corrected for the others alone, since only the map of the largest lead matters.
    """
    whole = {name: [pair for pair in pairs.get(name, ()) if pair.whole] for name in claim.maps}
    complete = [name for name, of_map in whole.items() if len(of_map) == len(claim.right)]
    bests = [max(of_map, key=lambda pair: pair.right.mean) for of_map in whole.values() if of_map]
    if bests:
        best = max(bests, key=lambda pair: pair.left.mean - pair.right.mean)
        level = claims.alpha / len(claim.maps)
        lows = [min(_bounds(pair, level)[0] for pair in whole[name]) for name in complete]
        level = claims.alpha / len(claim.right)
        highs = [
            min((_bounds(pair, level)[1] for pair in of_map), default=np.inf)
            for of_map in whole.values()
        ]
        lead = best.left.mean - best.right.mean
        difference = Difference(lead, max(lows, default=-np.inf), max(highs))
        found = verdict(difference, 0, claim.gain)
        lacks = _lacks(claim, complete, "lacks a method on")
        if lacks and found not in ("higher", "lower"):
            found = "partial"
        place = f"{best.left.map} of {claim.suite}{lacks}"
        among = ", ".join(str(pair.right.method) for pair in whole[best.left.map])
        yield place, f"{best.right.method}, best of {among}", [best], difference, found
    elif pairs:
        among = ", ".join(claim.right)
        yield claim.suite, f"best of {among}", [], Difference(), "no valid data"


def _bounds(pair: _Pair, level: float) -> tuple[float, float]:
    """Welch's interval of one pair."""
    left, right = estimate(pair.left.scores), estimate(pair.right.scores)
    _, error, freedom = _welch_test([(left, right)])
    reach = _reach(error, freedom, level)
    return left.mean - right.mean - reach, left.mean - right.mean + reach


def welch(pairs: Sequence[tuple[Estimate, Estimate]], alpha: float = 0.05) -> list[Difference]:
    """Differences of means within one family of comparisons.

    Welch's t for each pair; Holm's correction over the pairs: the smallest p is compared with
    alpha / m, the next one against alpha / (m - 1), and so on until one fails. The interval of a
    pair has the level of its step (of the first failing one from there on), so that it leaves out
    zero exactly where Holm rejects. The rate alpha holds for these decisions together (which of two
    means is higher); the intervals do not cover all differences together.

    Where no run differs from another one of its side, nothing tells how much runs vary: agreement
    of a few runs, all of which may be at 0, is no certainty, and the interval has no bounds.

    Args:
        pairs: left and right; a side with fewer than two scores has no interval.
    """
    found = [Difference(left.mean - right.mean) for left, right in pairs]
    tests = {
        number: _welch_test([pair])
        for number, pair in enumerate(pairs)
        if min(side.n for side in pair) > 1
    }
    corrected, failed, level = 0.0, False, alpha
    for done, number in enumerate(sorted(tests, key=lambda number: tests[number][0])):
        remaining = len(tests) - done
        p, error, freedom = tests[number]
        if not failed:
            level = alpha / remaining
        failed = failed or p > level
        corrected = max(corrected, min(1.0, p * remaining))
        value, reach = found[number].value, _reach(error, freedom, level)
        found[number] = Difference(value, value - reach, value + reach, corrected)
    return found


def _welch_test(pairs: Sequence[tuple[Estimate, Estimate]]) -> tuple[float, float, float]:
    """The two-sided p of a difference of means, averaged over pairs, its standard error and degrees
    of freedom (Welch and Satterthwaite).
    """
    gap = abs(sum(left.mean - right.mean for left, right in pairs)) / len(pairs)
    sides = [side for pair in pairs for side in pair]
    parts = [(side.sd**2 / side.n / len(pairs) ** 2, side.n) for side in sides]
    error = float(np.sqrt(sum(part for part, _ in parts)))
    if error < ROUNDING:
        return 1.0, np.inf, np.inf
    freedom = error**4 / sum(part**2 / (n - 1) for part, n in parts)
    return float(2 * stats.t.sf(gap / error, freedom)), error, freedom


def _reach(error: float, freedom: float, level: float) -> float:
    """Half of the width of Welch's interval."""
    return float(stats.t.ppf(1 - level / 2, freedom) * error)


def verdict(difference: Difference, margin: float, around: float = 0.0) -> str:
    """What an interval says of a difference.

    Args:
        margin: differences up to this count as none, fixed beforehand.
        around: what the difference is compared with.

    Returns:
        "equal" where the whole interval lies within the margin, "higher" or "lower" where it lies
        on one side, "inconclusive" otherwise, "no spread seen" where it has no bounds, "no valid
        data" where there is no interval.
    """
    if np.isnan(difference.low):
        return "no valid data"
    if np.isinf(difference.low) and np.isinf(difference.high):
        return "no spread seen"
    low, high = difference.low - around, difference.high - around
    if -margin <= low and high <= margin:
        return "equal"
    if low > 0:
        return "higher"
    return "lower" if high < 0 else "inconclusive"


def _row(
    claim: Comparison,
    sides: Sides,
    place: str,
    right: str,
    pairs: list[_Pair],
    difference: Difference,
    found: str,
) -> dict:
    outcome = {"no spread seen": "open", "inconclusive": "open"}
    outcome |= {name: name for name in ("partial", "no valid data")}
    steps = {pair.at for pair in pairs}
    row = {
        **claim.model_dump(include={"says", "stated", "metric", "left"}),
        **{"claim": claim.id, "data": sides.data, "backend": sides.left.backend, "place": place},
        **{"at": steps.pop() if len(steps) == 1 else None, "right": right},
        **difference._asdict(),
        "difference": difference.value,
        "verdict": found,
        "expected": " or ".join(claim.expect),
        "outcome": outcome.get(found, "holds" if found in claim.expect else "fails"),
    }
    for side in ("left", "right"):
        of_maps = [getattr(pair, side) for pair in pairs]
        row[f"n_{side}"] = sum(len(one.scores) for one in of_maps)
        means = [one.mean for one in of_maps if len(one.scores)]
        row[f"mean_{side}"] = estimate(means).mean  # over maps of the mean over runs
    flags = [flag for pair in pairs for side in (pair.left, pair.right) for flag in side.flags]
    return {**row, "flags": "; ".join(dict.fromkeys(flags))}
