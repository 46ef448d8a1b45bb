"""Tests claims on sets of numbers, all by the same rules.

The sets are the released numbers as they are, the same cleaned, the cleaned ones against another
release of the compared method, and our own runs. Numbers of two backends never meet in one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analysis.bootstrap import REPLICATIONS, Bootstrap
from benchmark.analysis.scores import Method
from benchmark.errors import BenchmarkError
from benchmark.published import intervals
from benchmark.published.audit import Audit
from benchmark.published.claims import Claims, Comparison, LargestGain, PerMap, PerSuite
from benchmark.published.intervals import Difference, Moments, Sample
from benchmark.published.release import Cell, Curve
from benchmark.published.run_scores import Measurement, scores

COLUMNS = [
    *("claim", "says", "stated", "data", "backend", "place", "metric", "at", "left", "right"),
    *("n_left", "n_right", "mean_left", "mean_right", "difference", "low", "high", "p"),
    *("verdict", "expected", "outcome", "flags"),
]
OUTCOMES = ("holds", "fails", "open", "no valid data")

AS_RELEASED, CLEANED = "as released", "cleaned"
WIDEST = "cleaned, widest"  #: with the widest spread that groups of unknown runs can have


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
        return scores(self.cells.get(cell, []), at, self.how).value

    def flagged(self, cell: Cell) -> list[str]:
        """What is known against a cell's numbers."""
        grouped = any(curve.kind == "group" for curve in self.cells.get(cell, []))
        return [*self.flags.get(cell, []), *(["run identity unknown"] if grouped else [])]


def of_release(found: Audit, name: str, window: int) -> Dataset:
    """The numbers of a release.

    Args:
        name: ``AS_RELEASED``, ``CLEANED`` or ``WIDEST``.
        window: env steps at the end that a score averages.
    """
    release = found.as_released() if name == AS_RELEASED else found.cleaned()
    return Dataset(
        name=name,
        backend=release.source.backend,
        cells=release.cells,
        ends={cell.map: release.end(cell.map) for cell in release.cells},
        how=Measurement(release.source.interval, release.episodes, window, name == WIDEST),
        flags={cell: found.rules_of(cell, left=name != AS_RELEASED) for cell in release.cells},
    )


class Sides(NamedTuple):
    """Where the two sides of every comparison come from."""

    data: str
    left: Dataset
    right: Dataset

    def at(self, map: str, part: float = 1.0) -> int:
        """The step at which both are compared: the earlier end, or a part of it; 0 without data."""
        return int(part * min(self.left.ends.get(map, 0), self.right.ends.get(map, 0)))


class _Pair(NamedTuple):
    """Two methods on one map."""

    map: str
    at: int
    left: Sample
    right: Sample
    flags: list[str]

    @property
    def whole(self) -> bool:
        """Whether both sides have an interval."""
        return min(len(self.left.scores), len(self.right.scores)) > 1


