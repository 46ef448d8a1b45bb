"""How much memory an update takes when all battles last to the limit, as learned play nears it.

``plan`` plays at random, and such battles are short. So a learner is updated here on made-up
battles of full length. Memory grows in proportion to the batch: batches grow until they are as
large as the run's or the time is up, and the last two tell the rest.
"""

import resource
import time

import numpy as np
import torch

from benchmark.envs.spec import EnvSpec
from benchmark.training.config import RunConfig
from benchmark.training.replay import Episodes
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import learn, make_learner, make_replay

#: Updates before the next one, so that what is due every so many updates is due in it.
_UPDATES = 10**6 - 1


def peak_memory(run: RunConfig, spec: EnvSpec, seconds: float) -> tuple[float, float]:
    """The peaks of main memory (this process as a whole) and of the GPU's, in bytes.

    Call it before anything large was in memory, which an update would use again unnoticed.

    Args:
        run: what is to be trained.
        spec: sizes of its map.
        seconds: no further batch is begun after that time, but two are always measured.
    """
    streams = RandomStreams(run.seed)
    learner, replay = make_learner(run, streams, "auto", spec), make_replay(spec, run.training)
    learner.skip_pretraining()
    battle = _made_up(spec)
    replay.add(battle)
    replay.restore(replay.packed(0, 1) * (replay.capacity - 1))  # the same bytes, many times
    learner.on_collect(battle, spec.episode_limit)
    last = run.training.batch_size

    def update(size: int) -> None:
        learner.updates = _UPDATES
        learn(learner, replay, run.training.model_copy(update={"batch_size": size}), streams)
        learner.read_metrics()  # waits for the device

    size, peaks, begin = min(2, last), {}, time.perf_counter()
    update(size)  # what stays, like the optimiser's averages, shall not count as growth
    while last not in peaks and (len(peaks) < 2 or time.perf_counter() - begin < seconds):
        update(size)
        peaks[size] = _peaks(learner.device)
        size = min(2 * size, last)
    sizes = list(peaks)[-2:]
    slope = (peaks[sizes[-1]] - peaks[sizes[0]]) / max(1, sizes[-1] - sizes[0])
    at_last = peaks[sizes[-1]] + slope * (last - sizes[-1])
    learner.rehearse_round(replay)
    main, device = np.maximum(at_last, _peaks(learner.device))
    return main, device


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
        actions=rng.integers(spec.n_actions, size=(1, steps, agents), dtype=np.uint8),
        reward=rng.random((1, steps), np.float32),
        terminated=np.zeros(1, np.bool_),
        length=np.array([steps], np.int32),
    )
