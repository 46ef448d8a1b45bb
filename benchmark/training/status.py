"""``python -m benchmark status``: how far a study is, read from its run folders."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from platform import node

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmark import files
from benchmark.errors import BenchmarkError, first_line
from benchmark.training import progress, provenance, run_state
from benchmark.training.config import DEFAULT, RunConfig
from benchmark.training.study import find_study

#: What a run can be, in the order in which it is shown, and how.
STATES = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "interrupted": "yellow",
    "stale": "magenta",
    "missing": "dim",
}

#: A run that has not reported for so long is taken to be dead; it reports about every 30 s, and at
#: the latest after one round of battles and updates.
SILENCE = timedelta(minutes=15)


@dataclass(frozen=True)
class RunStatus:
    """One run of a study, as its folder shows it."""

    map: str
    algorithm: str
    variant: str
    seed: int
    state: str  #: one of ``STATES``
    step: int  #: env steps played of those that the study now wants
    budget: int
    steps_per_second: float | None  #: over the whole run, evaluation included
    win_rate: float | None  #: of the latest evaluation of an unfinished run
    note: str  #: why it failed or is stale, or what is odd about its end
    folder: str


def look_at(run: RunConfig, results: Path) -> RunStatus:
    """Reads the state of one run from its folder.

    Args:
        run: the run as the study now wants it.
        results: the folder that holds ``<study>/runs``.
    """
    folder = results / run.path
    seen = {"step": 0, "steps_per_second": None, "win_rate": None, "note": ""}
    try:
        if run_state.is_finished(folder):
            seen |= _finished(run, folder)
        elif (folder / "progress.json").exists():
            seen |= _unfinished(folder)
        else:
            seen["state"] = "missing"
    except BenchmarkError as error:
        seen |= {"state": "failed", "note": str(error)}
    return RunStatus(
        map=run.map,
        algorithm=run.algorithm,
        variant=run.variant,
        seed=run.seed,
        budget=run.training.budget,
        folder=str(folder),
        **seen,
    )


def _finished(run: RunConfig, folder: Path) -> dict:
    """A run with both of its records: done, stale, or failed where one of them is damaged."""
    about = files.read_json(folder / "run.json", provenance.RUN_KEYS)
    evaluations = folder / "evaluations.parquet"
    try:
        pq.read_metadata(evaluations)
    except (OSError, pa.ArrowInvalid) as error:
        reason = first_line(error)
        raise BenchmarkError(
            f"cannot read {evaluations}: {reason}; delete the file and run the study again"
        ) from error
    seen = {"steps_per_second": about["steps_per_second"]}
    if about["config_hash"] != run.hash:
        note = "made with another configuration; the workflow repeats it"
        return seen | {"state": "stale", "note": note}
    seen["step"] = run.training.budget
    if changed := run_state.made_by_other_code(about):
        note = f"{changed} has changed since; delete the folder to repeat it"
        return seen | {"state": "stale", "note": note}
    note = "" if about["end_reason"] == run_state.END else about["end_reason"]
    return seen | {"state": "done", "note": note}


def _unfinished(folder: Path) -> dict:
    """A run that has begun: running, failed or interrupted; a killed process counts as the last."""
    about = files.read_json(folder / "progress.json", progress.KEYS)
    state = about["state"]
    if state == "running" and not _alive(about):
        state = "interrupted"
    elif state == "done":  # its records have been deleted since
        return {"state": "missing"}
    return {
        "state": state,
        "step": about["step"],
        "steps_per_second": about["steps_per_second"] or None,
        "win_rate": about["win_rate"],
        "note": about["error"].splitlines()[0] if about["error"] else "",
    }


def _alive(about: dict) -> bool:
    """Whether the process that reported last still runs; on another host, whether it reports."""
    silence = datetime.now(UTC) - datetime.fromisoformat(about["updated"])
    here = about["host"] == node()
    return silence < SILENCE and (not here or psutil.pid_exists(about["pid"]))


def seconds_left(run: RunStatus, speeds: dict[tuple, float]) -> float | None:
    """What a run still needs, in seconds of its own; None where no speed is known.

    Args:
        speeds: env steps per second by (map, algorithm, variant), from ``known_speeds``.
    """
    remaining = max(0, run.budget - run.step)
    if not remaining:
        return 0.0
    speed = run.steps_per_second if run.state == "running" else None
    speed = speed or speeds.get((run.map, run.algorithm, run.variant))
    return remaining / speed if speed else None


def known_speeds(runs: Iterable[RunStatus]) -> dict[tuple, float]:
    """Mean env steps per second by (map, algorithm, variant), of the runs that reported one."""
    found: dict[tuple, list[float]] = {}
    for run in runs:
        if run.steps_per_second:
            found.setdefault((run.map, run.algorithm, run.variant), []).append(run.steps_per_second)
    return {key: sum(speeds) / len(speeds) for key, speeds in found.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("study", help="study file, or the name of one in config/")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    study = find_study(arguments.study)
    runs = [look_at(run, arguments.results) for run in study.runs()]
    speeds = known_speeds(runs)
    left = [seconds_left(run, speeds) for run in runs]
    counts = {state: 0 for state in STATES} | Counter(run.state for run in runs)
    if arguments.json:
        each = [
            asdict(run) | {"seconds_left": None if need is None else round(need)}
            for run, need in zip(runs, left, strict=True)
        ]
        print(json.dumps({"study": study.name, "counts": counts, "runs": each}, indent=2))
        return
    console = Console()
    console.print(_overview(study.name, runs, left, counts))
    for line in _details(runs, left):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_forecast(left, counts["running"]), highlight=False, soft_wrap=True)


def _overview(
    name: str, runs: list[RunStatus], left: list[float | None], counts: dict[str, int]
) -> Table:
    """Runs by map and method: how many are in which state; states without any are left out."""
    states = [state for state in STATES if counts[state]]
    table = Table(title=f"study {name}", title_justify="left", box=SIMPLE, show_footer=True)
    table.add_column("map", footer="all", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for state in states:
        footer = str(counts[state])
        table.add_column(state, justify="right", style=STATES[state], footer=footer, no_wrap=True)
    table.add_column("run time left", justify="right", footer=_total(left), no_wrap=True)
    groups: dict[tuple, list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault((run.map, run.algorithm, run.variant), []).append(index)
    for (map, algorithm, variant), indices in groups.items():
        found = Counter(runs[index].state for index in indices)
        method = algorithm if variant == DEFAULT else f"{algorithm} {variant}"
        numbers = [str(found[state] or "") for state in states]
        table.add_row(map, method, *numbers, _total([left[index] for index in indices]))
    return table


def _details(runs: list[RunStatus], left: list[float | None]) -> Iterable[str]:
    """One line for each run that is under way or needs attention."""
    for run, need in zip(runs, left, strict=True):
        name = f"{run.algorithm}/{run.map}/{run.variant}/{run.seed}"
        style = STATES[run.state]
        if run.state == "running":
            won = "" if run.win_rate is None else f", won {run.win_rate:.0%}"
            rest = "" if need is None else f", {duration(need)} left"
            share = f"{run.step / run.budget:.0%} of {run.budget:,} steps"
            yield f"[{style}]running[/] {name}: {share}{won}{rest}"
        elif run.note or run.state == "interrupted":
            note = run.note.replace("[", r"\[") or f"stopped at step {run.step:,}"
            yield f"[{style}]{run.state}[/] {name}: {note}"


def _forecast(left: list[float | None], running: int) -> str:
    unknown = sum(each is None for each in left)
    total = sum(each for each in left if each is not None)
    if not total and not unknown:
        return "nothing is left to train"
    at_a_time = max(1, running)
    text = f"time left: {duration(total / at_a_time)} with {at_a_time} run(s) at a time"
    if unknown == len(left):
        return "time left: not known before a run has reported; see python -m benchmark plan"
    if unknown:
        text += f", and {unknown} runs of unknown speed (see python -m benchmark plan)"
    return text


def _total(left: list[float | None]) -> str:
    """Sum of what is known; marked where something is unknown."""
    total = sum(each for each in left if each is not None)
    if any(each is None for each in left):
        return f"> {duration(total)}" if total else "?"
    return duration(total) if total else ""


def duration(seconds: float) -> str:
    """A length of time for people: 40 s, 12 min, 3.4 h, 2.5 days."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"
