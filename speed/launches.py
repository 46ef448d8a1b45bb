"""Counts what one update launches on a GPU, without a GPU: ``python speed/launches.py``.

Torch's meta device takes an update through all operators, with shapes but no numbers. Whatever
gets there counts as one launch: an operator of torch, also over a list of tensors ("foreach"), a
copy to the device, a recurrence of cuDNN and a launch of our own kernels, the last two once each
way. Views and allocations do not count. So a launch is what Python hands to the device in one
piece, at 5 to 10 us each; some of them, cuDNN's recurrences foremost, start several kernels there.

The batch has full-length episodes (32 x 150 steps, on short maps the map's limit); pre-training
and what is due now and then (the contrastive step, regrouping) are left out.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from algorithms import ALGORITHMS
from benchmark.envs import MAPS, make, spec_of
from benchmark.envs.spec import EnvSpec
from benchmark.training.config import resolve_run
from benchmark.training.measure import without_pretraining
from benchmark.training.replay import Batch
from benchmark.training.rollout import _sent, explore
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import make_learner, make_replay

#: Operators that only allocate, or give another shape to the same memory.
_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}


class Launches(TorchDispatchMode):
    """Counts the operators that reach the meta device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        name = function.overloadpacket.__name__
        leaves = tree_leaves((arguments, settings, result))
        is_view = any(
            one.alias_info and not one.alias_info.is_write for one in function._schema.returns
        )
        if not is_view and name not in _FREE and any(map(_on_device, leaves)):
            self.by_name[name] += 3 * len(result) if name == "predictor_epoch" else 1
        return result


def _on_device(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "meta"


class _Recurrence(torch.autograd.Function):
    """What stands for cuDNN's recurrence: one tensor is filled each way, which is one launch."""

    @staticmethod
    def forward(ctx, inputs, hidden, *weights):
        ctx.save_for_backward(inputs, hidden, *weights)
        return inputs.new_zeros(*inputs.shape[:-1], hidden.shape[-1]), torch.empty_like(hidden)

    @staticmethod
    def backward(ctx, *_):
        first, *others = ctx.saved_tensors
        return torch.zeros_like(first), *map(torch.empty_like, others)


def _recurrence(gru: nn.GRU, inputs, hidden):
    packed = isinstance(inputs, PackedSequence)
    data = inputs.data if packed else inputs
    states, last = _Recurrence.apply(data, hidden, *gru.parameters())
    return (PackedSequence(states, inputs.batch_sizes) if packed else states), last


class _Stream(torch.Generator):
    """A random stream of the CPU, whatever device is asked for."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls)


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Gives the meta device what CUDA has: random streams, foreach, cuDNN's recurrence."""
    with (
        patch.object(torch, "Generator", _Stream),
        patch.object(_foreach_utils, "_get_foreach_kernels_supported_devices", lambda: ["meta"]),
        patch.object(nn.GRU, "forward", _recurrence),
    ):
        yield


def full_batch(spec: EnvSpec, episodes: int, steps: int) -> Batch:
    """Episodes of ``steps`` steps in which nothing happens."""
    agents, either = (episodes, spec.n_agents), (steps, steps + 1)
    none = torch.zeros(steps, episodes, dtype=torch.bool)
    return Batch(
        obs=torch.zeros(either[1], *agents, spec.obs_size),
        state=torch.zeros(either[1], episodes, spec.state_size),
        available=torch.ones(either[1], *agents, spec.n_actions, dtype=torch.bool),
        actions=torch.zeros(steps, *agents, dtype=torch.int64),
        last_actions=torch.zeros(either[1], *agents, dtype=torch.int64),
        reward=torch.zeros(steps, episodes),
        terminated=none,
        truncated=none,
        mask=~none,
        length=torch.full((episodes,), steps),
    )


def launches(algorithm: str, map: str, protocol: str = "unified") -> Counter[str]:
    """Launches of one update, by operator."""
    spec = spec_of(map)
    run = resolve_run(map=map, algorithm=algorithm, seed=0, protocol=protocol)
    hyperparameters = without_pretraining(run).hyperparameters
    with as_on_cuda():
        learner = ALGORITHMS[algorithm](spec, hyperparameters, run.training, 0, "meta")
        steps = min(150, spec.episode_limit)
        batches = [full_batch(spec, 32, steps) for _ in range(learner.BATCHES)]
        learner.update(*batches)  # after it the optimisers have their state
        with Launches() as counted:
            learner.update(*batches)
    return counted.by_name


def acting(algorithm: str, map: str) -> int:
    """Launches of one step of eight battles, the copy there included, that back not."""
    spec, run = spec_of(map), resolve_run(map=map, algorithm=algorithm, seed=0)
    with as_on_cuda():
        learner = ALGORITHMS[algorithm](spec, run.hyperparameters, run.training, 0, "meta")
        obs = np.zeros((8, spec.n_agents, spec.obs_size), np.float32)
        last, hidden = np.zeros(obs.shape[:2], int), learner.initial_hidden(8)
        with Launches() as counted:
            learner.act(*_sent(obs, last, learner.device), hidden)
    return counted.by_name.total()


class Comparisons(TorchDispatchMode):
    """Counts how often Python asks whether two tensors are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        self.count += function.overloadpacket is torch.ops.aten.equal
        return function(*arguments, **(settings or {}))


def waits(algorithm: str, map: str) -> int:
    """How often a hundred updates wait for the device: in the contrastive step of one of them.

    Its clusters are found by iterations that end when nothing moves. Counted on the CPU, on 32
    battles of random play.
    """
    run, streams = resolve_run(map=map, algorithm=algorithm, seed=0), RandomStreams(0)
    env = make(map, 32)
    learner = make_learner(run, streams, "cpu", env.spec)
    replay = make_replay(env.spec, run.training)
    if not hasattr(learner, "contrast"):  # no other waits: tests/algorithms/test_gpu.py
        return 0
    seeds, exploration = streams.seeds("battles", 32), streams["exploration"]
    replay.add(explore(env, learner, run.training, seeds, lambda _: 1.0, exploration)[0])
    with Comparisons() as counted:
        learner.contrast(replay.sample(32, streams["replay"]))
    return counted.count


def main() -> None:
    """Prints one row per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", choices=MAPS, default="3s5z_vs_3s6z", metavar="MAP")
    parser.add_argument("--algorithm", nargs="*", choices=ALGORITHMS, default=[*ALGORITHMS])
    arguments = parser.parse_args()
    print("| launches of one update | unified | released | of one acting step | waits |")
    print("|---|---:|---:|---:|---:|")
    for name in arguments.algorithm:
        counts = (launches(name, arguments.map, rules).total() for rules in ("unified", "released"))
        more = acting(name, arguments.map), waits(name, arguments.map)
        print(f"| {name} | " + " | ".join(map(str, [*counts, *more])) + " |", flush=True)


if __name__ == "__main__":
    main()
