"""Finds what is wrong with a release, by rule, and says what is left out because of it.

A rule is one function in ``rules/``. It looks at the curves of a release, is told nothing about
where a defect is, and yields findings. A finding may exclude a curve, or some rows of it; users put
back what they like with ``--keep``, by rule or by file.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.published import runs
from benchmark.published.findings import SEVERITIES, Exclusion, Finding
from benchmark.published.release import Release
from benchmark.published.rules import RULES
from benchmark.published.table import Cell

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
        return _without(self.release, [each for each in self.findings if each.rule == "reused"])

    def rules_of(self, cell: Cell, left: bool = False) -> list[str]:
        """The rules that found something against a cell's curves; notes are left out.

        Args:
            left: only what the cleaned data still hold.
        """
        found = []
        for finding in self.findings:
            gone = {(each.file, each.column) for each in finding.excludes}
            about = [
                each
                for each in finding.series
                if each.cell == cell and not (left and (each.file, each.column) in gone)
            ]
            if finding.severity != "note" and about and not (left and finding.excludes):
                found.append(finding.rule)
        return list(dict.fromkeys(found))

    def table(self) -> pd.DataFrame:
        """The findings as rows of ``COLUMNS``, the worst first."""
        rows = [
            {
                "source": self.release.source.name,
                "severity": finding.severity,
                "rule": finding.rule,
                **(finding.cell or Cell("", "", "", ""))._asdict(),
                "files": " | ".join(finding.files),
                "evidence": finding.evidence,
                "effect": finding.effect,
                "size": finding.size,
                "excluded": " | ".join(map(_excluded, finding.excludes)),
            }
            for finding in self.findings
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


def audit(release: Release, keep: Sequence[str] = ()) -> Audit:
    """Applies every rule to a release.

    Args:
        keep: what is put back though a rule excludes it: a rule's name, or a pattern of file names
            such as ``*seed3*``.

    """
    findings = []
    for name, rule in RULES.items():
        for finding in rule(release):
            kept = tuple(each for each in finding.excludes if not _is_kept(name, each, keep))
            findings.append(replace(finding, rule=name, excludes=kept))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return _with_effects(Audit(release, findings))


def check_keep(keep: Sequence[str], releases: Sequence[Release]) -> None:
    """Checks that what is put back exists.

    Raises:
        BenchmarkError: something is neither a rule nor a file of one of the releases.
    """
    files = {each.file for release in releases for each in release.series}
    for text in keep:
        if text not in RULES and not fnmatch.filter(files, text):
            raise BenchmarkError(
                f"--keep {text}: neither a rule ({', '.join(RULES)}) nor a file of the release"
            )


def _is_kept(rule: str, exclusion: Exclusion, keep: Sequence[str]) -> bool:
    return rule in keep or any(fnmatch.fnmatch(exclusion.file, text) for text in keep)


def _with_effects(found: Audit) -> Audit:
    """Adds to each finding that excludes something what all exclusions do to the final value."""
    before, after = found.as_released(), found.cleaned()
    findings = []
    for finding in found.findings:
        if finding.excludes and finding.rule != "reused" and finding.cell in before.cells:
            change = f"{_final(before, finding.cell)} \u2192 {_final(after, finding.cell)}"
            text = f"{finding.effect}; final {finding.cell.metric.replace('_', ' ')} {change}"
            finding = replace(finding, effect=text)
        findings.append(finding)
    return replace(found, findings=findings)


def _final(release: Release, cell: Cell) -> str:
    series = release.cells.get(cell, [])
    how = runs.Measurement(release.source.interval, release.episodes)
    scores = runs.scores(series, release.end(cell.map) or 0, how)
    if not len(scores.value):
        return "none"
    return f"{np.mean(scores.value):.2f} (n = {len(scores.value)})"


def _without(release: Release, findings: Iterable[Finding]) -> Release:
    whole, parts = set(), {}
    for finding in findings:
        for each in finding.excludes:
            if each.rows is None:
                whole.add((each.file, each.column))
            else:
                parts.setdefault((each.file, each.column), []).append(each.rows)
    kept = []
    for series in release.series:
        key = series.file, series.column
        if key in whole:
            continue
        for first, last in parts.get(key, ()):
            series = series.only((series.rows < first) | (series.rows > last))
        kept.append(series)
    return replace(release, series=kept)


def _excluded(exclusion: Exclusion) -> str:
    column = "" if exclusion.column in ("Value", "array") else f":{exclusion.column}"
    rows = f" rows {exclusion.rows[0]} to {exclusion.rows[1]}" if exclusion.rows else ""
    return f"{exclusion.file}{column}{rows}"


def write(found: Audit, folder: Path) -> None:
    """Writes ``findings.csv`` into the folder of an import."""
    with files.atomic(Path(folder) / "findings.csv") as temporary:
        found.table().to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
