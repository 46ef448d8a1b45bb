"""From many runs to one table: ``evaluations.parquet``, and ``runs.json`` with their provenance.

Everything after training reads only these two files (tables and figures only statistics of the
first), so a study can be shared, and its figures made again, without its run folders.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from benchmark import files
from benchmark.analysis.scores import source
from benchmark.errors import BenchmarkError
from benchmark.training import run_record, run_state
from benchmark.training.config import IDENTITY, flat, hash_of, run_path, same_configuration
from benchmark.training.evaluations import as_bytes, read_evaluations
from benchmark.training.run_record import DIGEST
from benchmark.training.study import Study

#: What makes two runs the same run.
_RUN = [name for name in IDENTITY if name != "study"]

#: Keys of a configuration in which runs that are averaged may differ.
_FREE = {"version", "study", "seed"}

#: Files that decide a battle on StarCraft II, by their key in a run's record.
_GAME_FILES = {"map_sha256": "the map file", "client_sha256": "the client"}


def find_runs(folder: Path, study: Study | None = None) -> list[Path]:
    """The finished runs of a study's folder, sorted; where ``study`` is given only its own."""
    folders = (path.parent for path in Path(folder, "runs").glob("**/run.json"))
    found = sorted(run for run in folders if run_state.is_finished(run))
    if study is None:
        return found
    wanted = {Path(folder, run_path(run.identity)) for run in study.runs()}
    return [run for run in found if run in wanted]


def aggregate(
    runs: Iterable[Path], output: Path, study: Study | None = None, skip_broken: bool = False
) -> dict:
    """Joins the evaluations of runs into one table. Reads one run at a time.

    Args:
        runs: run folders or aggregated study folders; each holds ``evaluations.parquet`` and
            ``run.json`` or ``runs.json``.
        output: the study's folder; gets ``evaluations.parquet`` and ``runs.json``.
        study: the runs that should be there.
        skip_broken: leave damaged runs out, and say so in ``runs.json``, instead of stopping.

    Returns:
        The content of ``runs.json``: ``runs`` (a ``run.json`` each), ``missing`` and ``changed``
        (see ``missing_and_changed``), ``broken`` (file and reason of each skipped run) and the
        SHA-256 of the table.

    Raises:
        BenchmarkError: no run at all, a damaged file, a run that is there twice, runs of different
            backends, protocols, versions of a backend or rules, or another study's folder.
    """
    runs, output = list(map(Path, runs)), Path(output)
    if study and output.absolute().name != study.name:  # which may be a link to elsewhere
        raise BenchmarkError(
            f"{output} is not the folder of study {study.name}; use {output.parent / study.name}"
        )
    no_run = BenchmarkError(
        f"no finished run for {output}; train one first, python -m benchmark status shows what a"
        " study still needs"
    )
    if not runs:
        raise no_run
    sources: dict[tuple[str, str], Path] = {}
    found: dict[tuple, Path] = {}
    records, broken = [], []

    def tables() -> Iterator[pd.DataFrame]:
        for folder in runs:
            path = folder / "evaluations.parquet"
            try:
                of_table, table = _read(folder)
            except BenchmarkError as error:
                if not skip_broken:
                    raise
                broken.append({"file": str(path), "reason": str(error)})
                continue
            _check_source(table, path, sources)
            for run in table[_RUN].drop_duplicates().itertuples(index=False, name=None):
                if run in found:
                    raise BenchmarkError(
                        f"{path} and {found[run]} hold the same run"
                        f" ({'/'.join(map(str, run))}); every run counts once, remove one of them"
                    )
                found[run] = path
            records.extend(of_table)
            yield table

    data = as_bytes(tables())
    if not records:
        raise no_run
    _check_versions(records)
    _check_rules(records)
    missing, changed = missing_and_changed(records, study, output) if study else ([], [])
    if study and len(missing) == len(study.runs()):
        raise BenchmarkError(f"{runs[0]} holds no run of study {study.name}; give runs of it")
    summary = {
        **{"runs": records, "missing": missing, "changed": changed, "broken": broken},
        DIGEST: files.sha256(data),
    }
    _check_nothing_is_lost(records, study, output)
    files.write(data, output / "evaluations.parquet")
    files.write_sealed(summary, output / "runs.json")
    return summary


def _check_nothing_is_lost(records: list[dict], study: Study | None, output: Path) -> None:
    """Runs that only the table of before still holds stay in it, if the study wants them.

    A study may have come as its table alone; one trained run would otherwise replace them all.
    """
    try:
        before = files.read_sealed(output / "runs.json", ["runs"])["runs"]
    except BenchmarkError:  # there was none, or it is damaged
        return
    now = {about[DIGEST] for about in records}
    gone = {run_path(about) for about in before if about.get(DIGEST) not in now}
    wanted = {run_path(run.identity) for run in study.runs()} if study else gone
    lost = sorted(path for path in gone & wanted if not (output / path).exists())
    if lost:
        raise BenchmarkError(
            f"{output / 'evaluations.parquet'} holds {len(lost)} finished run(s) that have no"
            f" folder, e.g. {lost[0]}, and would lose them: aggregate into another folder, or move"
            " the table and runs.json away first"
        )


