"""Times one learner update: ``python bench/learner.py [--map M] [--algorithm A]``.

The batch has full-length episodes (32 x 150 steps), so nothing is saved on padding. Beside the time
stands what the matrix products of the agent network alone need on this machine.
"""

import argparse
import time

import numpy as np
import torch

from algorithms import ALGORITHMS
from benchmark import record
from benchmark.config import resolve_run
from benchmark.envs import spec_of
from benchmark.replay import Episodes, ReplayBuffer
from benchmark.train import keep_freed_memory


def random_episodes(spec, count: int, steps: int) -> Episodes:
    """Episodes of ``steps`` steps full of noise."""
    rng = np.random.default_rng(0)
    shape = (count, steps + 1, spec.n_agents)
    available = rng.random((*shape, spec.n_actions)) < 0.5
    available[..., 1] = True
    return Episodes(
        obs=rng.standard_normal((*shape, spec.obs_size), np.float32),
        state=rng.standard_normal((count, steps + 1, spec.state_size), np.float32),
        available=available,
        actions=available[:, :-1].argmax(-1).astype(np.uint8),
        reward=rng.random((count, steps), np.float32),
        terminated=np.ones(count, np.bool_),
        length=np.full(count, steps, np.int32),
    )


def fastest(function, repeats: int = 7) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def products(spec, config, rows: int) -> float:
    """Seconds of the agent network's matrix products: online both ways, target forwards."""
    hidden = config.hidden_size
    width = spec.obs_size + spec.n_actions + spec.n_agents
    sizes = [(width, hidden), (hidden, 3 * hidden), (hidden, 3 * hidden), (hidden, spec.n_actions)]
    pairs = [(torch.randn(rows, i), torch.randn(i, o)) for i, o in sizes]
    return 4 * sum(fastest(lambda a=a, b=b: a @ b) for a, b in pairs)


def main() -> None:
    """Prints one line per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", default="3s5z_vs_3s6z")
    parser.add_argument("--algorithm", nargs="*", default=list(ALGORITHMS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    keep_freed_memory()
    machine = record.hardware(torch.device(arguments.device))
    print(f"{machine['device']}, {machine['cpu']}, {machine['threads']} threads, {record.now()}")
    spec = spec_of(arguments.map)
    for name in arguments.algorithm:
        run = resolve_run(map=arguments.map, algorithm=name, seed=0)
        learner = ALGORITHMS[name](spec, run.hyperparameters, run.training, 0, arguments.device)
        replay = ReplayBuffer(spec, arguments.batch)
        replay.add(random_episodes(spec, arguments.batch, arguments.steps))
        rng = np.random.default_rng(0)

        def update(learner=learner, replay=replay, rng=rng) -> None:
            learner.update(replay.sample(arguments.batch, rng))
            if learner.device.type == "cuda":
                torch.cuda.synchronize()

        seconds = fastest(update)
        rows = arguments.batch * (arguments.steps + 1) * spec.n_agents
        limit = products(spec, run.hyperparameters, rows)
        print(
            f"{name} {arguments.map} batch {arguments.batch} T {arguments.steps}:"
            f" {seconds * 1e3:.1f} ms per update; agent's matrix products alone"
            f" {limit * 1e3:.1f} ms on the CPU"
        )


if __name__ == "__main__":
    main()