def run(claims: Claims, sides: Iterable[Sides], replications: int = REPLICATIONS) -> pd.DataFrame:
    """Tests every claim on every set of numbers.

    Returns:
        One row of ``COLUMNS`` per comparison, in the order of the claims.

    Raises:
        BenchmarkError: the two sides of a set come from different backends.
    """
    rows = []
    bootstrap = Bootstrap(0, replications)
    for data in sides:
        if data.left.backend != data.right.backend:
            raise BenchmarkError(
                f"{data.data}: {data.left.backend} and {data.right.backend} are never compared"
            )
        for claim in claims.claims:
            if isinstance(claim, PerMap):
                rows += _per_map(claims, claim, data)
            elif isinstance(claim, PerSuite):
                rows += _per_suite(claims, claim, data, bootstrap)
            else:
                rows += _largest_gain(claims, claim, data, bootstrap)
    order = [claim.id for claim in claims.claims]
    rows.sort(key=lambda row: order.index(row["claim"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _known(claim: Comparison, sides: Sides) -> tuple[list[str], list[Method]]:
    """Maps and methods of the right side; of another release only those that it has."""
    if sides.left is sides.right:
        return claim.maps, claim.methods[1]
    there = {(cell.map, *cell[1:3]) for cell in sides.right.cells if cell.metric == claim.metric}
    maps = [map for map in claim.maps if map in {cell[0] for cell in there}]
    return maps, [method for method in claim.methods[1] if method in {cell[1:] for cell in there}]


def _pair(claim: Comparison, sides: Sides, map: str, right: Method, part: float = 1.0) -> _Pair:
    at = sides.at(map, part)
    samples, flags = [], []
    for side, method in ((sides.left, claim.methods[0]), (sides.right, right)):
        cell = Cell(map, *method, claim.metric)
        samples.append(Sample(side.scores(cell, at), (map, *method)))
        flags += [f"{method}: {flag}" for flag in side.flagged(cell)]
    return _Pair(map, at, *samples, flags)


def _per_map(claims: Claims, claim: PerMap, sides: Sides) -> Iterator[dict]:
    """Comparisons on single maps; those on one map are one family."""
    maps, others = _known(claim, sides)
    for map in maps:
        pairs = [_pair(claim, sides, map, right, claim.at) for right in others]
        samples = [(Moments.of(pair.left.scores), Moments.of(pair.right.scores)) for pair in pairs]
        differences = intervals.welch(samples, claims.alpha)
        for right, pair, difference in zip(others, pairs, differences, strict=True):
            yield _row(claims, claim, sides, map, str(right), [pair], difference)


def _per_suite(
    claims: Claims, claim: PerSuite, sides: Sides, bootstrap: Bootstrap
) -> Iterator[dict]:
    maps, others = _known(claim, sides)
    for right in others if maps else ():
        pairs = [_pair(claim, sides, map, right) for map in maps]
        whole = [pair for pair in pairs if pair.whole]
        difference = intervals.suite([(pair.left, pair.right) for pair in whole], bootstrap)
        left_out = [pair.map for pair in pairs if not pair.whole]
        place = claim.suite + (f" without {', '.join(left_out)}" if left_out and whole else "")
        yield _row(claims, claim, sides, place, str(right), whole, difference)


def _largest_gain(
    claims: Claims, claim: LargestGain, sides: Sides, bootstrap: Bootstrap
) -> Iterator[dict]:
    maps, others = _known(claim, sides)
    if not maps or not others:
        return
    among = f"best of {', '.join(map(str, others))}"
    found: list[dict[Method, _Pair]] = []
    for place in maps:
        pairs = {right: _pair(claim, sides, place, right) for right in others}
        pairs = {right: pair for right, pair in pairs.items() if pair.whole}
        if pairs:
            found.append(pairs)
    samples = [
        (next(iter(pairs.values())).left, [pair.right for pair in pairs.values()])
        for pairs in found
    ]
    difference, best = intervals.largest_gain(samples, bootstrap)
    if best is None:
        yield _row(claims, claim, sides, claim.suite, among, [], difference)
        return
    right, pair = max(found[best].items(), key=lambda item: np.mean(item[1].right.scores))
    place = f"{claim.suite}: {pair.map}"
    yield _row(claims, claim, sides, place, f"{right}, {among}", [pair], difference)


def _row(
    claims: Claims,
    claim: Comparison,
    sides: Sides,
    place: str,
    right: str,
    pairs: list[_Pair],
    difference: Difference,
) -> dict:
    around = claim.gain if isinstance(claim, LargestGain) else 0.0
    verdict = intervals.verdict(difference, claims.margins[claim.metric], around)
    steps = {pair.at for pair in pairs}
    return {
        "claim": claim.id,
        "says": claim.says,
        "stated": claim.stated,
        "data": sides.data,
        "backend": sides.left.backend,
        "place": place,
        "metric": claim.metric,
        "at": steps.pop() if len(steps) == 1 else None,
        "left": claim.left,
        "right": right,
        "n_left": sum(len(pair.left.scores) for pair in pairs),
        "n_right": sum(len(pair.right.scores) for pair in pairs),
        "mean_left": _mean(pair.left.scores for pair in pairs),
        "mean_right": _mean(pair.right.scores for pair in pairs),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "verdict": verdict,
        "expected": " or ".join(claim.expect),
        "outcome": _outcome(verdict, claim.expect),
        "flags": "; ".join(dict.fromkeys(flag for pair in pairs for flag in pair.flags)),
    }


def _mean(samples: Iterable[np.ndarray]) -> float:
    """Mean over maps of the mean over runs."""
    return intervals.mean([intervals.mean(scores) for scores in samples if len(scores)])


def _outcome(verdict: str, expected: list[str]) -> str:
    if verdict == "no valid data":
        return verdict
    if verdict == "inconclusive":
        return "open"
    return "holds" if verdict in expected else "fails"


def summary(tested: pd.DataFrame) -> pd.DataFrame:
    """How many comparisons of each claim hold, fail, stay open or have no valid data, by data."""
    groups = tested.groupby(["claim", "says", "data"], sort=False)["outcome"]
    counts = groups.value_counts().unstack(fill_value=0)  # noqa: PD010, counts, no averaging
    return counts.reindex(columns=list(OUTCOMES), fill_value=0).reset_index()