def _read(folder: Path) -> tuple[list[dict], pd.DataFrame]:
    """The records and the table of a run, or of all runs of an aggregated study."""
    path = folder / "runs.json"
    if not path.exists() and not (folder / "run.json").exists():
        raise BenchmarkError(
            f"{folder} holds no finished run and no table of a study; give run folders, or study"
            " folders that were aggregated"
        )
    if not path.exists():
        about, table = run_record.read_with_table(folder)
        return [about], table
    records = files.read_sealed(path, ["runs"])["runs"]
    table = read_evaluations(folder / "evaluations.parquet")
    rows = run_record.by_run(table)
    for about in records:
        run_record.check_hash(about, path)
        own = rows.pop(run_record.identity(about), table.iloc[:0])
        run_record.check_rows(about, own, folder / "evaluations.parquet")
    if rows:
        run = "/".join(map(str, next(iter(rows))))
        raise BenchmarkError(f"{path} has no record of {run}, of which the table has rows")
    return records, table


def _check_source(table: pd.DataFrame, path: Path, sources: dict[tuple[str, str], Path]) -> None:
    """Adds a table's backend and protocol to ``sources``, which may hold one pair only."""
    try:
        sources.setdefault(source(table), path)
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}: {error}") from None
    if len(sources) > 1:
        (first, first_path), (second, _) = sources.items()
        raise BenchmarkError(
            f"{path} is {'/'.join(second)} but {first_path} is {'/'.join(first)}: they are never"
            " averaged or ranked together; aggregate them into two folders"
        )


def _check_versions(runs: list[dict]) -> None:
    """Battles differ between versions of a backend, and between maps or clients of one name."""
    versions: dict[str, dict[str, dict]] = {}  # of what -> version -> a run that used it
    for run in runs:
        backend = {"starcraft2": "StarCraft II"}.get(run["backend"], f"the {run['backend']}")
        versions.setdefault(backend, {})[run["backend_version"]] = run
        for attempt in run["attempts"]:
            for key, file in _GAME_FILES.items():
                if digest := attempt.get("backend", {}).get(key):
                    versions.setdefault(f"{file} of {run['map']}", {})[digest[:12]] = run
    for what, used in versions.items():
        if len(used) > 1:
            raise BenchmarkError(
                f"{' and '.join(map(_name, used.values()))} used different versions of {what}"
                f" ({', '.join(sorted(used))}), which are never averaged or ranked together;"
                " aggregate each into its own folder"
            )


def _check_rules(runs: list[dict]) -> None:
    """Runs of one method on one map differ in their seed alone, or their mean means nothing."""
    first: dict[tuple, dict] = {}
    for run in runs:
        other = first.setdefault((run["map"], run["algorithm"], run["variant"]), run)
        ours, theirs = flat(run["config"]), flat(other["config"])
        # Only keys that both have: a run that is older than a key made no choice there.
        for key in theirs:
            if key not in _FREE and key in ours and ours[key] != theirs[key]:
                raise BenchmarkError(
                    f"{_name(other)} has {key} = {theirs[key]} and {_name(run)} has {key} ="
                    f" {ours[key]}: runs under different rules are never averaged; repeat one of"
                    " them, or make it a variant"
                )


def _name(run: dict) -> str:
    return "/".join(str(run[name]) for name in ("study", "map", "algorithm", "variant", "seed"))


def missing_and_changed(
    runs: list[dict], study: Study, folder: Path
) -> tuple[list[dict], list[dict]]:
    """The runs of a study that are not there, and those made with another configuration.

    Args:
        runs: the ``run.json`` of each run that is there.
        folder: of the study.

    Returns:
        Of each such run its identity (``IDENTITY``), the ``config_hash`` that the study wants, and
        ``state``, ``step`` and ``note`` as ``python -m benchmark status`` shows them.
    """
    there = {run_path(run): run["config"] for run in runs}
    missing: list[dict] = []
    changed: list[dict] = []
    wanted = [run.resolved() for run in study.runs()]
    for run, state in zip(wanted, run_state.read(wanted, folder), strict=True):
        found = there.get(run_path(run))
        if found is None or not same_configuration(found, run):
            seen = {"state": state.state, "step": state.step, "note": state.note}
            identity = {name: run[name] for name in IDENTITY}
            about = {**identity, "config_hash": hash_of(run), **seen}
            (missing if found is None else changed).append(about)
    return missing, changed
