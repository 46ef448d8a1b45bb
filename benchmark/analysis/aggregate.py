"""From many runs to one table: ``evaluations.parquet``, and ``runs.json`` with their provenance.

Everything after training reads only these two files (figures and tables only what follows from the
first), so a study can be shared, and its figures made again, without its run folders.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark import files
from benchmark.analysis.scores import source
from benchmark.errors import BenchmarkError
from benchmark.training import provenance, run_state
from benchmark.training.config import IDENTITY, flat
from benchmark.training.evaluations import EVALUATION_SCHEMA, read_evaluations
from benchmark.training.study import Study, find_study

#: What makes two runs the same run.
_RUN = [name for name in IDENTITY if name != "study"]

_NAMES = {"starcraft2": "StarCraft II"}  #: of backends that do not go by their own

#: What may differ between runs that are averaged. The format's version stands for no rule.
_NO_RULES = {"version", "study", "seed"}

#: Files that decide a battle on StarCraft II, by their key in a run's record.
_GAME_FILES = {"map_sha256": "the map file", "client_sha256": "the client"}


def find_runs(folder: Path) -> list[Path]:
    """The finished runs below ``folder`` (``results/<study>/runs``), sorted."""
    folders = (path.parent for path in Path(folder).glob("**/run.json"))
    return sorted(folder for folder in folders if run_state.is_finished(folder))


def aggregate(
    runs: Iterable[Path],
    output: Path,
    expected: Iterable[dict] = (),
    skip_broken: bool = False,
) -> dict:
    """Joins the evaluations of runs into one table. Reads one run at a time.

    Args:
        runs: run folders or aggregated study folders; each holds ``evaluations.parquet`` and
            ``run.json`` or ``runs.json``.
        output: the study's folder; gets ``evaluations.parquet`` and ``runs.json``.
        expected: of each run that should be there, its identity (``IDENTITY``),
            ``config_hash``, and for the report its ``state``, ``step`` and ``note``.
        skip_broken: leave damaged runs out, and say so in ``runs.json``, instead of stopping.

    Returns:
        The content of ``runs.json``: ``runs`` (a ``run.json`` each), ``missing`` (expected runs
        that are not there), ``changed`` (expected runs that were made with
        another configuration) and ``broken`` (file and reason of each run that was skipped).

    Raises:
        BenchmarkError: no run at all, a damaged file, a run that is there twice, or runs of
            different backends, protocols, versions of a backend or rules.
    """
    runs = list(map(Path, runs))
    if not runs:
        raise _no_run(output)
    found: dict[tuple, Path] = {}
    kind: tuple[str, str, Path] | None = None
    provenance, broken = [], []
    with (
        files.atomic(Path(output) / "evaluations.parquet") as temporary,
        pq.ParquetWriter(temporary, EVALUATION_SCHEMA, compression="zstd") as writer,
    ):
        for folder in runs:
            path = folder / "evaluations.parquet"
            try:
                table = read_evaluations(path)
                about = _provenance(folder)
            except BenchmarkError as error:
                if not skip_broken:
                    raise
                broken.append({"file": str(path), "reason": str(error)})
                continue
            backend, protocol = _source(table, path)
            kind = kind or (backend, protocol, path)
            if (backend, protocol) != kind[:2]:
                raise BenchmarkError(
                    f"{path} is {backend}/{protocol} but {kind[2]} is {kind[0]}/{kind[1]}: they are"
                    " never averaged or ranked together; aggregate them into two folders"
                )
            for run in table[_RUN].drop_duplicates().itertuples(index=False, name=None):
                if run in found:
                    raise BenchmarkError(
                        f"{path} and {found[run]} hold the same run"
                        f" ({'/'.join(map(str, run))}); every run counts once, remove one of them"
                    )
                found[run] = path
            _check_versions(about, provenance, path)
            arrow = pa.Table.from_pandas(table, schema=EVALUATION_SCHEMA, preserve_index=False)
            writer.write_table(arrow.replace_schema_metadata(None))
            provenance += about
        if not found:
            raise _no_run(output)
        _check_rules(provenance)
    missing, changed = compare(provenance, expected)
    summary = {"runs": provenance, "missing": missing, "changed": changed, "broken": broken}
    files.write_json(summary, Path(output) / "runs.json")
    return summary


def _no_run(output: Path) -> BenchmarkError:
    return BenchmarkError(
        f"no finished run for {output}; train one first, python -m benchmark status shows what a"
        " study still needs"
    )


def _source(table: pd.DataFrame, path: Path) -> tuple[str, str]:
    try:
        return source(table)
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}: {error}") from None


def _check_versions(runs: list[dict], before: list[dict], path: Path) -> None:
    """Versions of a backend fight differently, and so may other maps or clients of one name: their
    results never meet in one table."""
    seen: dict[str, set[str]] = {}
    for run in (*before, *runs):
        backend = _NAMES.get(run["backend"], f"the {run['backend']}")
        seen.setdefault(backend, set()).add(run["backend_version"])
        for attempt in run["attempts"]:
            for key, what in _GAME_FILES.items():
                if key in attempt.get("backend", {}):
                    name = f"{what} of {run['map']}"
                    seen.setdefault(name, set()).add(attempt["backend"][key][:12])
    for what, versions in seen.items():
        if len(versions) > 1:
            raise BenchmarkError(
                f"{path}: these runs used different versions of {what}"
                f" ({', '.join(sorted(versions))}), which are never averaged or ranked together;"
                " aggregate each into its own folder"
            )


def _check_rules(runs: list[dict]) -> None:
    """Runs of one method on one map differ in their seed alone, or their mean means nothing."""
    first: dict[tuple, dict] = {}
    for run in runs:
        other = first.setdefault((run["map"], run["algorithm"], run["variant"]), run)
        ours, theirs = _rules(run), _rules(other)
        # A key that one of them lacks is younger than that run: no choice was made there.
        for key in theirs:
            if key in ours and ours[key] != theirs[key]:
                raise BenchmarkError(
                    f"{_name(other)} has {key} = {theirs[key]} and {_name(run)} has {key} ="
                    f" {ours[key]}: runs under different rules are never averaged; repeat one of"
                    " them, or make it a variant"
                )


def _rules(run: dict) -> dict:
    """Everything that a run's configuration sets."""
    return {key: value for key, value in flat(run["config"]).items() if key not in _NO_RULES}


