"""What a rule of the audit yields."""

from dataclasses import dataclass
from typing import NamedTuple

from benchmark.published.table import Cell, Series

#: error: the published figure shows something else than it says; warning: it says more than the
#: numbers carry; note: worth knowing.
SEVERITIES = ("error", "warning", "note")


class Exclusion(NamedTuple):
    """A curve, or rows of it, that the cleaned data do without."""

    file: str
    column: str
    rows: tuple[int, int] | None = None  #: first and last row of the file; None for all

    @classmethod
    def of(cls, series: Series, rows: tuple[int, int] | None = None) -> "Exclusion":
        """The exclusion of a curve."""
        return cls(series.file, series.column, rows)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that a reader should know."""

    severity: str
    cell: Cell | None  #: None where a whole map or release is meant
    series: tuple[Series, ...]  #: that it is about; the first one is what a picture shows
    evidence: str
    effect: str  #: on the published figure
    excludes: tuple[Exclusion, ...] = ()
    size: float = 0.0  #: how much of it there is, among findings of one rule
    rule: str = ""  #: filled in by the audit

    @property
    def files(self) -> list[str]:
        """Names of the curves."""
        return [each.name for each in self.series]


def whole(*series: Series) -> tuple[Exclusion, ...]:
    """Exclusions of whole curves."""
    return tuple(Exclusion.of(each) for each in series)
