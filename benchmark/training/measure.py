"""What the parts of a run take on this machine, measured for a few seconds with one thread.

Battles, updates of every kind, evaluation and memory, with the classes that training uses.
"""

import io
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.envs import make, make_evaluation
from benchmark.envs.spec import EnvSpec
from benchmark.training import provenance
from benchmark.training.config import RunConfig
from benchmark.training.device import device_asked_for, keep_freed_memory
from benchmark.training.drawing import AHEAD
from benchmark.training.replay import Episodes
from benchmark.training.rollout import evaluate, explore
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import learn, make_learner, make_replay

#: Updates before the next one, so that what is due every so many updates is due in it.
_UPDATES = 10**6 - 1


@dataclass(frozen=True)
class Measured:
    """What the parts of a run take, in seconds and bytes.

    Battles are of random play; where a number is "at most" all last to their limit. Seconds are of
    the CPU, which other processes hardly change, but of the clock with a GPU or the game.
    """

    env_step: float  #: of collecting, per env step
    update: float  #: per TD update
    due: float  #: on top, per update in which what is done now and then is due
    pretraining: dict[str, float]  #: per update before the first TD update, by its hyper-parameter
    evaluation_step: float  #: of evaluating, per env step
    length: float  #: env steps per battle
    memory: float  #: main memory without the replay buffer, at most
    device_memory: float  #: on the GPU, at most; 0 without one
    replayed_step: float  #: of the replay buffer, per env step
    policy: float  #: ``policy.pt``
    state: float  #: a checkpoint without the replay buffer
    took: float  #: by the clock, to measure all this
    busy: bool  #: whether the machine had more to do than it has cores
    when: str


def measure(run: RunConfig, seconds: float) -> Measured:
    """Plays, learns and evaluates for a few seconds.

    Args:
        run: what is to be trained.
        seconds: about how long to measure; start-up, the first batch, and one or two updates of
            every kind come on top.
    """
    begin = time.monotonic()
    keep_freed_memory()
    rules, streams = run.training, RandomStreams(run.seed)
    env = make(run.map, rules.n_envs, run.backend, run.env)
    evaluation_env = make_evaluation(env, run.map, rules.evaluation_episodes, run.backend, run.env)
    run = without_pretraining(run, but=1)
    peaks = peak_memory(run, env.spec, seconds)
    learner = make_learner(run, streams, device_asked_for(), env.spec)
    replay = make_replay(env.spec, rules)
    alone = learner.device.type == "cpu" and run.backend == "simulator"
    clock = time.process_time if alone else time.perf_counter
    lengths: list[int] = []

    def collect() -> int:
        seeds, exploration = streams.seeds("battles", rules.n_envs), streams["exploration"]
        episodes, stats = explore(env, learner, rules, seeds, lambda _: 1.0, exploration)
        replay.add(episodes)
        lengths.extend(stats.length)
        learner.on_collect(episodes, sum(lengths))
        return int(stats.length.sum())

    def update(updates: int = 1) -> int:
        learn(learner, replay, rules, streams, updates)
        learner.read_metrics()  # waits for the device
        return updates

    def updates_of_a_round() -> int:
        # On CUDA, where the batches of a round are drawn ahead; one is long enough on the CPU.
        return update(1 if alone else int(rules.n_envs * rules.updates_per_episode))

    def evaluation() -> int:
        seeds = streams.seeds("evaluation", rules.evaluation_episodes)
        return int(evaluate(evaluation_env, learner, rules, seeds).length.sum())

    while len(replay) < rules.batch_size:  # the first round also compiles the simulator
        collect()
    per_step = _per_unit(collect, clock, seconds / 4)
    before = {name: _per_unit(update, clock, 0, repeats=1) for name in pretraining(run)}
    update()
    per_update = _per_unit(updates_of_a_round, clock, seconds / 2, repeats=2)
    learner.updates = _UPDATES
    with_due = _per_unit(update, clock, 0, repeats=1)
    per_evaluated = _per_unit(evaluation, clock, 0, repeats=2)
    env.close()
    evaluation_env.close()
    memory, device_memory = np.maximum(peaks, _peaks(learner.device) - [replay.nbytes, 0])
    return Measured(
        env_step=per_step,
        update=per_update,
        due=max(0.0, with_due - per_update),
        pretraining=before,
        evaluation_step=per_evaluated,
        length=float(np.mean(lengths)),
        memory=float(memory),
        device_memory=float(device_memory),
        replayed_step=replay.nbytes / sum(lengths[-len(replay) :]),
        policy=_saved_bytes(learner.policy_state()),
        state=_saved_bytes(learner.training_state()),
        took=round(time.monotonic() - begin, 1),
        busy=busy(),
        when=provenance.now(),
    )


