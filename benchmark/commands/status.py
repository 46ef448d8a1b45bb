"""``python -m benchmark status``: how far a study is, read from its run folders."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmark.amounts import duration
from benchmark.commands.arguments import add_study
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from benchmark.training.run_state import RunState
    from benchmark.training.study_folder import StudyFolder

#: state -> colour, in the order in which states are shown.
_COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "interrupted": "yellow",
    "changed": "magenta",
    "stale": "magenta",
    "missing": "dim",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="for programs: one JSON object")
    shown.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=5.0,
        metavar="S",
        help="show it again every S seconds (5), until Ctrl-C",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from rich.console import Console

    from benchmark.training.study_folder import find

    found = find(arguments.study)
    if not found.runs:
        raise BenchmarkError(f"{found.folder} holds no runs")
    if arguments.json:
        print(_as_json(found))
        return
    console = Console(highlight=False)
    if arguments.watch is not None:
        if not 0 < arguments.watch <= 86_400:
            raise BenchmarkError(f"--watch {arguments.watch:g}: seconds, above 0 and at most a day")
        _watch(arguments.study, arguments.watch, console)
        return
    if not console.is_terminal:
        console.width = 120  # of a file
    for part in _shown(found):
        console.print(part, soft_wrap=isinstance(part, str))


def _watch(study: str, seconds: float, console: "Console") -> None:
    """Shows the study on the whole terminal until Ctrl-C; without the table if that is too long."""
    import time
    from contextlib import suppress

    from rich.console import Group
    from rich.live import Live

    from benchmark.training.study_folder import find

    if not console.is_terminal:
        raise BenchmarkError("--watch needs a terminal; without it status prints once")
    with suppress(KeyboardInterrupt), Live(console=console, screen=True) as live:
        while True:
            heading, overview, *details, forecast = _shown(find(study))
            shown = Group(heading, overview, *details, forecast)
            if len(console.render_lines(shown)) > console.height:
                shown = Group(heading, forecast, *details)
            live.update(shown, refresh=True)
            time.sleep(seconds)


def _read(found: "StudyFolder") -> tuple[list["RunState"], list[float | None], dict[str, int]]:
    """The runs' states, the seconds that they still need, and how many are in which state."""
    from collections import Counter

    from benchmark.training import run_state

    runs = run_state.read(found.runs, found.folder)
    speeds = _known_speeds(runs)
    left = [_seconds_left(run, speeds) if found.with_runs else 0.0 for run in runs]
    return runs, left, dict.fromkeys(run_state.STATES, 0) | Counter(run.state for run in runs)


def _as_json(found: "StudyFolder") -> str:
    import json
    from dataclasses import asdict

    runs, left, counts = _read(found)
    listed = [
        asdict(run) | {"seconds_left": None if seconds is None else round(seconds)}
        for run, seconds in zip(runs, left, strict=True)
    ]
    return json.dumps({"study": found.name, "counts": counts, "runs": listed}, indent=2)


def _shown(found: "StudyFolder") -> list["Table | str"]:
    """How many runs are in which state, a table of them, a line for each that is under way or needs
    attention, and the time left.
    """
    runs, left, counts = _read(found)
    without = "" if found.with_runs else ", which came as its table of evaluations, without runs"
    states = [
        f"[{_COLOURS[state]}]{counts[state]} {state}[/]" for state in _COLOURS if counts[state]
    ]
    return [
        f"study {found.name}{without}: {', '.join(states)}",
        _overview(runs, left, counts),
        *_details(runs, left),
        _forecast(runs, left, counts["running"])
        if found.with_runs
        else "nothing is trained as long as the table is there; move it away to train the study",
    ]


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


def _overview(runs: list["RunState"], left: list[float | None], counts: dict[str, int]) -> "Table":
    """Runs by map and method: how many are in which state; states without any are left out."""
    from collections import Counter

    from rich.box import SIMPLE
    from rich.table import Table

    from benchmark.training.config import DEFAULT

    states = [state for state in _COLOURS if counts[state]]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_footer=True)
    table.add_column("map", footer="all", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for state in states:
        footer = str(counts[state])
        table.add_column(state, justify="right", style=_COLOURS[state], footer=footer, no_wrap=True)
    table.add_column("time left", justify="right", footer=_total(left), no_wrap=True)
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
    """One line for each run that is under way or needs attention; alike runs share one.

    In the order of the states.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for run, seconds in zip(runs, left, strict=True):
        name = f"{run.map}/{run.algorithm}/{run.variant}/{run.seed}"
        note = run.note.replace("[", r"\[")
        if run.state == "running":
            won = "" if run.win_rate is None else f", won {run.win_rate:.0%}"
            rest = "" if seconds is None else f", {duration(seconds)} left"
            speed = f", {run.steps_per_second:,.0f} steps/s" if run.steps_per_second else ""
            note = f"{run.step / run.budget:.0%} of {run.budget:,} steps{speed}{won}{rest}"
        elif run.state == "interrupted":
            note = note or f"will go on at step {run.step:,}"
        if note:
            alike.setdefault((run.state, note), []).append(name)
    order = list(_COLOURS)
    for (state, note), names in sorted(alike.items(), key=lambda item: order.index(item[0][0])):
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield f"[{_COLOURS[state]}]{state}[/] {some}: {note}"


def _forecast(runs: list["RunState"], left: list[float | None], running: int) -> str:
    """The time until the study is done; where none runs now, at the speed of what finished ones
    were trained on, which may be another device.
    """
    unknown = left.count(None)
    total = sum(filter(None, left))
    if not total and not unknown:
        return "nothing is left to train"
    if unknown == len(left):
        return "time left: not known before a run has reported; see python -m benchmark plan"
    at_a_time = max(1, running)
    text = f"time left: {duration(total / at_a_time)} with {at_a_time} run(s) at a time"
    devices = sorted({run.device for run in runs if run.device})
    if not running and devices:
        text += f", at the speed of {' and '.join(devices)}"
    if unknown:
        text += f", and {unknown} runs of unknown speed (see python -m benchmark plan)"
    return text


def _total(left: list[float | None]) -> str:
    """Sum of what is known; marked where something is unknown."""
    total = sum(filter(None, left))
    if None in left:
        return f"> {duration(total)}" if total else "?"
    return duration(total) if total else ""
