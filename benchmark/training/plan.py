"""``python -m benchmark plan``: what a study costs on this machine, from a short measurement.

For every map and method one process plays some rounds of battles, some updates and one
evaluation with the classes that training uses, on one thread as in the workflow. As many processes
measure side by side as runs would train, so that they get in each other's way as runs do.
"""

import argparse
import io
import math
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmark.envs import make, make_evaluation
from benchmark.errors import BenchmarkError
from benchmark.training import provenance
from benchmark.training.config import DEFAULT, RunConfig
from benchmark.training.evaluations import evaluation_rows, write_evaluations
from benchmark.training.full_battles import peak_memory
from benchmark.training.profiles import Profile, find_profile, jobs_of
from benchmark.training.protocol import evaluation_grid
from benchmark.training.rollout import EpisodeStats, evaluate, explore
from benchmark.training.seeding import RandomStreams
from benchmark.training.status import duration
from benchmark.training.study import find_study
from benchmark.training.train import keep_freed_memory, learn, make_learner, make_replay

#: About how long all measurements together may take, in seconds; filling batches comes on top.
_PATIENCE = 60

_ASSUMPTIONS = (
    "Assumed: battles as long as at random play (better teams fight longer ones, which means fewer"
    " but longer updates and about the same total), evaluations as slow as with an untrained"
    " policy, one thread per run. Memory and checkpoints are upper bounds: updates and full replay"
    " buffers of battles that all last to the limit, compressed like random play."
)


@dataclass(frozen=True)
class Cost:
    """What one run costs, projected to its whole budget.

    Times are of battles as long as at random play, what is "at most" is of battles that all last to
    their limit.
    """

    seconds: float
    memory: float  #: bytes of main memory, at most
    device_memory: float  #: bytes on the GPU, at most; 0 without one
    results: float  #: bytes on disk that stay
    checkpoints: float  #: bytes on disk while it is under way, at most
    replay: float  #: bytes of main memory for the full replay buffer, at most; in ``memory``


def measure(run: RunConfig, seconds: float) -> Cost:
    """Plays and learns for a few seconds and projects the whole run.

    Args:
        run: what is to be trained.
        seconds: about how long to measure; start-up and filling the first batch come on top.
    """
    keep_freed_memory()
    rules, streams = run.training, RandomStreams(run.seed)
    env = make(run.map, rules.n_envs, run.backend, run.env)
    evaluation_env = make_evaluation(env, run.map, rules.evaluation_episodes, run.backend, run.env)
    full_battles = peak_memory(run, env.spec, seconds)
    learner = make_learner(run, streams, "auto", env.spec)
    learner.skip_pretraining()
    replay = make_replay(env.spec, rules)
    lengths: list[int] = []

    def collect() -> int:
        seeds, exploration = streams.seeds("battles", rules.n_envs), streams["exploration"]
        episodes, outcome = explore(env, learner, rules, seeds, lambda _: 1.0, exploration)
        replay.add(episodes)
        lengths.extend(outcome.length)
        learner.on_collect(episodes, sum(lengths))
        return int(outcome.length.sum())

    def update() -> int:
        learn(learner, replay, rules, streams)
        learner.read_metrics()  # waits for the device
        return 1

    while len(replay) < rules.batch_size:  # the first round also compiles the simulator
        collect()
    per_step = _seconds_per_unit(collect, seconds / 4)
    update()
    per_update = _seconds_per_unit(update, seconds / 2)
    begin = time.perf_counter()
    seeds = streams.seeds("evaluation", rules.evaluation_episodes)
    outcome = evaluate(evaluation_env, learner, rules, seeds)
    per_evaluation = (time.perf_counter() - begin) / rules.evaluation_episodes
    env.close()
    evaluation_env.close()

    evaluations = len(evaluation_grid(rules)) * rules.evaluation_episodes + rules.absolute_episodes
    battles = rules.budget / float(np.mean(lengths))
    updates = battles * rules.updates_per_episode
    # No more steps than the budget has, however long the battles.
    kept_steps = min(rules.replay_episodes * env.spec.episode_limit, rules.budget)
    replay_bytes = kept_steps * replay.nbytes / sum(lengths[-len(replay) :])
    measured_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - replay.nbytes
    policy = _saved_bytes(learner.policy_state())
    on_gpu = learner.device.type == "cuda"
    measured_on_gpu = torch.cuda.max_memory_reserved(learner.device) if on_gpu else 0.0
    return Cost(
        seconds=rules.budget * per_step + updates * per_update + evaluations * per_evaluation,
        memory=max(measured_bytes, full_battles[0]) + replay_bytes,
        device_memory=max(measured_on_gpu, full_battles[1]),
        results=policy + _table_bytes(run, outcome, evaluations),
        checkpoints=replay_bytes + 2 * (policy + _saved_bytes(learner.training_state())),
        replay=replay_bytes,
    )


