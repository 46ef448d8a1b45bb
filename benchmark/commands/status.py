"""``python -m benchmark status``: how far a study is, read from its run folders."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.training.run_state import RunState

#: state -> colour, in the order in which states are shown.
_COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "interrupted": "yellow",
    "stale": "magenta",
    "missing": "dim",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("study", help="study file, or the name of one in config/")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    import json
    from collections import Counter
    from dataclasses import asdict

    from rich.console import Console

    from benchmark.training import run_state
    from benchmark.training.study import find_study

    study = find_study(arguments.study)
    runs = [run_state.read(run, arguments.results) for run in study.runs()]
    speeds = _known_speeds(runs)
    left = [_seconds_left(run, speeds) for run in runs]
    counts = dict.fromkeys(run_state.STATES, 0) | Counter(run.state for run in runs)
    if arguments.json:
        listed = [
            asdict(run) | {"seconds_left": None if seconds is None else round(seconds)}
            for run, seconds in zip(runs, left, strict=True)
        ]
        print(json.dumps({"study": study.name, "counts": counts, "runs": listed}, indent=2))
        return
    console = Console()
    console.print(_overview(study.name, runs, left, counts))
    for line in _details(runs, left):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_forecast(left, counts["running"]), highlight=False, soft_wrap=True)


def _seconds_left(run: "RunState", speeds: dict[tuple, float]) -> float | None:
    """What a run still needs, in seconds of its own; None where no speed is known.

    Args:
        speeds: env steps per second by (map, algorithm, variant).
    """
    remaining = max(0, run.budget - run.step)
    if not remaining:
        return 0.0
    speed = run.steps_per_second if run.state == "running" else None
    speed = speed or speeds.get((run.map, run.algorithm, run.variant))
    return remaining / speed if speed else None


def _known_speeds(runs: Iterable["RunState"]) -> dict[tuple, float]:
    """Mean env steps per second by (map, algorithm, variant), of the runs that reported one."""
    found: dict[tuple, list[float]] = {}
    for run in runs:
        if run.steps_per_second:
            found.setdefault((run.map, run.algorithm, run.variant), []).append(run.steps_per_second)
    return {key: sum(speeds) / len(speeds) for key, speeds in found.items()}


def _overview(
    name: str, runs: list["RunState"], left: list[float | None], counts: dict[str, int]
) -> "Table":
    """Runs by map and method: how many are in which state; states without any are left out."""
    from collections import Counter

    from rich.box import SIMPLE
    from rich.table import Table

    from benchmark.training.config import DEFAULT

    states = [state for state in _COLOURS if counts[state]]
    table = Table(title=f"study {name}", title_justify="left", box=SIMPLE, show_footer=True)
    table.add_column("map", footer="all", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for state in states:
        footer = str(counts[state])
        table.add_column(state, justify="right", style=_COLOURS[state], footer=footer, no_wrap=True)
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


def _details(runs: list["RunState"], left: list[float | None]) -> Iterable[str]:
    """One line for each run that is under way or needs attention."""
    for run, seconds in zip(runs, left, strict=True):
        name = f"{run.algorithm}/{run.map}/{run.variant}/{run.seed}"
        colour = _COLOURS[run.state]
        if run.state == "running":
            won = "" if run.win_rate is None else f", won {run.win_rate:.0%}"
            rest = "" if seconds is None else f", {duration(seconds)} left"
            share = f"{run.step / run.budget:.0%} of {run.budget:,} steps"
            yield f"[{colour}]running[/] {name}: {share}{won}{rest}"
        elif run.note or run.state == "interrupted":
            note = run.note.replace("[", r"\[") or f"stopped at step {run.step:,}"
            yield f"[{colour}]{run.state}[/] {name}: {note}"


def _forecast(left: list[float | None], running: int) -> str:
    """The time until the study is done."""
    unknown = left.count(None)
    total = sum(filter(None, left))
    if not total and not unknown:
        return "nothing is left to train"
    if unknown == len(left):
        return "time left: not known before a run has reported; see python -m benchmark plan"
    at_a_time = max(1, running)
    text = f"time left: {duration(total / at_a_time)} with {at_a_time} run(s) at a time"
    if unknown:
        text += f", and {unknown} runs of unknown speed (see python -m benchmark plan)"
    return text


def _total(left: list[float | None]) -> str:
    """Sum of what is known; marked where something is unknown."""
    total = sum(filter(None, left))
    if None in left:
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
