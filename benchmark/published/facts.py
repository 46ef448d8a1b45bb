"""The distilled facts of releases, small enough to keep: ``results/published/``.

They come from the raw files by one command, and hold what is needed to set our own runs beside the
published ones, to judge claims, and to check what the audit says, without the raw files.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis.labels import DEFAULT
from benchmark.errors import BenchmarkError
from benchmark.published import audit, judgement
from benchmark.published.audit import Audit
from benchmark.published.claims import Claims
from benchmark.published.judgement import AS_RELEASED, CLEANED, WIDEST, Evidence, Sides
from benchmark.published.redraw import drawn_curve, mean_curve
from benchmark.published.runs import WINDOW, Measurement, estimate, scores
from benchmark.published.table import Cell, Series

FOLDER = files.ROOT / "results" / "published"

DRAWN = "as drawn"  #: by the authors' notebook

_TEXT = {"flags", "excluded", "effect", "map", "algorithm", "variant", "metric"}

_CELL = ["source", "backend", "data", "map", "algorithm", "variant", "metric"]

#: Columns of each file.
COLUMNS = {
    "final": [*_CELL, "at", "n", "mean", "sd", "low", "high", "sd_widest", "identified", "flags"],
    "scores": [*_CELL, "at", "run", "score"],
    "curves": [*_CELL, "step", "n", "mean", "low", "high"],
    "findings": audit.COLUMNS,
    "claims": judgement.COLUMNS,
    "recovery": ["source", "map", "algorithm", "at", "n", "sd", "sd_estimated", "sd_widest"],
}


def outputs() -> list[str]:
    """Names of the files, without the pictures, which depend on the releases."""
    return [*(f"{name}.csv" for name in COLUMNS), "sources.json"]


def content_hash(folder: Path = FOLDER) -> str:
    """Hash of the facts, for the workflow: a study is set beside them again when they change."""
    digest = hashlib.sha256()
    for name in outputs():
        path = Path(folder) / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()[:16]


def distil(audits: Sequence[Audit], claims: Claims, replications: int) -> dict[str, pd.DataFrame]:
    """Computes the facts of some releases.

    Args:
        audits: the audited releases; claims are judged on the first one, and on each of the others
            as another release of the compared methods.

    Returns:
        One table per name in ``COLUMNS``.
    """
    rows = {
        "final": itertools.chain.from_iterable(map(_final, audits)),
        "scores": itertools.chain.from_iterable(map(_scores, audits)),
        "curves": itertools.chain.from_iterable(map(_curves, audits)),
        "recovery": itertools.chain.from_iterable(map(_recovery, audits)),
    }
    tables = {name: pd.DataFrame(found, columns=COLUMNS[name]) for name, found in rows.items()}
    findings = pd.concat([each.table() for each in audits], ignore_index=True)
    judged = judgement.judge(claims, _sides(audits, claims), replications)
    return {**tables, "findings": findings, "claims": judged}


def about(audits: Sequence[Audit], pictures: dict[str, str]) -> dict:
    """Where the facts come from, and which pictures lie beside them."""
    return {
        "sources": [
            {
                **each.release.source.model_dump(
                    include={"name", "title", "origin", "commit", "backend", "protocol", "interval"}
                ),
                "ends": {map: each.release.end(map) for map in each.release.source.ends},
                "episodes": each.release.episodes,
                "files": len(each.release.digests),
                "curves": len(each.release.series),
                "released_numbers": int(sum(len(s.value) for s in each.release.series)),
            }
            for each in audits
        ],
        "window": WINDOW,
        "pictures": pictures,
    }


def _sides(audits: Sequence[Audit], claims: Claims) -> Iterator[Sides]:
    first, *others = audits
    for name in (AS_RELEASED, CLEANED, WIDEST):
        side = judgement.of_release(first, name, claims.window)
        yield Sides(name, side, side)
    cleaned = judgement.of_release(first, CLEANED, claims.window)
    for other in others:
        right = judgement.of_release(other, CLEANED, claims.window)
        yield Sides(f"against {other.release.source.title}", cleaned, right)


def _evidence(found: Audit) -> list[Evidence]:
    return [judgement.of_release(found, name, WINDOW) for name in (AS_RELEASED, CLEANED)]


def _named(found: Audit, data: str, cell: Cell) -> dict:
    source = found.release.source
    return {"source": source.name, "backend": source.backend, "data": data, **cell._asdict()}


def _final(found: Audit) -> Iterator[dict]:
    """Per cell: mean over runs of their final scores, as released, cleaned and as drawn."""
    for side in _evidence(found):
        for cell, series in side.cells.items():
            at = side.ends[cell.map]
            bound = side.how._replace(widest=True)
            widest = estimate(scores(series, at, bound).value, cell.metric)
            value = estimate(side.scores(cell, at), cell.metric)
            yield {
                **_named(found, side.name, cell),
                "at": at,
                **value._asdict(),
                "sd_widest": widest.sd,
                "identified": all(each.kind == "run" for each in series),
                "flags": "; ".join(side.flagged(cell)),
            }
    for cell, series in _drawn(found):
        curve = drawn_curve(series, found.release.end(cell.map))
        ends = {name: getattr(curve, name)[-1] for name in ("mean", "low", "high")}
        yield {**_named(found, DRAWN, cell), "at": int(curve.step[-1]), **ends}


def _scores(found: Audit) -> Iterator[dict]:
    """Per cell and run: its final score."""
    for side in _evidence(found):
        for cell, series in side.cells.items():
            at = side.ends[cell.map]
            each = scores(series, at, side.how)
            for run, score in zip(each.names, each.value, strict=True):
                yield {**_named(found, side.name, cell), "at": at, "run": run, "score": score}


def _curves(found: Audit) -> Iterator[dict]:
    """Mean curves, thinned: as drawn (the last drawn value before each step) and cleaned."""
    cleaned = judgement.of_release(found, CLEANED, WINDOW)
    for cell, series in cleaned.cells.items():
        curve = mean_curve(series, cleaned.ends[cell.map], cleaned.how)
        for row in zip(*curve, strict=True):
            point = dict(zip(curve._fields, row, strict=True))
            yield {**_named(found, CLEANED, cell), **point}
    for cell, series in _drawn(found):
        end = found.release.end(cell.map)
        curve = drawn_curve(series, end)
        for step in range(WINDOW, end + 1, WINDOW):
            last = np.searchsorted(curve.step, step, side="right") - 1
            if last >= 0 and step - curve.step[last] < WINDOW:
                values = {name: getattr(curve, name)[last] for name in ("mean", "low", "high")}
                yield {**_named(found, DRAWN, cell), "step": step, **values}


def _drawn(found: Audit) -> Iterator[tuple[Cell, list[Series]]]:
    """The curves that the published figures draw, by cell; a cell counts in its first panel."""
    panels = {name for figure in found.release.source.figures for name in figure.panels}
    for cell, series in found.release.cells.items():
        main = sorted(series, key=lambda each: (each.panel != "main", each.panel))[0].panel
        if main in panels:
            yield cell, [each for each in series if each.panel == main]


def _recovery(found: Audit) -> Iterator[dict]:
    """How well scores by rank tell the spread of runs: tried on win rates of runs that are known.

    The identities are taken away, as a wandb group does, and the spread compared with the true one.
    """
    cleaned = found.cleaned()
    how = Measurement(cleaned.source.interval, cleaned.episodes)
    for cell, series in cleaned.cells.items():
        runs = [each for each in series if each.kind == "run"]
        end = cleaned.end(cell.map)
        inside = [each.between(end - WINDOW, end) for each in runs]
        known = scores(runs, end, how)
        if cell.metric != "win_rate" or len(known.value) < 2 or len(known.value) < len(runs):
            continue
        true = float(np.std(known.value, ddof=1))
        if not true:
            continue
        group = _as_group(inside, end, how.interval)
        spreads = [
            float(np.std(scores([group], end, each).value, ddof=1))
            for each in (how, how._replace(widest=True))
        ]
        yield {
            "source": cleaned.source.name,
            "map": cell.map,
            "algorithm": cell.algorithm if cell.variant == DEFAULT else "/".join(cell[1:3]),
            "at": end,
            "n": len(known.value),
            "sd": true,
            "sd_estimated": spreads[0],
            "sd_widest": spreads[1],
        }


def _as_group(runs: list[Series], end: int, interval: int) -> Series:
    """Runs as a wandb group shows them: values per evaluation, and no word of whose they are."""
    back = [np.arange(len(each.value))[::-1] for each in runs]  # evaluations before the last one
    steps = end - np.concatenate(back) * interval
    order = np.argsort(steps, kind="stable")
    nothing = np.full(len(steps), np.nan)
    return replace(
        runs[0],
        kind="group",
        steps=steps[order],
        value=np.concatenate([each.value for each in runs])[order],
        low=nothing,
        high=nothing,
        rows=np.arange(len(steps)),
        wall=nothing,
    )


def write(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Writes each table as CSV, with four decimals."""
    for name, table in tables.items():
        with files.atomic(Path(folder) / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")


def read(folder: Path = FOLDER) -> tuple[dict[str, pd.DataFrame], dict]:
    """Reads the facts: the tables, and where they come from.

    Raises:
        BenchmarkError: a file is missing, or is not what this version writes.
    """
    tables = {}
    for name, columns in COLUMNS.items():
        path = Path(folder) / f"{name}.csv"
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise BenchmarkError(
                f"cannot read {path}: {error}; it is part of the repository (git checkout {path}),"
                " or make it with python -m benchmark published distill"
            ) from error
        if list(table.columns) != columns:
            raise BenchmarkError(
                f"{path} does not have the columns of this version; make it again with"
                " python -m benchmark published distill"
            )
        tables[name] = table.fillna(dict.fromkeys(_TEXT & set(columns), ""))
    return tables, files.read_json(Path(folder) / "sources.json")
