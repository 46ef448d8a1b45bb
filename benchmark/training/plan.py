"""What a run costs on this machine, from a short measurement with the classes that training uses.

A process plays some rounds of battles, some updates and one evaluation, on one thread as in the
workflow; as many processes at a time as runs will share the machine or the GPU.
"""

import io
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.envs import make, make_evaluation
from benchmark.envs.spec import EnvSpec
from benchmark.training.config import RunConfig
from benchmark.training.device import keep_freed_memory
from benchmark.training.protocol import evaluation_grid
from benchmark.training.replay import Episodes
from benchmark.training.rollout import evaluate, explore
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import learn, make_learner, make_replay

_ROW_BYTES = 13  #: of a row of ``evaluations.parquet``, compressed

#: Updates before the next one, so that what is due every so many updates is due in it.
_UPDATES = 10**6 - 1


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
    collecting: float = 0.0  #: of ``seconds``
    learning: float = 0.0  #: of ``seconds``
    evaluating: float = 0.0  #: of ``seconds``
    updates: float = 0.0  #: that are made


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
    run = without_pretraining(run)
    peaks = peak_memory(run, env.spec, seconds)
    learner = make_learner(run, streams, "auto", env.spec)
    on_gpu = learner.device.type == "cuda"
    replay = make_replay(env.spec, rules)
    lengths: list[int] = []

    def collect() -> int:
        seeds, exploration = streams.seeds("battles", rules.n_envs), streams["exploration"]
        episodes, stats = explore(env, learner, rules, seeds, lambda _: 1.0, exploration)
        replay.add(episodes)
        lengths.extend(stats.length)
        learner.on_collect(episodes, sum(lengths))
        return int(stats.length.sum())

    def update() -> int:
        # On CUDA a round's, whose batches are drawn ahead; one is long enough on the CPU.
        updates = int(rules.n_envs * rules.updates_per_episode) if on_gpu else 1
        learn(learner, replay, rules, streams, updates)
        learner.read_metrics()  # waits for the device
        return updates

    def evaluation() -> int:
        seeds = streams.seeds("evaluation", rules.evaluation_episodes)
        return len(evaluate(evaluation_env, learner, rules, seeds).length)

    while len(replay) < rules.batch_size:  # the first round also compiles the simulator
        collect()
    per_step = _seconds_per_unit(collect, seconds / 4)
    update()
    per_update = _seconds_per_unit(update, seconds / 2)
    per_episode = _seconds_per_unit(evaluation, 0)
    env.close()
    evaluation_env.close()

    evaluated = len(evaluation_grid(rules)) * rules.evaluation_episodes + rules.absolute_episodes
    updates = rules.budget / float(np.mean(lengths)) * rules.updates_per_episode
    # No more steps than the budget has, however long the battles.
    kept_steps = min(rules.replay_episodes * env.spec.episode_limit, rules.budget)
    replay_bytes = kept_steps * replay.nbytes / sum(lengths[-len(replay) :])
    main, device = np.maximum(peaks, _peaks(learner.device) - [replay.nbytes, 0])
    policy = _saved_bytes(learner.policy_state())
    times = (rules.budget * per_step, updates * per_update, evaluated * per_episode)
    return Cost(
        seconds=sum(times),
        memory=main + replay_bytes,
        device_memory=device,
        results=policy + evaluated * _ROW_BYTES,
        checkpoints=replay_bytes + 2 * (policy + _saved_bytes(learner.training_state())),
        replay=replay_bytes,
        collecting=times[0],
        learning=times[1],
        evaluating=times[2],
        updates=updates,
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


def without_pretraining(run: RunConfig) -> RunConfig:
    """The same run without updates before its first TD step, to measure those that follow."""
    fields = type(run.hyperparameters).model_fields
    none = {name: 0 for name in fields if name.endswith("_pretraining")}
    changed = run.hyperparameters.model_copy(update=none)
    return run.model_copy(update={"hyperparameters": changed})


def peak_memory(run: RunConfig, spec: EnvSpec, seconds: float) -> np.ndarray:
    """The peaks of main memory (of this process) and of the GPU's during an update, bytes [2].

    All battles last to the limit, as learned play nears it; the battles of ``measure`` are of
    random play, and short. Memory grows in proportion to the batch, so batches grow until they are
    as large as the run's or the time is up, and the last two give the slope. Call it before
    anything large was in memory, which an update would use again unnoticed.

    Args:
        run: what is to be trained.
        spec: sizes of its map.
        seconds: no further batch is begun after that time, but two are always measured.
    """
    streams = RandomStreams(run.seed)
    learner, replay = make_learner(run, streams, "auto", spec), make_replay(spec, run.training)
    battle = _made_up(spec)
    replay.add(battle)
    replay.restore(replay.packed(0, 1) * (replay.capacity - 1))  # the same bytes, many times
    learner.on_collect(battle, spec.episode_limit)
    last = run.training.batch_size

    def update(size: int) -> None:
        learner.updates = _UPDATES
        learn(learner, replay, run.training.model_copy(update={"batch_size": size}), streams)
        learner.read_metrics()  # waits for the device

    peaks: dict[int, np.ndarray] = {}
    size, begin = min(2, last), time.perf_counter()
    update(size)  # what stays, like the optimiser's averages, shall not count as growth
    while last not in peaks and (len(peaks) < 2 or time.perf_counter() - begin < seconds):
        update(size)
        peaks[size] = _peaks(learner.device)
        size = min(2 * size, last)
    sizes = list(peaks)[-2:]
    slope = (peaks[sizes[-1]] - peaks[sizes[0]]) / max(1, sizes[-1] - sizes[0])
    at_last = peaks[sizes[-1]] + slope * (last - sizes[-1])
    learner.env_steps = run.training.budget  # what is due now and then is due after this round
    learner.after_round(replay)
    return np.maximum(at_last, _peaks(learner.device))


def _peaks(device: torch.device) -> np.ndarray:
    """The most bytes so far of this process, and on the GPU."""
    main = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    on_gpu = device.type == "cuda"
    return np.array([main, torch.cuda.max_memory_reserved(device) if on_gpu else 0], np.float64)


def _made_up(spec: EnvSpec) -> Episodes:
    """One battle of full length in which every action is always available."""
    rng = np.random.default_rng(0)
    steps, agents = spec.episode_limit, spec.n_agents
    return Episodes(
        obs=rng.standard_normal((1, steps + 1, agents, spec.obs_size), np.float32),
        state=rng.standard_normal((1, steps + 1, spec.state_size), np.float32),
        available=np.ones((1, steps + 1, agents, spec.n_actions), np.bool_),
        actions=rng.integers(spec.n_actions, size=(1, steps + 1, agents), dtype=np.uint8),
        reward=rng.random((1, steps), np.float32),
        terminated=np.zeros(1, np.bool_),
        length=np.array([steps], np.int32),
    )


def measure_all(
    runs: list[RunConfig], at_a_time: int, seconds: float
) -> Iterator[tuple[RunConfig, Cost]]:
    """Measures each run in a process of its own, and yields it with its cost when that is done.

    Args:
        runs: what to measure.
        at_a_time: processes.
        seconds: about how long to measure each.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes that are started below
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(at_a_time, mp_context=context, max_tasks_per_child=1) as pool:
        pending = {pool.submit(measure, run, seconds): run for run in runs}
        try:
            for done in as_completed(pending):
                yield pending[done], done.result()
        finally:
            for future in pending:
                future.cancel()
