"""Times one learner update: ``python speed/learner.py [--map M] [--algorithm A]``.

The batch has full-length episodes (32 x 150 steps), so there is no padding. After the time comes
how many times longer that is than its matrix products alone would take at the rate that this
machine reaches with large matrices (the compiled recurrences on the CPU included; what CUDA's own
recurrences multiply is not counted). Methods that do more than update get a second line: the
contrastive step, due every hundredth update (ACORM, R3DM), what they do with a collected episode
(EMC's memory), and at the end of a round when something is due (GoMARL's regrouping). EMC's memory
is full and holds the batch.
"""

import argparse
import resource
import time

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from algorithms import ALGORITHMS
from algorithms.learner import Learner
from benchmark.commands.train import assignment
from benchmark.envs import spec_of
from benchmark.training import provenance
from benchmark.training.config import resolve_run
from benchmark.training.device import keep_freed_memory
from benchmark.training.measure import made_up, without_pretraining
from benchmark.training.replay import ReplayBuffer


def fastest(function, repeats: int = 7) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        settings = settings or {}
        result = function(*arguments, **settings)
        if count := flop_registry.get(function.overloadpacket):
            sizes = {name: value for name, value in settings.items() if name != "out"}
            self.operations += count(*arguments, **sizes, out_val=result)
        return result


def best_rate(device: torch.device) -> float:
    """Floating-point operations per second in products of large matrices."""
    left, right = torch.randn(4096, 1024, device=device), torch.randn(1024, 1024, device=device)

    def multiply() -> None:
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()

    return 2 * 4096 * 1024 * 1024 / fastest(multiply)


def other_work(learner, replay: ReplayBuffer, steps: int) -> str:
    """What else a method does, in words; empty for nothing."""
    said = []
    if hasattr(learner, "contrast"):
        batch = replay.sample(len(replay), np.random.default_rng(0)).to(learner.device)
        seconds = fastest(lambda: learner.contrast(batch), repeats=3)
        said.append(f"{seconds * 1e3:.1f} ms per contrastive step")
    if type(learner).on_collect is not Learner.on_collect:
        episodes = made_up(learner.spec, 8, steps)
        seconds = fastest(lambda: learner.on_collect(episodes, 0)) / 8
        said.append(f"{seconds * 1e3:.2f} ms per collected episode")
    if type(learner).after_round is not Learner.after_round:
        replay.add(made_up(learner.spec, 256, steps))
        begin = time.perf_counter()
        learner.env_steps = 10**6
        learner.after_round(replay)
        said.append(f"{time.perf_counter() - begin:.2f} s for what is due now and then")
    return ", ".join(said)


def fill(memory, state_size: int) -> None:
    """Writes as many states as a memory holds."""
    rng = torch.Generator().manual_seed(0)
    while memory.size < memory.capacity:
        states = torch.randn(100_000, state_size, generator=rng)
        memory.write(states.to(memory.keys.device), states[:, 0].to(memory.keys.device))
    memory.refresh()


def main() -> None:
    """Prints one line per method, or two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", default="3s5z_vs_3s6z")
    parser.add_argument("--algorithm", nargs="*", default=list(ALGORITHMS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    keep_freed_memory()
    machine = provenance.hardware(torch.device(arguments.device))
    print(
        f"{machine['device']}, {machine['cpu']}, {machine['threads']} threads, {provenance.now()}"
    )
    spec, rate = spec_of(arguments.map), best_rate(torch.device(arguments.device))
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s")
    for name in arguments.algorithm:
        changes = dict(map(assignment, arguments.set))
        run = resolve_run(map=arguments.map, algorithm=name, seed=0, overrides=[changes])
        hyperparameters = without_pretraining(run).hyperparameters
        learner = ALGORITHMS[name](spec, hyperparameters, run.training, 0, arguments.device)
        replay = ReplayBuffer(spec, max(256, arguments.batch))
        replay.add(made_up(spec, arguments.batch, arguments.steps))
        rng = np.random.default_rng(0)
        if getattr(learner, "memory", None) is not None:
            fill(learner.memory, spec.state_size)
            learner.on_collect(replay.episodes(0, arguments.batch), 0)
            learner.memory.refresh()

        def update(learner=learner, replay=replay, rng=rng) -> None:
            batches = [replay.sample(arguments.batch, rng) for _ in range(learner.BATCHES)]
            learner.update(*batches)
            if learner.device.type == "cuda":
                torch.cuda.synchronize()

        seconds = fastest(update)
        with Products() as products:
            update()
        limit = products.operations / rate
        print(
            f"{name} {arguments.map} batch {arguments.batch} T {arguments.steps}:"
            f" {seconds * 1e3:.1f} ms per update, {seconds / limit:.1f} times its"
            f" {products.operations / 1e9:.0f} GFLOP of matrix products; peak memory of the"
            f" process so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB",
            flush=True,
        )
        if other := other_work(learner, replay, arguments.steps):
            print(f"{name} also: {other}")


if __name__ == "__main__":
    main()
