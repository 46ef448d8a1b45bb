"""Whose runs a curve shows."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from benchmark.analysis import labels
from benchmark.published import paper_plots
from benchmark.published.findings import Finding, count, finds
from benchmark.published.release import Curve, Release

_SHARED = 0.98  #: share of steps that two logs of the same runs have in common
_DATE = re.compile(r"(20\d\d-\d\d-\d\d)")
_DAYS = 3  #: time zones and long queues stay below


@finds("wandb's minimum and maximum columns, which are not runs")
def aggregated_as_runs(release: Release) -> Iterator[Finding]:
    """Taking every column of such a file for a run counts the extremes in.

    Of a group, the runs themselves are no longer in the file at all.
    """
    for metric in labels.METRICS:
        for kind in ("group", "run"):
            wandb = [
                curve
                for curve in release.curves
                if (curve.cell.metric, curve.kind) == (metric, kind)
                and np.isfinite(curve.low).any()
            ]
            if wandb:
                mean, band = paper_plots.difference_by_extremes(wandb)
                lost = " over runs that cannot be told apart" if kind == "group" else ""
                files = {curve.file for curve in wandb}
                yield Finding(
                    "warning" if kind == "group" else "note",
                    None,
                    wandb,
                    f"{count(wandb)} of {metric.replace('_', ' ')} in {len(files)} files"
                    f" with __MIN and __MAX columns beside them{lost}",
                    "taking all columns for runs moves a drawn mean by up to"
                    f" {mean:.2g} and a drawn standard deviation by up to {band:.2g}",
                )


@finds("cells whose curves come from several wandb groups")
def several_groups(release: Release) -> Iterator[Finding]:
    """Runs are grouped by what they were started with, so these are different experiments."""
    for cell, _, curves in release.drawn_together():
        groups = [curve for curve in curves if curve.kind == "group"]
        if len(groups) > 1:
            yield Finding(
                "note",
                cell,
                groups,
                " and ".join(f"{group.column!r} ({len(group.value)} values)" for group in groups),
                "one curve joins runs that were started as different experiments",
            )


@finds("different data that carry one wandb group's name but stand for different variants")
def unverifiable_label(release: Release) -> Iterator[Finding]:
    """Only the file's name then says which variant it is, and nothing can confirm it."""
    groups: dict[str, list[Curve]] = {}
    for curve in release.curves:
        if curve.kind == "group":
            groups.setdefault(curve.column, []).append(curve)
    for column, curves in groups.items():
        different = {curve.value.tobytes(): curve for curve in reversed(curves)}
        variants = sorted({curve.cell.variant for curve in different.values()})
        if len(variants) > 1:
            yield Finding(
                "warning",
                next(iter(different.values())).cell._replace(variant="several"),
                list(different.values()),
                f"{len(different)} different files ({', '.join(variants)}) have the same column"
                f" {column!r}",
                "which curve is which rests on the file names alone",
            )


@finds("files whose name gives another day than the clock inside")
def name_date(release: Release) -> Iterator[Finding]:
    """A file that was renamed to stand for another run keeps its old clock."""
    for cell, curves in release.cells.items():
        for curve in curves:
            dates = _DATE.findall(curve.file)
            if not dates or not np.isfinite(curve.wall).any():
                continue
            try:
                said = datetime.fromisoformat(dates[-1]).replace(tzinfo=UTC)
                ran = datetime.fromtimestamp(float(np.nanmin(curve.wall)), UTC)
            except (ValueError, OverflowError, OSError):  # a number that is no date
                continue
            if abs((ran - said).days) > _DAYS:
                yield Finding(
                    "warning",
                    cell,
                    [curve],
                    f"the name says {said:%Y-%m-%d}, its first value was logged {ran:%Y-%m-%d}",
                    "the file may not be the run that its name says",
                )


@finds("cells whose win rates and returns do not come from the same runs")
def metrics_of_other_runs(release: Release) -> Iterator[Finding]:
    """One evaluation logs both at the same steps.

    Steps that only one of them has belong to runs that only one of the two figures shows.
    """
    for cell, wins, returns in release.both_metrics():
        pairs = [(w, r) for w in wins for r in returns if (w.kind, w.seed) == (r.kind, r.seed)]
        for won, earned in pairs:
            ours, theirs = set(won.steps.tolist()), set(earned.steps.tolist())
            common = len(ours & theirs)
            if common < _SHARED * max(len(ours), len(theirs)):
                yield Finding(
                    "warning",
                    cell._replace(metric="return"),
                    [earned, won],
                    f"{len(theirs)} steps with a return, {len(ours)} with a win rate,"
                    f" {common} in common{_runs(won, earned, common, release.source.interval)}",
                    "the figures of win rate and return show different runs",
                )


def _runs(won: Curve, earned: Curve, common: int, interval: int) -> str:
    """How many runs only one of the two shows, in words."""
    if won.kind == "run":
        return " (not one run)" if not common else ""
    per_run = len({step // interval for step in earned.steps.tolist()})
    only = round((len(earned.steps) - common) / per_run)
    alone = round((len(won.steps) - common) / per_run)
    return (
        f": about {labels.count([only], 'run')} with a return only,"
        f" about {labels.count([alone], 'run')} with a win rate only"
    )