def _per_unit(
    work: Callable[[], int], clock: Callable[[], float], seconds: float, repeats: int = 2
) -> float:
    """Seconds per unit of ``work``, which returns how many units it did.

    It is repeated for about ``seconds``, but at least so many times.
    """
    begin = clock()
    units = sum(work() for _ in range(repeats))
    while clock() - begin < seconds:
        units += work()
    return (clock() - begin) / units


def _saved_bytes(state: dict) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return file.tell()


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
    learner = make_learner(run, streams, device_asked_for(), spec)
    replay = make_replay(spec, run.training)
    battle = made_up(spec, 1, spec.episode_limit)
    replay.add(battle)
    replay.restore(replay.packed(0, 1) * (replay.capacity - 1))  # the same bytes, many times
    learner.on_collect(battle, spec.episode_limit)
    last = run.training.batch_size
    ahead = AHEAD if learner.device.type == "cuda" else 0  # batches that wait on the GPU meanwhile

    def update(size: int) -> None:
        learner.updates = _UPDATES
        rules = run.training.model_copy(update={"batch_size": size})
        learn(learner, replay, rules, streams, 1 + ahead)
        learner.read_metrics()  # waits for the device

    peaks: dict[int, np.ndarray] = {}
    size, begin = min(4, last), time.process_time()
    for _ in range(len(pretraining(run)) + 1):
        update(min(2, last))  # what stays, like the optimiser's averages, shall not count as growth
    while last not in peaks and (len(peaks) < 2 or time.process_time() - begin < seconds):
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


def made_up(spec: EnvSpec, episodes: int, steps: int) -> Episodes:
    """Battles full of noise, of ``steps`` steps each, in which every action is always available."""
    rng = np.random.default_rng(0)
    shape = (episodes, steps + 1, spec.n_agents)
    return Episodes(
        obs=rng.standard_normal((*shape, spec.obs_size), np.float32),
        state=rng.standard_normal((episodes, steps + 1, spec.state_size), np.float32),
        available=np.ones((*shape, spec.n_actions), np.bool_),
        actions=rng.integers(spec.n_actions, size=shape, dtype=np.uint8),
        reward=rng.random((episodes, steps), np.float32),
        terminated=np.zeros(episodes, np.bool_),
        length=np.full(episodes, steps, np.int32),
    )


def pretraining(run: RunConfig) -> dict[str, int]:
    """The hyper-parameters that say how many updates of a kind come first, in that order."""
    return {name: n for name, n in run.hyperparameters if name.endswith("_pretraining") and n}


def without_pretraining(run: RunConfig, but: int = 0) -> RunConfig:
    """The same run with only ``but`` updates of every kind before its first TD update."""
    changed = run.hyperparameters.model_copy(update=dict.fromkeys(pretraining(run), but))
    return run.model_copy(update={"hyperparameters": changed})


def busy(processes: int = 0) -> bool:
    """Whether the machine has too few free cores, for so many further processes."""
    return os.getloadavg()[0] + processes > (os.cpu_count() or 1) + 0.5
