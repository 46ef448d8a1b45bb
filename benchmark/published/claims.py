"""The paper's claims as data, ``config/claims.yaml``, and their tests, all by the same rules.

The margins below which a difference counts as none are part of the file, and were fixed before any
claim was tested. A claim is tested on several sets of numbers: the released ones as they are, the
same cleaned, the cleaned ones against another release of the compared method, and our own runs.
Numbers of two backends never meet in one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchmark import files, strict_yaml
from benchmark.analysis import labels
from benchmark.analysis.bootstrap import REPLICATIONS, Bootstrap
from benchmark.analysis.labels import Metric
from benchmark.analysis.scores import Method
from benchmark.errors import BenchmarkError
from benchmark.published import scores
from benchmark.published.audit import Audit
from benchmark.published.release import Cell, Curve
from benchmark.published.scores import Difference, Measurement, Moments, Sample
from benchmark.training.config import DEFAULT, one_line_errors

#: The claims of the R3DM paper.
PAPER = files.ROOT / "config" / "claims.yaml"

COLUMNS = [
    *("claim", "says", "stated", "data", "backend", "place", "metric", "at", "left", "right"),
    *("n_left", "n_right", "mean_left", "mean_right", "difference", "low", "high", "p"),
    *("verdict", "expected", "outcome", "flags"),
]
OUTCOMES = ("holds", "fails", "open", "no valid data")

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
    """Left against each of right, on each map: Welch intervals with Holm's correction per map."""

    kind: Literal["per_map"]
    at: float = Field(default=1.0, gt=0, le=1)
    """Which part of training, of the length of the published curve."""


class PerSuite(Comparison):
    """Left against each of right, averaged over the maps: a bootstrap stratified by map."""

    kind: Literal["per_suite"]
    suite: str
    """What the maps are together."""


class LargestGain(Comparison):
    """The largest lead of left over the best of right on any of the maps, against a number."""

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
    window: int = Field(gt=0)
    """Env steps at the end that a score averages."""
    alpha: float = Field(gt=0, lt=1)
    """Error rate of the family of comparisons on one map."""
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


#: What a test gives: where, against which method, the pairs that it used, and their difference.
_Tested = Iterator[tuple[str, str, list[_Pair], Difference]]


