"""The report of a study: one HTML file with curves, tables, every run, and what is missing.

The file needs nothing else: figures, data, style and script are embedded and nothing is loaded, so
it opens offline and can be sent around. Numbers come from the statistics, single runs from the
table of evaluations, provenance from ``runs.json``; run folders are read only for the ends of logs
and to say how far a missing run is. Links to files work where the report is in the study's folder.
"""

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from benchmark import files
from benchmark.analysis import (
    ablations,
    explorer,
    figures,
    labels,
    made_from,
    permutation,
    plots,
    roles,
    statistics,
    tables,
)
from benchmark.analysis.aggregate import missing_and_changed
from benchmark.analysis.bootstrap import NARROW
from benchmark.analysis.labels import PlotStyle
from benchmark.analysis.rendering import templates
from benchmark.analysis.scores import Scores, evaluations_to_points
from benchmark.analysis.statistics import select
from benchmark.envs.validation import distance
from benchmark.errors import BenchmarkError
from benchmark.training import provenance
from benchmark.training.config import DEFAULT, run_path
from benchmark.training.evaluations import read_evaluations
from benchmark.training.run_state import is_stale
from benchmark.training.study import Ablation, Study

_TEMPLATES = Path(__file__).parent / "templates"
_PIXELS = 1600  #: width of an embedded figure, at most


class Section(NamedTuple):
    """A part of the report that is made elsewhere: the published results."""

    template: Path
    content: dict  #: what the template sees as ``published``


class Picture(NamedTuple):
    """An embedded figure."""

    name: str
    caption: str
    image: str  #: data URI


class Group(NamedTuple):
    """Learning curves that the reader explores together: a plot per map."""

    title: str
    maps: list[str]
    legend: list[dict[str, str]]  #: see ``explorer.legend``
    window: int  #: evaluations that a point averages at first
    pictures: list[Picture]  #: the same curves where no script runs
    table: tables.Table | None  #: that belongs to them


def write(
    folder: Path,
    output: Path,
    published: Callable[[Path, list[str]], Section],
    study: Study | None = None,
) -> None:
    """Writes the report of a study.

    Args:
        folder: the study's folder, with ``evaluations.parquet``, ``runs.json``, ``statistics/`` and
            ``figures/``, and with ``roles/`` if it has a figure of roles.
        output: the HTML file.
        published: makes the part on published results from its folder, for the study's maps.
        study: adds its ablations, and says which of its runs are missing or have changed; without
            it the report says what was known when ``runs.json`` was made.

    Raises:
        BenchmarkError: one of them is missing or damaged, or is of another table.
    """
    folder = Path(folder)
    results = statistics.of_study(folder)
    summary = files.read_sealed(folder / "runs.json", ["runs", "missing", "changed", "broken"])
    final = results["final"]
    main = final[final["variant"] == DEFAULT]
    maps = sorted(main["map"].unique(), key=labels.map_order)
    algorithms = sorted(main["algorithm"].unique(), key=labels.order)
    points = evaluations_to_points(read_evaluations(folder / "evaluations.parquet"))
    part = published(folder / "published", maps)
    made_from.check(folder, "published", "published compare")
    made_from.check(folder, "figures", "figures")
    runs = sorted(summary["runs"], key=_run_order)
    missing, changed = summary["missing"], summary["changed"]
    if study:  # a table may have come alone, made from another study file or long ago
        missing, changed = missing_and_changed(runs, study, folder)
    stale = stale_runs(runs, changed)
    compared = study.ablations if study else []
    pictures = embed(folder / "figures", figures.captions(maps), "figures")
    commit, dirty = provenance.commit()
    text = (
        _environment(part.template.parent)
        .get_template("report.html.j2")
        .render(
            studies=sorted({run["study"] for run in runs}),
            source=statistics.source_of(main),
            distance=distance_to_game(maps, runs),
            protocol=main["protocol"].iloc[0],
            dates=dates(runs),
            maps=maps,
            algorithms=algorithms,
            verdicts=list(_verdicts(results, maps, algorithms)),
            groups=_groups(results, maps, algorithms, pictures),
            suites={
                labels.suite_name(suite): [p for p in pictures if p.name.endswith(f"_{suite}")]
                for suite in labels.suites(maps)
            },
            ablations=_ablations(results, compared, folder / "figures"),
            roles=_roles(folder / "roles", study),
            tables=tables.make(results),
            runs=runs,
            stale=by_cell(stale),
            missing=missing,
            changed=by_cell(changed),
            broken=summary["broken"],
            provenance=_provenance(runs),
            total=_total(runs),
            commit=commit_of({"commit": commit, "dirty": dirty}),
            data=explorer.page_data(results["curves"], points, runs, folder),
            finals=_finals(points),
            published=part.content,
            published_template=part.template.name,
        )
    )
    files.write(text, output)