def _seconds_per_unit(work: Callable[[], int], seconds: float) -> float:
    """Repeats ``work`` for about ``seconds``, at least twice; it returns how many units it did."""
    begin = time.perf_counter()
    units = work() + work()
    while time.perf_counter() - begin < seconds:
        units += work()
    return (time.perf_counter() - begin) / units


def _saved_bytes(state: dict) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return file.tell()


def _table_bytes(run: RunConfig, outcome: EpisodeStats, rows: int) -> int:
    """Size of a table of evaluations with that many rows like the measured ones."""
    rng = np.random.default_rng(0)
    picked = rng.integers(len(outcome.length), size=rows)
    columns = {
        "battle_won": outcome.battle_won[picked],
        "return": outcome.returns[picked] + rng.random(rows),  # real ones hardly ever repeat
        "length": outcome.length[picked],
        "dead_allies": outcome.dead_allies[picked],
        "dead_enemies": outcome.dead_enemies[picked],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "evaluations.parquet")
        write_evaluations(evaluation_rows(run.identity, 0, "training", columns), path)
        return path.stat().st_size


def measure_all(runs: list[RunConfig], side_by_side: int) -> Iterator[tuple[RunConfig, Cost]]:
    """Measures one run after the other, each in a process of its own.

    Args:
        runs: what to measure.
        side_by_side: processes at a time.

    Yields:
        The runs with their costs, as they are done.
    """
    seconds = min(3.0, max(1.0, _PATIENCE * side_by_side / len(runs)))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes that are started below
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(side_by_side, mp_context=context, max_tasks_per_child=1) as pool:
        pending = {pool.submit(measure, run, seconds): run for run in runs}
        try:
            for done in as_completed(pending):
                yield pending[done], done.result()
        finally:
            for each in pending:
                each.cancel()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("study", help="study file, or the name of one in config/")
    parser.add_argument("--maps", nargs="+", metavar="MAP", help="only these of the study's maps")
    parser.add_argument("--cores", type=int, help="runs at a time (default: this machine's cores)")
    parser.add_argument(
        "--profile", help="a Snakemake profile: a folder, or the name of one in profiles"
    )
    parser.add_argument(
        "--runs-per-gpu",
        type=int,
        metavar="N",
        help="with a profile that asks Slurm for shards: how many runs one GPU takes",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    for option in ("cores", "runs_per_gpu"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise BenchmarkError(f"--{option.replace('_', '-')} {value}: at least 1")
    if arguments.profile and arguments.cores:
        raise BenchmarkError("the profile says how many runs there are at a time; no --cores then")
    profile = None
    at_a_time = side_by_side = arguments.cores or _cores()
    if arguments.profile:
        profile = find_profile(arguments.profile, _cores(), arguments.runs_per_gpu)
        at_a_time, side_by_side = profile.at_a_time, profile.sharing
    study = find_study(arguments.study)
    maps = arguments.maps or study.maps
    if unknown := sorted(set(maps) - set(study.maps)):
        raise BenchmarkError(
            f"--maps {' '.join(unknown)}: not in the study, which has {', '.join(study.maps)}"
        )
    groups: dict[tuple, list[RunConfig]] = {}
    for run in (each for each in study.runs() if each.map in maps):
        groups.setdefault((run.map, run.algorithm, run.variant), []).append(run)
    first = [runs[0] for runs in groups.values()]
    costs: dict[tuple, Cost] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(first))
        for run, cost in measure_all(first, min(side_by_side, _cores(), len(first))):
            costs[run.map, run.algorithm, run.variant] = cost
            progress.update(task, advance=1, description=f"measured {run.algorithm} on {run.map}")
    console = Console(width=None if Console().is_terminal else 120)
    console.print(_table(study.name, groups, costs))
    for line in _totals(groups, costs, at_a_time, side_by_side):
        console.print(line, highlight=False)
    if profile is not None:
        each = [costs[key] for key, runs in groups.items() for _ in runs]
        for line in _on_profile(profile, each):
            console.print(line, highlight=False)


def _table(name: str, groups: dict[tuple, list[RunConfig]], costs: dict[tuple, Cost]) -> Table:
    table = Table(title=f"study {name}", title_justify="left", box=SIMPLE)
    headings = ("map", "method", "runs", "budget", "steps/s", "time each", "memory")
    for heading in (*headings, "replay"):
        right = heading not in ("map", "method")
        justify = "right" if right else "left"
        table.add_column(heading, justify=justify, no_wrap=right, overflow="fold")
    for key, runs in groups.items():
        map, algorithm, variant = key
        budget, cost = runs[0].training.budget, costs[key]
        table.add_row(
            map,
            algorithm if variant == DEFAULT else f"{algorithm} {variant}",
            str(len(runs)),
            f"{budget:,}",
            f"{budget / cost.seconds:,.0f}",
            duration(cost.seconds),
            size(cost.memory),
            size(cost.replay),
        )
    return table


def _totals(
    groups: dict[tuple, list[RunConfig]],
    costs: dict[tuple, Cost],
    at_a_time: int,
    side_by_side: int,
) -> Iterator[str]:
    """The study as a whole, one line per resource.

    Args:
        groups: its runs.
        costs: of one run of each group.
        at_a_time: runs under way, everywhere together.
        side_by_side: of these, runs that share a machine or a GPU.
    """
    each = [costs[key] for key, runs in groups.items() for _ in runs]
    steps = sum(run.training.budget for runs in groups.values() for run in runs)
    hours = sum(cost.seconds for cost in each) / 3600
    longest = max(cost.seconds for cost in each)
    at_a_time = min(at_a_time, len(each))
    wall = max(hours * 3600 / at_a_time, longest)
    yield f"{len(each)} runs, {steps:,} env steps, {hours:,.1f} run hours"
    yield (
        f"time    about {duration(wall)} with {at_a_time} runs at a time, the longest run"
        f" {duration(longest)}; measured on {_machine()}"
    )
    together = min(side_by_side, at_a_time)
    runs = "1 run" if together == 1 else f"{together} runs"
    memory = sum(sorted((cost.memory for cost in each), reverse=True)[:together])
    here = psutil.virtual_memory().total
    short = "" if memory < here else "; let fewer run at a time, or take more memory"
    yield f"memory  up to {size(memory)} with {runs}, here {size(here)}{short}"
    if any(cost.device_memory for cost in each):
        gpu = sorted((cost.device_memory for cost in each), reverse=True)[:together]
        yield f"GPU     up to {size(sum(gpu))} with {runs}"
    unfinished = sorted((cost.checkpoints for cost in each), reverse=True)[:at_a_time]
    yield (
        f"disk    {size(sum(cost.results for cost in each))} of results, and up to"
        f" {size(sum(unfinished))} of checkpoints while {at_a_time} runs are under way"
    )
    yield _ASSUMPTIONS


def _on_profile(profile: Profile, costs: list[Cost]) -> Iterator[str]:
    """What a profile makes of the study's runs, and where it does not suffice."""
    hours = sum(cost.seconds for cost in costs) / 3600
    longest = max(cost.seconds for cost in costs)
    most = max(cost.memory for cost in costs)
    at_a_time = min(profile.at_a_time, len(costs))
    yield f"profile {profile.name}: {at_a_time} runs at a time"
    if profile.gpus_per_run:
        sharing = round(1 / profile.gpus_per_run) if profile.gpus_per_run < 1 else 1
        yield (
            f"  GPUs    {hours * profile.gpus_per_run:,.1f} GPU hours on up to"
            f" {math.ceil(at_a_time * profile.gpus_per_run)} GPUs, {sharing} run(s) on each"
        )
        if not any(cost.device_memory for cost in costs):
            yield "          measured without a GPU; plan again on a node that has one"
        elif sharing > _cores():
            yield f"          measured with {_cores()} runs on the GPU, as many as there are cores"
    if profile.memory is not None:
        note = "" if most <= profile.memory else ": too little, raise mem_mb"
        yield f"  memory  {size(profile.memory)} for a run, the largest takes {size(most)}{note}"
    if profile.seconds is not None:
        jobs = jobs_of(profile, longest)
        note = "" if jobs <= profile.attempts else ": too few, raise retries or runtime"
        yield (
            f"  limit   {duration(profile.seconds)} for a job; the longest run takes {jobs} of"
            f" {profile.attempts} attempts{note}"
        )


def _machine() -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about = provenance.hardware(device)
    gpu = "" if about["device"] == "cpu" else f"{about['device']}, "
    return f"{gpu}{about['cpu']}, {about['cores']} cores"


def _cores() -> int:
    """Cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def size(count: float) -> str:
    """Bytes for people: 40 kB, 12 MB, 3.4 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.{1 if unit == 'GB' else 0}f} {unit}"
    return f"{count / 1e3:.0f} kB"
