"""The distilled facts of releases, small enough to keep: ``results/published/``.

They come from the raw files by one command, and hold what is needed to compare our own runs with
the published ones, to test claims, and to check what the audit says, without the raw files.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis import statistics
from benchmark.published import audit, claims, paper_plots
from benchmark.published.audit import Audit
from benchmark.published.claims import AS_RELEASED, CLEANED, WIDEST, Claims, Dataset, Sides
from benchmark.published.release import Cell, Curve
from benchmark.published.replot import mean_curve
from benchmark.published.scores import WINDOW, Measurement, estimate, scores
from benchmark.training.config import DEFAULT

FOLDER = files.ROOT / "results" / "published"

DRAWN = "as drawn"  #: by the authors' notebook

_CELL = ["source", "backend", "data", "map", "algorithm", "variant", "metric"]

#: Columns of each file.
COLUMNS = {
    "final": [*_CELL, "at", "n", "mean", "sd", "low", "high", "sd_widest", "identified", "flags"],
    "scores": [*_CELL, "at", "run", "score"],
    "curves": [*_CELL, "step", "n", "mean", "low", "high"],
    "findings": audit.COLUMNS,
    "exclusions": [
        *("source", "rule", "severity", "map", "algorithm", "variant", "metric"),
        *("file", "column", "first_row", "last_row"),
    ],
    "offsets": ["source", "map", "metric", "panel", "method", "offset", "share"],
    "claims": claims.COLUMNS,
    "recovery": ["source", "map", "algorithm", "at", "n", "sd", "sd_estimated", "sd_widest"],
}
#: Columns in which an empty field is an empty text, and the decimals that are kept.
TEXT = {"flags", "excluded", "effect", "map", "algorithm", "variant", "metric"}
DECIMALS = 4


def outputs() -> list[str]:
    """Names of the files, without the pictures, which depend on the releases."""
    return [*(f"{name}.csv" for name in COLUMNS), "sources.json"]


def content_hash(folder: Path = FOLDER) -> str:
    """Hash of the facts, for the workflow: a study is compared again when they change."""
    digest = hashlib.sha256()
    for name in outputs():
        path = Path(folder) / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()[:16]


def distil(audits: Sequence[Audit], claimed: Claims) -> dict[str, pd.DataFrame]:
    """Computes the facts of some releases.

    Args:
        audits: the audited releases; claims are tested on the first one, and on it against each of
            the others as another release of the compared methods.

    Returns:
        One table per name in ``COLUMNS``.
    """
    parts = {"final": final, "scores": _scores, "curves": _curves, "recovery": _recovery}
    parts |= {"exclusions": _exclusions, "offsets": _offsets}
    tables = {
        name: pd.DataFrame((row for found in audits for row in part(found)), columns=COLUMNS[name])
        for name, part in parts.items()
    }
    tables["findings"] = pd.concat([found.table() for found in audits], ignore_index=True)
    tables["claims"] = claims.run(claimed, _sides(audits))
    return tables


def about(audits: Sequence[Audit], pictures: dict[str, str]) -> dict:
    """Where the facts come from, and which pictures belong to them (name -> caption)."""
    named = {"name", "title", "origin", "commit", "backend", "protocol", "interval"}
    return {
        "sources": [
            {
                **release.source.model_dump(include=named),
                "ends": {map: release.end(map) for map in release.source.ends},
                "episodes": release.episodes,
                "files": len(release.digests),
                "curves": len(release.curves),
                "released_numbers": sum(len(curve.value) for curve in release.curves),
            }
            for release in (found.release for found in audits)
        ],
        "window": WINDOW,
        "pictures": pictures,
    }


def _sides(audits: Sequence[Audit]) -> Iterator[Sides]:
    first, *others = audits
    for name in (AS_RELEASED, CLEANED, WIDEST):
        side = claims.of_release(first, name)
        yield Sides(name, side, side)
    cleaned = claims.of_release(first, CLEANED)
    for other in others:
        right = claims.of_release(other, CLEANED)
        yield Sides(f"against {other.release.source.title}", cleaned, right)


def _by_cell(found: Audit) -> Iterator[tuple[Dataset, Cell, list[Curve], dict]]:
    """Each cell as released and cleaned: the numbers, the cell, its curves, the first columns."""
    for name in (AS_RELEASED, CLEANED):
        data = claims.of_release(found, name)
        for cell, curves in data.cells.items():
            yield data, cell, curves, _named(found, name, cell) | {"at": data.ends[cell.map]}


def _named(found: Audit, data: str, cell: Cell) -> dict:
    source = found.release.source
    return {"source": source.name, "backend": source.backend, "data": data, **cell._asdict()}


def final(found: Audit) -> Iterator[dict]:
    """Per cell: mean over runs of their final scores, as released, cleaned and as drawn."""
    for data, cell, curves, named in _by_cell(found):
        widest = scores(curves, named["at"], data.how._replace(widest=True))
        yield {
            **named,
            **estimate(data.scores(cell, named["at"]), cell.metric)._asdict(),
            "sd_widest": estimate(widest.value, cell.metric).sd,
            "identified": all(curve.kind == "run" for curve in curves),
            "flags": "; ".join(data.flagged(cell)),
        }
    for cell, curve in _drawn(found):
        last = curve.iloc[-1]
        values = {"at": int(last["step"]), **last[["mean", "low", "high"]]}
        yield {**_named(found, DRAWN, cell), **values}


def _scores(found: Audit) -> Iterator[dict]:
    """Per cell and run: its final score."""
    for data, _, curves, named in _by_cell(found):
        of_runs = scores(curves, named["at"], data.how)
        for run, score in zip(of_runs.names, of_runs.value, strict=True):
            yield {**named, "run": run, "score": score}


def _curves(found: Audit) -> Iterator[dict]:
    """Mean curves, thinned: cleaned, and as drawn (the last drawn value before each step)."""
    cleaned = claims.of_release(found, CLEANED)
    for cell, curves in cleaned.cells.items():
        curve = mean_curve(curves, cleaned.ends[cell.map], cleaned.how)
        for point in curve.to_dict("records"):
            yield {**_named(found, CLEANED, cell), **point}
    for cell, curve in _drawn(found):
        for step in range(WINDOW, found.release.end(cell.map) + 1, WINDOW):
            near = curve[(curve["step"] <= step) & (step - curve["step"] < WINDOW)]
            if len(near):
                values = near.iloc[-1][["mean", "low", "high"]]
                yield {**_named(found, DRAWN, cell), "step": step, **values}


def _drawn(found: Audit) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """What the published figures draw, by cell; a cell counts in its first panel."""
    panels = {name for figure in found.release.source.figures for name in figure.panels}
    for cell, curves in found.release.cells.items():
        first = min(curves, key=lambda curve: (curve.panel != "main", curve.panel)).panel
        drawn = [curve for curve in curves if curve.panel == first]
        end = found.release.end(cell.map)
        if first in panels and any(len(curve.between(-1, end).steps) for curve in drawn):
            yield cell, paper_plots.draw(drawn, end)


def _exclusions(found: Audit) -> Iterator[list]:
    """Per finding and curve: what the cleaned data do without; no rows mean the whole curve."""
    for finding in found.findings:
        for curve, rows in finding.excludes:
            about = [found.release.source.name, finding.rule, finding.severity, *curve.cell]
            yield [*about, curve.file, curve.column, *(rows or (None, None))]


def _offsets(found: Audit) -> Iterator[list]:
    """Per map, panel and method that counts its steps from elsewhere: the groups of offsets."""
    for finding in found.findings:
        map, _, panel, metric = finding.cell
        for method, offsets in finding.numbers.get("offsets", {}).items():
            for offset, share in offsets:
                yield [found.release.source.name, map, metric, panel, method, offset, share]


def _recovery(found: Audit) -> Iterator[list]:
    """How well scores by rank show the spread of runs: tried on win rates of runs that are known.

    The identities are taken away, as a wandb group does, and the spread compared with the true one.
    """
    cleaned = found.cleaned()
    how = Measurement(cleaned.source.interval, cleaned.episodes)
    for cell, curves in cleaned.cells.items():
        runs = [curve for curve in curves if curve.kind == "run"]
        end = cleaned.end(cell.map)
        known = scores(runs, end, how).value
        if cell.metric != "win_rate" or len(known) < 2 or len(known) < len(runs):
            continue
        true = float(np.std(known, ddof=1))
        if not true:
            continue
        group = _as_group([run.between(end - WINDOW, end) for run in runs], end, how.interval)
        estimated, widest = (
            float(np.std(scores([group], end, how._replace(widest=bound)).value, ddof=1))
            for bound in (False, True)
        )
        method = cell.algorithm if cell.variant == DEFAULT else "/".join(cell[1:3])
        yield [cleaned.source.name, cell.map, method, end, len(known), true, estimated, widest]


def _as_group(runs: list[Curve], end: int, interval: int) -> Curve:
    """Runs as a wandb group shows them: values per evaluation, without whose they are."""
    back = [np.arange(len(run.value))[::-1] for run in runs]  # evaluations before the last one
    steps = end - np.concatenate(back) * interval
    order = np.argsort(steps, kind="stable")
    nothing = np.full(len(steps), np.nan)
    return replace(
        runs[0],
        kind="group",
        steps=steps[order],
        value=np.concatenate([run.value for run in runs])[order],
        low=nothing,
        high=nothing,
        rows=np.arange(len(steps)),
        wall=nothing,
    )


def read(folder: Path = FOLDER) -> tuple[dict[str, pd.DataFrame], dict]:
    """Reads the facts: the tables, and where they come from.

    Raises:
        BenchmarkError: a file is missing, or is not what this version writes.
    """
    tables = {
        name: statistics.read_table(Path(folder) / f"{name}.csv", columns, TEXT, "published facts")
        for name, columns in COLUMNS.items()
    }
    return tables, files.read_json(Path(folder) / "sources.json")