def distance_to_game(maps: list[str], runs: list[dict]) -> str:
    """How far the simulator of the runs, which have one version, is from the game."""
    if runs[0]["backend"] != "simulator":
        return ""
    return distance.sentence(maps, runs[0]["backend_version"])


def stale_runs(runs: list[dict], changed: list[dict]) -> list[dict]:
    """The runs that other code made; one with other options counts as changed alone."""
    repeated, source_hash = set(map(run_path, changed)), cache(provenance.source_hash)
    return [run for run in runs if run_path(run) not in repeated and is_stale(run, source_hash)]


def _environment(published: Path) -> jinja2.Environment:
    """The templates of the report, and what they may call."""
    environment = templates(_TEMPLATES, published, html=True)
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(
        count=labels.count,
        decided_by=permutation.DECIDED_BY,
        statistics_files=[f"{name}.csv" for name in statistics.COLUMNS],
        nan=np.nan,
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )
    environment.filters.update(
        backend_name=labels.played_by,
        score=_score,
        interval=_interval,
        blank=_blank,
        download=_download,
        outcome=_outcome,
        devices=devices,
    )
    return environment


def _groups(
    results: dict[str, pd.DataFrame],
    maps: list[str],
    algorithms: list[str],
    pictures: list[Picture],
) -> list[Group]:
    """The learning curves of the main methods, by family of maps."""
    styles = [(f"{name}/{DEFAULT}", labels.plot_style(name)) for name in algorithms]
    groups = []
    for family in labels.families(maps):
        members = [map for map in maps if labels.family(map) == family]
        shown = [p for p in pictures if p.name.startswith(f"learning_{family}_")]
        groups.append(_group(labels.FAMILIES[family], members, styles, results, shown))
    return groups


def _group(
    title: str,
    maps: list[str],
    styles: list[tuple[str, PlotStyle]],
    results: dict[str, pd.DataFrame],
    pictures: list[Picture],
    table: tables.Table | None = None,
) -> Group:
    shown = results["curves"][results["curves"]["map"].isin(maps)]
    window = 5 if len(shown) and plots.window(shown) > 1 else 1
    return Group(title, maps, explorer.legend(styles), window, pictures, table)


def _ablations(
    results: dict[str, pd.DataFrame], compared: list[Ablation], folder: Path
) -> list[Group]:
    """Each ablation of the study, with its figure and its table."""
    pictures = embed(folder, ablations.captions(compared), "ablations")
    made = ablations.make(results, compared)
    groups = []
    for ablation, picture, table in zip(compared, pictures, made, strict=True):
        maps, styles = ablations.shown(results, ablation)
        named = [("/".join(method), style) for method, style in styles.items()]
        groups.append(_group(ablation.title, maps, named, results, [picture], table))
    return groups


def _verdicts(
    results: dict[str, pd.DataFrame], maps: list[str], algorithms: list[str]
) -> Iterator[str]:
    """What the study says of its first method, over all of its maps, a sentence each."""
    *_, suite = labels.suites(maps)
    which = {"suite": suite, "phase": "training", "variant": DEFAULT}
    rows = select(results["aggregate"], metric="iqm", **which)
    rows = rows.dropna(subset="value").sort_values("value", ascending=False)
    if rows.empty:
        yield "No map has a run of every method, so they are not compared."
        return
    scores = [f"{labels.label(row.algorithm)} {_estimate(row)}" for row in rows.itertuples()]
    where = f"{labels.suite_name(suite)} ({labels.count(rows['n_maps'], 'map')})"
    yield f"Interquartile mean of the final win rate on {where}: {', '.join(scores)}."
    if unequal := tables.unequal(select(results["final"], variant=DEFAULT)):
        yield unequal.strip()
    first = algorithms[0]
    pairs = permutation.together(select(results["improvement"], algorithm_x=first, **which))
    for row in pairs.itertuples():
        x, y = labels.label(first), labels.label(row.algorithm_y)
        if not row.testable:
            verdict = f"Too few runs to say whether {x} and {y} differ"
        elif row.differs:
            verdict = f"{x} ends {'higher' if row.value > 0.5 else 'lower'} than {y}"
        else:
            verdict = f"No difference between {x} and {y} is shown"
        alone = f" ({row.p_alone:.3f} alone)" if len(pairs) > 1 else ""
        yield f"{verdict}: probability of improvement {_estimate(row)}, p = {row.p:.3f}{alone}."
    if len(pairs):
        yield f"Decided by {permutation.DECIDED_BY}, not by the intervals. {NARROW}"


