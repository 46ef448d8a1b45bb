"""What a rule of the audit is, and what it yields."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmark.published.release import Cell, Curve, Release

#: error: the published figure shows something else than it says; warning: it says more than the
#: numbers support; note: worth knowing.
SEVERITIES = ("error", "warning", "note")


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
    evidence: str
    effect: str  #: on the published figure
    excludes: Sequence[Exclusion] = ()
    size: float = 0.0  #: how much of it there is, among findings of one rule
    offsets: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  #: of ``step_offset``
    rule: str = ""  #: filled in by the audit


Rule = Callable[[Release], Iterator[Finding]]


def finds(what: str) -> Callable[[Rule], Rule]:
    """Says in the words of the reports what a rule finds."""

    def mark(rule: Rule) -> Rule:
        rule.finds = what
        return rule

    return mark


def whole(*curves: Curve) -> list[Exclusion]:
    """Exclusions of whole curves."""
    return [Exclusion(curve) for curve in curves]


def count(curves: Sequence[Curve]) -> str:
    """``one curve``, or ``5 curves``."""
    return "one curve" if len(curves) == 1 else f"{len(curves)} curves"
