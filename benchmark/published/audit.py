"""Finds what is wrong with a release, by rule, and says what is left out because of it.

A finding may exclude a curve, or some rows of it; with ``--keep`` they stay, by rule or by file.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.published.release import Cell, Release
from benchmark.published.rules import RULES, SEVERITIES, Finding, findings
from benchmark.published.scores import Measurement, scores

COLUMNS = [
    *("source", "severity", "rule", "map", "algorithm", "variant", "metric"),
    *("files", "evidence", "effect", "size", "excluded"),
]


@dataclass(frozen=True)
class Audit:
    """The findings of a release, and what they leave of it."""

    release: Release
    findings: list[Finding]

    def cleaned(self) -> Release:
        """The release without what its findings exclude."""
        return _without(self.release, self.findings)

    def as_released(self) -> Release:
        """The release as it is; but a curve that several figures draw is there once."""
        return _without(self.release, [f for f in self.findings if f.rule == "reused"])

    def rules_of(self, cell: Cell, left: bool = False) -> list[str]:
        """The rules that found something against a cell's curves; notes are left out.

        Args:
            left: only what the cleaned data still hold.
        """
        against = [
            finding.rule
            for finding in self.findings
            if finding.severity != "note"
            and not (left and finding.excludes)
            and any(curve.cell == cell for curve in finding.curves)
        ]
        return list(dict.fromkeys(against))

    def table(self) -> pd.DataFrame:
        """The findings as rows of ``COLUMNS``, the worst first."""
        rows = [
            {
                "source": self.release.source.name,
                "severity": finding.severity,
                "rule": finding.rule,
                **finding.cell._asdict(),
                "files": " | ".join(curve.name for curve in finding.curves),
                "evidence": finding.evidence,
                "effect": finding.effect,
                "size": finding.size,
                "excluded": " | ".join(map(str, finding.excludes)),
            }
            for finding in self.findings
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


def audit(release: Release, keep: Sequence[str] = ()) -> Audit:
    """Applies every rule to a release.

    Args:
        keep: what stays though a rule excludes it: a rule's name, or a pattern of file names such
            as ``*seed3*``.
    """

    def excluded(finding: Finding) -> list:
        if finding.rule in keep:
            return []
        kept = {
            part
            for part in finding.excludes
            if any(fnmatch.fnmatch(part.curve.file, text) for text in keep)
        }
        return [part for part in finding.excludes if part not in kept]

    with np.errstate(all="ignore"):  # of values that are not finite, which ``disorder`` finds
        found = [replace(one, excludes=excluded(one)) for one in findings(release)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    result = Audit(release, found)
    before, after = result.as_released(), result.cleaned()
    for number, finding in enumerate(found):
        if finding.excludes and finding.rule != "reused" and finding.cell in before.cells:
            metric = finding.cell.metric.replace("_", " ")
            change = f"{_final(before, finding.cell)} \u2192 {_final(after, finding.cell)}"
            found[number] = replace(finding, change=f"; final {metric} {change}")
    return result


def check_keep(keep: Sequence[str], releases: Sequence[Release]) -> None:
    """Checks that what is to stay exists.

    Raises:
        BenchmarkError: something is neither a rule nor a file of one of the releases.
    """
    names = {curve.file for release in releases for curve in release.curves}
    for text in keep:
        if text not in RULES and not fnmatch.filter(names, text):
            raise BenchmarkError(
                f"--keep {text}: neither a rule ({', '.join(RULES)}) nor a file of the release"
            )


def _final(release: Release, cell: Cell) -> str:
    how = Measurement(release.source.interval, release.episodes)
    found = scores(release.cells.get(cell, []), release.end(cell.map), how)
    if not len(found.value):
        return "none"
    return f"{np.mean(found.value):.2f} (n = {len(found.value)})"


def _without(release: Release, findings: Iterable[Finding]) -> Release:
    """The release without what findings exclude."""
    excluded = [part for finding in findings for part in finding.excludes]
    whole = {part.curve for part in excluded if part.rows is None}
    curves = {curve: curve for curve in release.curves if curve not in whole}
    for curve, rows in excluded:
        if rows is not None and curve in curves:
            left = curves[curve]
            curves[curve] = left.only((left.rows < rows[0]) | (left.rows > rows[1]))
    return replace(release, curves=[curve for curve in curves.values() if len(curve.rows)])


def write(found: Audit, folder: Path) -> None:
    """Writes ``findings.csv`` into the folder of an import."""
    files.write(found.table().to_csv(index=False, lineterminator="\n"), folder / "findings.csv")