def _estimate(row: Any) -> str:
    """A value with its interval, where it has one, of a row with these columns; on one line."""
    return str(tables.Cell(row.value, row.low, row.high)).replace(" ", "\N{NO-BREAK SPACE}")


def _outcome(counts: dict[str, int]) -> str:
    """What the comparisons of a claim come to, in one word; empty where none has data."""
    words = ("fails", "open", "partial", "holds")
    return next((word for word in words if counts[word]), "")


def _finals(points: pd.DataFrame) -> dict[tuple, float]:
    """The final win rate of every run that has one, by map, algorithm, variant and seed."""
    scores = Scores(points)
    return {
        (map, *method, seed): value
        for method in scores.methods
        for map in scores.maps_of(method)
        for seed, value in scores.final("training", map, method)["win_rate"].items()
    }


def dates(runs: list[dict]) -> str:
    """From the first day of training to the last."""
    attempts = [attempt for run in runs for attempt in run["attempts"]]
    days = sorted(
        attempt[key][:10] for attempt in attempts for key in ("started", "ended") if key in attempt
    )
    if not days:
        return "unknown"
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _download(text: str, kind: str) -> str:
    """A text file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def _run_order(run: dict) -> tuple:
    method = (labels.order(run["algorithm"]), run["variant"])
    return (labels.map_order(run["map"]), *method, run["seed"])


def devices(run: dict) -> list[str]:
    """Where a run's attempts were trained: "cpu", or the GPU's name."""
    used = {attempt.get("hardware", run["hardware"])["device"] for attempt in run["attempts"]}
    return sorted(used)


def by_cell(runs: list[dict]) -> list[tuple[str, str, list[int]]]:
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
            image = _small(path)
        except OSError as error:
            reason = error.strerror or "no PNG"
            raise BenchmarkError(
                f"cannot read {path}: {reason}; draw it with python -m benchmark {command}"
            ) from error
        encoded = base64.b64encode(image).decode()
        pictures.append(Picture(name, caption, f"data:image/png;base64,{encoded}"))
    return pictures


def _small(path: Path) -> bytes:
    """A figure with a palette of 256 colours: a quarter of its bytes, to the eye the same."""
    with Image.open(path) as picture:
        coloured = picture.convert("RGB")
    coloured.thumbnail((_PIXELS, 4 * _PIXELS))
    reduced = coloured.quantize(256, kmeans=3, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _score(value: float) -> str:
    return tables.DASH if np.isnan(value) else f"{value:z.2f}"


def _interval(row: dict) -> str:
    """A difference with its interval."""
    value = _score(row["difference"])
    return value if np.isnan(row["low"]) else f"{value} [{row['low']:z.2f}, {row['high']:z.2f}]"


def _blank(value: str | float) -> str:
    return value if isinstance(value, str) else ""


def _roles(folder: Path, study: Study | None) -> list[tuple[Picture, tables.Table]]:
    """The figures of roles with their tables, from their numbers; of a known study only its own."""
    found = []
    shown = study.role_runs() if study else []
    own = f"roles_{shown[0].map}.csv" if shown else ""
    for path in sorted(folder.glob("roles_*.csv")):
        if study and path.name != own:  # of an earlier study file
            continue
        try:
            table = roles.summary(pd.read_csv(path), roles.STEPS)
        except (ValueError, LookupError) as error:
            raise BenchmarkError(
                f"{path} is damaged; draw it again with python -m benchmark roles"
            ) from error
        caption = f"Roles in battle on {path.stem.removeprefix('roles_')}."
        found += [(picture, table) for picture in embed(folder, {table.name: caption}, "roles")]
    return found


def commit_of(run: dict) -> str:
    """The code that made a run."""
    if run["commit"] is None:
        return "unknown"
    return run["commit"][:12] + (" with local changes" if run["dirty"] else "")


def _provenance(runs: list[dict]) -> dict[str, list[tuple[str, int]]]:
    """What the runs were made with: title -> distinct values and how many runs have each."""
    found = {
        "Commit": map(commit_of, runs),
        "Backend": (f"{run['backend']} {run['backend_version']}" for run in runs),
        "Packages": (", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in runs),
        "Device": (" and ".join(devices(run)) for run in runs),
        "Machine": (
            "{cpu}, {cores} cores, {memory_gb} GB".format(**run["hardware"]) for run in runs
        ),
        "End": (run["end_reason"] for run in runs),
    }
    return {title: Counter(values).most_common() for title, values in found.items()}


def _total(runs: list[dict]) -> dict[str, str]:
    """What the runs cost together."""
    hours = sum(run["wall_seconds"] for run in runs) / 3600
    faults: Counter[str] = Counter()
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
