"""``python -m benchmark plan``: what a study costs on this machine, measured."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmark.amounts import duration, size
from benchmark.commands.arguments import add_study
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.training.config import RunConfig
    from benchmark.training.plan import Cost

#: About how long all measurements together may take, in seconds; filling batches comes on top.
_PATIENCE = 60

_ASSUMPTIONS = (
    "Assumed: battles as long as at random play (better teams fight longer ones, which means fewer"
    " but longer updates and about the same total), evaluations as slow as with an untrained"
    " policy, one thread per run. Memory and checkpoints are upper bounds: updates and full replay"
    " buffers of battles that all last to the limit, compressed like random play."
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


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    for option in ("at_a_time", "share"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise BenchmarkError(f"--{option.replace('_', '-')} {value}: at least 1")
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from benchmark.training import plan, provenance
    from benchmark.training.study import checked_runs
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    study = found.require()
    maps = arguments.maps or study.maps
    if unknown := sorted(set(maps) - set(study.maps)):
        raise BenchmarkError(
            f"--maps {' '.join(unknown)}: not in the study, which has {', '.join(study.maps)}"
        )
    groups: dict[tuple, list[RunConfig]] = {}
    for run in (run for run in checked_runs(study, found.source) if run.map in maps):
        groups.setdefault((run.map, run.algorithm, run.variant), []).append(run)
    cores, on_gpu = provenance.cores(), torch.cuda.is_available()
    at_a_time = min(arguments.at_a_time or cores, sum(map(len, groups.values())))
    share = min(arguments.share or (1 if on_gpu else at_a_time), at_a_time)
    first = [runs[0] for runs in groups.values()]
    together = min(share, cores, len(first))
    seconds = min(3.0, max(1.0, _PATIENCE * together / len(first)))
    costs: dict[tuple, Cost] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(first))
        for run, cost in plan.measure_all(first, together, seconds):
            costs[run.map, run.algorithm, run.variant] = cost
            progress.update(task, advance=1, description=f"measured {run.algorithm} on {run.map}")
    console = Console(width=None if Console().is_terminal else 120)
    _print_table(console, study.name, groups, costs)
    for line in _totals(groups, costs, at_a_time, share, on_gpu):
        console.print(line, highlight=False)


def _print_table(console, name: str, groups: dict[tuple, list], costs: dict[tuple, "Cost"]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from benchmark.training.config import DEFAULT

    table = Table(title=f"study {name}", title_justify="left", box=SIMPLE)
    for heading in ("map", "method"):
        table.add_column(heading, overflow="fold")
    for heading in ("runs", "budget", "steps/s", "time each", "memory", "replay"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (map, algorithm, variant), runs in groups.items():
        budget, cost = runs[0].training.budget, costs[map, algorithm, variant]
        method = algorithm if variant == DEFAULT else f"{algorithm} {variant}"
        numbers = (str(len(runs)), f"{budget:,}", f"{budget / cost.seconds:,.0f}")
        sizes = (size(cost.memory), size(cost.replay))
        table.add_row(map, method, *numbers, duration(cost.seconds), *sizes)
    console.print(table)


def _totals(
    groups: dict[tuple, list["RunConfig"]],
    costs: dict[tuple, "Cost"],
    at_a_time: int,
    share: int,
    on_gpu: bool,
) -> Iterator[str]:
    """The study as a whole, one line per resource."""
    import psutil
    import torch

    from benchmark.training import provenance

    of_runs = [costs[key] for key, runs in groups.items() for _ in runs]
    steps = sum(run.training.budget for runs in groups.values() for run in runs)
    total = sum(cost.seconds for cost in of_runs)
    longest = max(cost.seconds for cost in of_runs)
    yield f"{len(of_runs)} runs, {steps:,} env steps, {total / 3600:,.1f} run hours"
    machine = provenance.hardware(torch.device("cuda" if on_gpu else "cpu"))
    gpu = f"{machine['device']}, " if on_gpu else ""
    yield (
        f"time    about {duration(max(total / at_a_time, longest))} with {at_a_time} runs at a"
        f" time, the longest run {duration(longest)}; measured on {gpu}{machine['cpu']},"
        f" {machine['cores']} cores"
    )
    gpus = -(-at_a_time // share)
    shared = "1 run" if share == 1 else f"{share} runs"
    here = f"with {shared} on each" + ("" if on_gpu else "; measured without a GPU")
    yield f"GPU     {total / 3600 / share:,.1f} GPU hours on {gpus} GPUs {here}"

    def largest(name: str, count: int) -> float:
        return sum(sorted((getattr(cost, name) for cost in of_runs), reverse=True)[:count])

    memory, installed = largest("memory", share), psutil.virtual_memory().total
    short = "" if memory < installed else "; let fewer run at a time, or take more memory"
    yield (
        f"memory  up to {size(largest('memory', 1))} for a run, {size(memory)} with {shared};"
        f" here {size(installed)}{short}"
    )
    if on_gpu:
        yield f"        up to {size(largest('device_memory', share))} on the GPU with {shared}"
    yield (
        f"disk    {size(sum(cost.results for cost in of_runs))} of results, and up to"
        f" {size(largest('checkpoints', at_a_time))} of checkpoints while {at_a_time} runs are"
        " under way"
    )
    yield _ASSUMPTIONS
