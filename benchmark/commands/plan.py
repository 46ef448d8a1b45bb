"""``python -m benchmark plan``: what a study costs on this machine, measured."""

import argparse
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from benchmark.amounts import duration, size
from benchmark.commands.arguments import add_study
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.training.config import RunConfig
    from benchmark.training.measure import Measured
    from benchmark.training.plan import Cost

log = logging.getLogger("benchmark")

_SECONDS = 5.0  #: about how long to measure a cell, apart from what must be done once

#: About the seconds of a whole measurement: the second is per agent and step of the map's limit.
_BASE, _SLOPE = 12.0, 0.008

_ASSUMPTIONS = (
    "Assumed: battles as long as at random play (better teams fight longer ones, which means fewer"
    " but longer updates and about the same total), one thread per run. Memory and checkpoints are"
    " upper bounds: updates and full replay buffers of battles that all last to the limit,"
    " compressed like random play."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    add_study(parser)
    parser.add_argument("--maps", nargs="+", metavar="MAP", help="only these of the study's maps")
    parser.add_argument(
        "--at-a-time",
        type=int,
        metavar="N",
        help="runs that train at the same time, everywhere together (default: this machine's"
        " cores); on a cluster `jobs:` of the profile",
    )
    parser.add_argument(
        "--share",
        type=int,
        metavar="N",
        help="of these, runs that share one machine, or one GPU where there are some (default: all"
        " without a GPU, 1 with one)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="measure again what earlier calls have measured"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    for option in ("at_a_time", "share"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise BenchmarkError(f"--{option.replace('_', '-')} {value}: at least 1")
    from rich.console import Console

    from benchmark.training import plan, provenance
    from benchmark.training.device import choose_device, device_asked_for
    from benchmark.training.study import checked_runs
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    study = found.require()
    maps = arguments.maps or study.maps
    if unknown := sorted(set(maps) - set(study.maps)):
        raise BenchmarkError(
            f"--maps {' '.join(unknown)}: not in the study, which has {', '.join(study.maps)}"
        )
    groups: dict[tuple, list[RunConfig]] = {}  # what differs in nothing but the seed
    for run in (run for run in checked_runs(study, found.source) if run.map in maps):
        groups.setdefault((run.map, run.algorithm, run.variant), []).append(run)
    cores, on_gpu = provenance.cores(), choose_device(device_asked_for()) == "cuda"
    at_a_time = min(arguments.at_a_time or cores, sum(map(len, groups.values())))
    share = min(arguments.share or (1 if on_gpu else at_a_time), at_a_time)
    firsts = [runs[0] for runs in groups.values()]
    measured = _measured(firsts, min(share, cores, len(firsts)), arguments.fresh)
    cells = [
        _Cell(run, len(runs), one, plan.project(run, one))
        for run, runs, one in zip(firsts, groups.values(), measured, strict=True)
    ]
    console = Console(width=None if Console().is_terminal else 120)
    console.print(_table(study.name, cells))
    for line in _totals(cells, at_a_time, share, on_gpu):
        console.print(line, highlight=False)


class _Cell(NamedTuple):
    """A method on a map."""

    run: "RunConfig"  #: of the first seed
    n_runs: int
    measured: "Measured"
    cost: "Cost"  #: of one run


def _name(run: "RunConfig") -> str:
    from benchmark.training.config import DEFAULT

    return run.algorithm if run.variant == DEFAULT else f"{run.algorithm} {run.variant}"


def _measured(runs: list["RunConfig"], at_a_time: int, fresh: bool) -> list["Measured"]:
    """What runs take: what earlier calls kept, or measured now, in a line when it is done.

    Args:
        runs: one of each cell.
        at_a_time: processes that measure at the same time.
        fresh: whether to measure all of them.
    """
    from benchmark.envs import spec_of
    from benchmark.training import plan
    from benchmark.training.measure import busy

    found = {} if fresh else {run: one for run in runs if (one := plan.kept(run, at_a_time))}
    missing = [run for run in runs if run not in found]
    if missing:
        sizes = [
            spec.n_agents * spec.episode_limit for run in missing for spec in [spec_of(run.map)]
        ]
        seconds = sum(_BASE + _SLOPE * size for size in sizes) / at_a_time
        log.info(
            f"measuring {len(missing)} of {len(runs)} cells (a method on a map), {at_a_time} at a"
            f" time: takes about {duration(seconds)}; when stopped, the same command goes on"
        )
        if busy(at_a_time):
            log.warning("the machine is busy; what is measured meanwhile gets a * in the table")
    for number, (run, one) in enumerate(plan.measure_all(missing, at_a_time, _SECONDS), 1):
        found[run], seconds = one, plan.project(run, one).seconds
        log.info(
            f"{number}/{len(missing)} {_name(run)} on {run.map}:"
            f" {run.training.budget / seconds:,.0f} steps/s, {duration(seconds)} a run"
            f" (measured in {duration(one.took)})"
        )
    return [found[run] for run in runs]


def _table(name: str, cells: list[_Cell]) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=f"study {name}", title_justify="left", box=SIMPLE)
    for heading in ("map", "method"):
        table.add_column(heading, overflow="fold")
    for heading in ("runs", "budget", "steps/s", "time each", "memory", "replay"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run, n_runs, measured, cost in cells:
        speed = f"{'*' if measured.busy else ''}{run.training.budget / cost.seconds:,.0f}"
        numbers = (str(n_runs), f"{run.training.budget:,}", speed, duration(cost.seconds))
        table.add_row(run.map, _name(run), *numbers, size(cost.memory), size(cost.replay))
    return table


def _totals(cells: list[_Cell], at_a_time: int, share: int, on_gpu: bool) -> Iterator[str]:
    """The study as a whole, one line per resource."""
    import psutil
    import torch

    from benchmark.training import provenance
    from benchmark.training.config import DEFAULT

    costs = [cell.cost for cell in cells for _ in range(cell.n_runs)]
    steps = sum(cell.run.training.budget * cell.n_runs for cell in cells)
    total, longest = sum(cost.seconds for cost in costs), max(cost.seconds for cost in costs)
    yield f"{len(costs)} runs, {steps:,} env steps, {total / 3600:,.1f} run hours:"
    hours: dict[str, float] = {}
    for cell in cells:
        part = cell.run.algorithm if cell.run.variant == DEFAULT else "variants"
        hours[part] = hours.get(part, 0) + cell.n_runs * cell.cost.seconds / 3600
    yield "        " + ", ".join(f"{part} {one:,.1f} h" for part, one in hours.items())
    machine = provenance.hardware(torch.device("cuda" if on_gpu else "cpu"))
    gpu = f"{machine['device']}, " if on_gpu else ""
    dates = sorted({cell.measured.when[:10] for cell in cells})
    yield (
        f"time    about {duration(max(total / at_a_time, longest))} with {at_a_time} runs at a"
        f" time, the longest run {duration(longest)}; measured on {gpu}{machine['cpu']},"
        f" {machine['cores']} cores, {dates[0]}{f' to {dates[-1]}' if dates[1:] else ''}"
    )
    if busy := sum(cell.measured.busy for cell in cells):
        yield f"        * {busy} of it measured while the machine was busy; again with --fresh"
    runs = "1 run" if share == 1 else f"{share} runs"
    if on_gpu:
        gpus = -(-at_a_time // share)
        yield f"GPU     {total / 3600 / share:,.1f} GPU hours on {gpus} GPUs with {runs} on each"

    def largest(name: str, count: int) -> float:
        return sum(sorted((getattr(cost, name) for cost in costs), reverse=True)[:count])

    memory, installed = largest("memory", share), psutil.virtual_memory().total
    on_card = f" and {size(largest('device_memory', share))} of the GPU's" if on_gpu else ""
    short = "" if memory < installed else "; let fewer run at a time, or take more memory"
    yield (
        f"memory  up to {size(largest('memory', 1))} for a run, {size(memory)}{on_card} with"
        f" {runs}; here {size(installed)}{short}"
    )
    yield (
        f"disk    {size(sum(cost.results for cost in costs))} of results, and up to"
        f" {size(largest('checkpoints', at_a_time))} of checkpoints while {at_a_time} runs are"
        " under way"
    )
    of_cuda = " CUDA itself takes more of the GPU for each run." if on_gpu else ""
    yield _ASSUMPTIONS + of_cuda