def run(claims: Claims, sides: Iterable[Sides], replications: int = REPLICATIONS) -> pd.DataFrame:
    """Tests every claim on every set of numbers.

    Returns:
        One row of ``COLUMNS`` per comparison, in the order of the claims.

    Raises:
        BenchmarkError: the two sides of a set come from different backends.
    """
    tests = {"per_map": _per_map, "per_suite": _per_suite, "largest_gain": _largest_gain}
    bootstrap = Bootstrap(0, replications)
    sides = list(sides)
    for data in sides:
        if data.left.backend != data.right.backend:
            raise BenchmarkError(
                f"{data.data}: {data.left.backend} and {data.right.backend} are never compared"
            )
    rows = [
        _row(claims, claim, data, *tested)
        for claim in claims.claims
        for data in sides
        for tested in tests[claim.kind](claim, data, claims.alpha, bootstrap)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _known(claim: Comparison, sides: Sides) -> tuple[list[str], list[Method]]:
    """Maps and methods of the right side; of another release only those that it has."""
    if sides.left is sides.right:
        return claim.maps, claim.methods[1]
    there = [cell for cell in sides.right.cells if cell.metric == claim.metric]
    maps, methods = {cell.map for cell in there}, {cell[1:3] for cell in there}
    return [m for m in claim.maps if m in maps], [m for m in claim.methods[1] if m in methods]


def _pair(claim: Comparison, sides: Sides, map: str, right: Method, part: float = 1.0) -> _Pair:
    at = sides.at(map, part)
    samples, flags = [], []
    for side, method in ((sides.left, claim.methods[0]), (sides.right, right)):
        cell = Cell(map, *method, claim.metric)
        samples.append(Sample(side.scores(cell, at), (map, *method)))
        flags += [f"{method}: {flag}" for flag in side.flagged(cell)]
    return _Pair(map, at, *samples, flags)


def _per_map(claim: PerMap, sides: Sides, alpha: float, bootstrap: Bootstrap) -> _Tested:
    """Comparisons on single maps; those on one map are one family."""
    maps, others = _known(claim, sides)
    for map in maps:
        pairs = [_pair(claim, sides, map, right, claim.at) for right in others]
        samples = [(Moments.of(pair.left.scores), Moments.of(pair.right.scores)) for pair in pairs]
        differences = scores.welch(samples, alpha)
        for right, pair, difference in zip(others, pairs, differences, strict=True):
            yield map, str(right), [pair], difference


def _per_suite(claim: PerSuite, sides: Sides, alpha: float, bootstrap: Bootstrap) -> _Tested:
    maps, others = _known(claim, sides)
    for right in others if maps else ():
        pairs = [_pair(claim, sides, map, right) for map in maps]
        whole = [pair for pair in pairs if pair.whole]
        difference = scores.suite([(pair.left, pair.right) for pair in whole], bootstrap)
        left_out = ", ".join(pair.map for pair in pairs if not pair.whole)
        place = claim.suite + (f" without {left_out}" if left_out and whole else "")
        yield place, str(right), whole, difference


def _largest_gain(claim: LargestGain, sides: Sides, alpha: float, bootstrap: Bootstrap) -> _Tested:
    maps, others = _known(claim, sides)
    if not maps or not others:
        return
    among = f"best of {', '.join(map(str, others))}"
    found: list[dict[Method, _Pair]] = []
    for place in maps:
        pairs = {right: _pair(claim, sides, place, right) for right in others}
        found.append({right: pair for right, pair in pairs.items() if pair.whole})
    found = [pairs for pairs in found if pairs]
    samples = [
        (next(iter(pairs.values())).left, [pair.right for pair in pairs.values()])
        for pairs in found
    ]
    difference, best = scores.largest_gain(samples, bootstrap)
    if best is None:
        yield claim.suite, among, [], difference
    else:
        right, pair = max(found[best].items(), key=lambda item: np.mean(item[1].right.scores))
        yield f"{claim.suite}: {pair.map}", f"{right}, {among}", [pair], difference


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
    verdict = scores.verdict(difference, claims.margins[claim.metric], around)
    steps = {pair.at for pair in pairs}
    row = {
        **claim.model_dump(include={"says", "stated", "metric", "left"}),
        **{"claim": claim.id, "data": sides.data, "backend": sides.left.backend, "place": place},
        **{"at": steps.pop() if len(steps) == 1 else None, "right": right},
        **difference._asdict(),
        "difference": difference.value,
        "verdict": verdict,
        "expected": " or ".join(claim.expect),
        "outcome": _outcome(verdict, claim.expect),
        "flags": "; ".join(dict.fromkeys(flag for pair in pairs for flag in pair.flags)),
    }
    for side in ("left", "right"):
        of_runs = [getattr(pair, side).scores for pair in pairs]
        row[f"n_{side}"] = sum(map(len, of_runs))
        means = [np.mean(values) for values in of_runs if len(values)]
        row[f"mean_{side}"] = scores.mean(means)  # over maps of the mean over runs
    return row


def _outcome(verdict: str, expected: list[str]) -> str:
    if verdict in ("no valid data", "inconclusive"):
        return "open" if verdict == "inconclusive" else verdict
    return "holds" if verdict in expected else "fails"


def summary(tested: pd.DataFrame) -> pd.DataFrame:
    """How many comparisons of each claim hold, fail, stay open or have no valid data, by data."""
    groups = tested.groupby(["claim", "says", "stated", "data"], sort=False)["outcome"]
    counts = groups.value_counts().unstack(fill_value=0)  # noqa: PD010, counts, no averaging
    return counts.reindex(columns=list(OUTCOMES), fill_value=0).reset_index()
