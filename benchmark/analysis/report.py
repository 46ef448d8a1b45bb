"""The report of a study: one HTML file with figures, tables, provenance, and what is missing.

The file needs nothing else: figures are embedded, there is no script and no link to load, so it
opens offline and can be sent around. Numbers come from the statistics, provenance from
``runs.json``; run folders are read only to say how far a missing run is.
"""

import base64
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis import ablations, figures, labels, roles, statistics, tables
from benchmark.analysis.aggregate import missing_and_changed
from benchmark.errors import BenchmarkError
from benchmark.training import provenance
from benchmark.training.config import DEFAULT
from benchmark.training.run_state import is_stale
from benchmark.training.study import Study

_TEMPLATES = Path(__file__).parent / "templates"


class Section(NamedTuple):
    """A part of the report that is made elsewhere: the published results."""

    template: Path
    content: dict  #: what the template sees as ``published``


class Picture(NamedTuple):
    """An embedded figure."""

    name: str
    caption: str
    image: str  #: data URI


def write(folder: Path, output: Path, published: Section, study: Study | None = None) -> None:
    """Writes the report of a study.

    Args:
        folder: the study's folder, with ``runs.json``, ``statistics/`` and ``figures/``, and with
            ``roles/`` if it has a figure of roles.
        output: the HTML file.
        published: the study next to published results.
        study: adds its ablations, and says which of its runs are missing or have changed; without
            it the report says what was known when ``runs.json`` was made.

    Raises:
        BenchmarkError: one of them is missing or damaged.
    """
    folder = Path(folder)
    results = statistics.read(folder / "statistics")
    summary = files.read_json(folder / "runs.json", ["runs", "missing", "changed", "broken"])
    final = results["final"]
    main = final[final["variant"] == DEFAULT]
    maps = sorted(main["map"].unique(), key=labels.map_order)
    runs = sorted(summary["runs"], key=_run_order)
    stale = [run for run in runs if is_stale(run)]
    missing, changed = summary["missing"], summary["changed"]
    if study:  # a table may have come alone, made from another study file or long ago
        missing, changed = missing_and_changed(runs, study, folder.parent)
    compared = study.ablations if study else []
    pictures = embed(folder / "figures", figures.captions(maps), "figures")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_TEMPLATES, published.template.parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(label=labels.label, count=labels.count)
    environment.filters.update(
        backend_name=labels.played_by, score=_score, interval=_interval, blank=_blank
    )
    commit, dirty = provenance.commit()
    text = environment.get_template("report.html.j2").render(
        studies=sorted({run["study"] for run in runs}),
        source=statistics.source_of(main),
        maps=maps,
        algorithms=sorted(main["algorithm"].unique(), key=labels.order),
        learning=[picture for picture in pictures if picture.name.startswith("learning_")],
        suites={
            labels.suite_name(suite): [p for p in pictures if p.name.endswith(f"_{suite}")]
            for suite in labels.suites(maps)
        },
        ablations=list(
            zip(
                embed(folder / "figures", ablations.captions(compared), "ablations"),
                ablations.make(results, compared),
                strict=True,
            )
        ),
        roles=_roles(folder / "roles"),
        tables=tables.make(results),
        runs=runs,
        stale=_by_cell(stale),
        missing=missing,
        changed=_by_cell(changed),
        broken=summary["broken"],
        provenance=_provenance(runs),
        total=_total(runs),
        commit=_commit({"commit": commit, "dirty": dirty}),
        published=published.content,
        published_template=published.template.name,
    )
    with files.atomic(Path(output)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _run_order(run: dict) -> tuple:
    method = (labels.order(run["algorithm"]), run["variant"])
    return (labels.map_order(run["map"]), *method, run["seed"])


def _by_cell(runs: list[dict]) -> list[tuple[str, str, list[int]]]:
    """Map, method and seeds of runs, so that many of them stay readable."""
    cells: dict[tuple[str, str], list[int]] = {}
    for run in sorted(runs, key=_run_order):
        cell = run["map"], labels.label(run["algorithm"], run["variant"])
        cells.setdefault(cell, []).append(run["seed"])
    return [(*cell, seeds) for cell, seeds in cells.items()]


def embed(folder: Path, captions: dict[str, str], command: str) -> list[Picture]:
    """Embeds the figures of a folder.

    Args:
        captions: name -> caption.
        command: what draws them, for the message.

    Raises:
        BenchmarkError: a figure does not exist.
    """
    pictures = []
    for name, caption in captions.items():
        path = folder / f"{name}.png"
        try:
            image = base64.b64encode(path.read_bytes()).decode()
        except OSError as error:
            raise BenchmarkError(
                f"cannot read {path}: {error.strerror}; draw it with python -m benchmark {command}"
            ) from error
        pictures.append(Picture(name, caption, f"data:image/png;base64,{image}"))
    return pictures


def _score(value: float) -> str:
    return tables.DASH if np.isnan(value) else f"{value:.2f}"


def _interval(row: dict) -> str:
    """A difference with its interval."""
    value = _score(row["difference"])
    return value if np.isnan(row["low"]) else f"{value} [{row['low']:.2f}, {row['high']:.2f}]"


def _blank(value: str | float) -> str:
    return value if isinstance(value, str) else ""


def _roles(folder: Path) -> list[tuple[Picture, tables.Table]]:
    """The figures of roles with their tables, from their numbers."""
    found = []
    for path in sorted(folder.glob("roles_*.csv")):
        table = roles.summary(pd.read_csv(path), roles.STEPS)
        caption = f"Roles in battle on {path.stem.removeprefix('roles_')}."
        found += [(picture, table) for picture in embed(folder, {table.name: caption}, "roles")]
    return found


def _commit(run: dict) -> str:
    if run["commit"] is None:
        return "unknown"
    return run["commit"][:12] + (" with local changes" if run["dirty"] else "")


def _provenance(runs: list[dict]) -> dict[str, list[tuple[str, int]]]:
    """What the runs were made with: title -> distinct values and how many runs have each."""
    found = {
        "Commit": map(_commit, runs),
        "Backend": (f"{run['backend']} {run['backend_version']}" for run in runs),
        "Packages": (", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in runs),
        "Device": (run["hardware"]["device"] for run in runs),
        "Machine": (
            "{cpu}, {cores} cores, {memory_gb} GB".format(**run["hardware"]) for run in runs
        ),
        "End": (run["end_reason"] for run in runs),
    }
    return {title: Counter(values).most_common() for title, values in found.items()}


def _total(runs: list[dict]) -> dict[str, str]:
    """What the runs cost together."""
    hours = sum(run["wall_seconds"] for run in runs) / 3600
    faults = Counter()
    for attempt in (attempt for run in runs for attempt in run["attempts"]):
        faults.update(attempt.get("backend", {}).get("faults", {}))
    listed = ", ".join(f"{count} {kind}" for kind, count in faults.most_common())
    return {
        "Runs": f"{len(runs)}",
        "Env steps": f"{sum(run['env_steps'] for run in runs):,}",
        "Wall-clock time, summed over runs": f"{hours:,.1f} h",
        "Runs that were interrupted and resumed": str(sum(len(r["attempts"]) > 1 for r in runs)),
        **({"Faults of StarCraft II, each one battle aborted": listed} if listed else {}),
    }