def _name(run: dict) -> str:
    return "/".join(str(run[name]) for name in ("study", "map", "algorithm", "variant", "seed"))


def _provenance(folder: Path) -> list[dict]:
    """The provenance beside a table of evaluations: one run's, or that of an aggregated study."""
    if (folder / "runs.json").exists():
        return files.read_json(folder / "runs.json", ["runs"])["runs"]
    return [files.read_json(folder / "run.json", provenance.RUN_KEYS)]


def expected_runs(study: Study, results: Path) -> list[dict]:
    """What ``aggregate`` and ``compare`` want to know of each run of a study.

    Args:
        results: the folder that holds ``<study>/runs``.
    """
    expected = []
    for run in study.runs():
        found = run_state.read(run, results)
        state = {"state": found.state, "step": found.step, "note": found.note}
        expected.append({**run.identity, "config_hash": run.hash, **state})
    return expected


def compare(provenance: list[dict], expected: Iterable[dict]) -> tuple[list[dict], list[dict]]:
    """The expected runs that are not there, and those that are there with another configuration."""
    hashes = {tuple(run[name] for name in _RUN): run["config_hash"] for run in provenance}
    missing, changed = [], []
    for run in expected:
        key = tuple(run[name] for name in _RUN)
        if key not in hashes:
            missing.append(run)
        elif hashes[key] != run["config_hash"]:
            changed.append(run)
    return missing, changed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("output", type=Path, help="the study's folder, e.g. results/smoke")
    parser.add_argument(
        "runs", type=Path, nargs="*", help="run or study folders (default: all below OUTPUT/runs)"
    )
    parser.add_argument(
        "--study", help="study file or name, or a study as JSON: only its runs, missing ones named"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave damaged runs out instead of stopping"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    output, runs = arguments.output, arguments.runs or find_runs(arguments.output / "runs")
    expected = []
    if arguments.study:
        study = find_study(arguments.study)
        if output.absolute().name != study.name:  # which may be a link to elsewhere
            raise BenchmarkError(
                f"{output} is not the folder of study {study.name}; use"
                f" {output.parent / study.name}"
            )
        expected = expected_runs(study, output.parent)
        if not arguments.runs:
            wanted = {output.parent / run.path for run in study.runs()}
            runs = [folder for folder in runs if folder in wanted]
    summary = aggregate(runs, output, expected, arguments.skip_broken)
    for broken in summary["broken"]:
        print(f"left out: {broken['reason']}", file=sys.stderr)
    for what in ("missing", "changed"):
        if summary[what]:
            print(f"{len(summary[what])} of {len(expected)} runs {what}", file=sys.stderr)
    print(output / "evaluations.parquet")
