"""Comparing learners with official code: our networks under the names of theirs, one by one.

A *table* maps an official parameter's name to our parameter and the view of it that has the
official shape; one of ours may hold several of theirs side by side.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms.acorm import ACORM
from algorithms.learner import Learner
from benchmark.envs.spec import EnvSpec
from benchmark.training.protocol import RULES, Training
from benchmark.training.replay import Batch, ReplayBuffer
from tests.algorithms.parity import SPEC, drawn, fill_parameters, random_episodes

Table = dict[str, tuple[nn.Parameter, Callable[[Tensor], Tensor]]]

EPISODES = 6
NO_PRETRAINING = {"embedding_pretraining": 0, "contrastive_pretraining": 0}


def measured_in(fixture: str) -> dict:
    """What was measured of the official code."""
    return json.loads((Path(__file__).parent.parent / "fixtures" / f"{fixture}.json").read_text())


def make(
    method: type[Learner],
    protocol: str = "unified",
    seed: int = 0,
    device: str = "cpu",
    spec: EnvSpec = SPEC,
    rules: dict | None = None,
    **hyperparameters,
):
    """A method on the small map of the comparisons, with some rules or hyper-parameters changed."""
    released = method.RELEASED if protocol == "released" else {}
    fields = method.Config.model_fields
    table = {name: value for name, value in released.items() if name in fields}
    harness = {name: value for name, value in released.items() if name not in fields}
    training = Training(**RULES[protocol] | harness | {"batch_size": EPISODES} | (rules or {}))
    return method(spec, method.Config(**table | hyperparameters), training, seed, device)


class InOrder:
    """Draws the first episodes, one after the other."""

    def choice(self, n: int, size: int, replace: bool) -> np.ndarray:
        return np.arange(size)


def in_order(episodes=None, count: int = EPISODES, final_action: str = "none") -> Batch:
    """All episodes as one batch, in their order and with correct last actions."""
    episodes = episodes or random_episodes(7, count)
    buffer = ReplayBuffer(SPEC, len(episodes.length), final_action=final_action)
    buffer.add(episodes)
    return buffer.sample(len(episodes.length), InOrder())


def make_batch(episodes=None, spec: EnvSpec = SPEC, protocol: str = "unified") -> Batch:
    """All episodes in some order, with the last actions that the protocol's buffer gives."""
    episodes = episodes or random_episodes(7, EPISODES, spec)
    rule = RULES[protocol]["replayed_last_action"]
    buffer = ReplayBuffer(spec, len(episodes.length), rule)
    buffer.add(episodes)
    return buffer.sample(len(episodes.length), np.random.default_rng(0))


def by_first_feature(points: Tensor, *_) -> Tensor:
    """The clusters that the recorded measurements of ACORM and R3DM used."""
    first = points[..., 0]
    return (first > first.mean(-1, keepdim=True)).long()


def fill_acorm(learner: ACORM) -> dict[str, nn.Module]:
    """The weights of ACORM's and R3DM's recorded comparisons; networks by the recordings' names."""
    online = nn.ModuleList([learner.state_encoder, learner.mixer])
    # The authors' target mixer has a state encoder of its own that is never used.
    target = nn.ModuleList([copy.deepcopy(learner.state_encoder), learner.targets["mixer"]])
    names = ("trajectory_encoder", "trajectory_decoder", "role_encoder", "key_encoder")
    for seed, name in enumerate(names, start=1):
        fill_parameters(getattr(learner, name), seed)
    weights = np.random.default_rng(5).random(learner.bilinear.shape).astype(np.float32)
    learner.bilinear.data.copy_(torch.from_numpy(weights))
    fill_parameters(learner.agent, 6)
    fill_parameters(learner.targets["agent"], 8)
    fill_parameters(target, 9)
    fill_parameters(online, 7)
    own = {"agent": learner.agent, "mixer": online, "target_agent": learner.targets["agent"]}
    return own | {name: getattr(learner, name) for name in names}


def sums(module: nn.Module) -> list[float]:
    """Of each parameter's values."""
    return [float(p.detach().double().sum()) for p in module.parameters()]


@torch.no_grad()
def load(table: Table, seed: int) -> None:
    """Sets every parameter to the values that its official name and the seed determine."""
    for name, (parameter, view) in table.items():
        part = view(parameter.data)
        part.copy_(drawn(name, *part.shape, seed=seed))


def assert_gradients(table: Table, norms: dict[str, float], rel: float = 2e-4) -> None:
    """Checks the norms of the gradients; theirs may leave out what ours has as zero."""
    ours = {
        name: float(view(parameter.grad).norm()) if parameter.grad is not None else 0.0
        for name, (parameter, view) in table.items()
    }
    scale = max(norms.values())
    assert ours == pytest.approx(norms, rel=rel, abs=1e-6 * scale)


def assert_weights(table: Table, sums: dict[str, float], abs: float = 2e-4) -> None:
    """Checks the sums of the weights."""
    ours = {name: float(view(p.detach()).double().sum()) for name, (p, view) in table.items()}
    assert ours == pytest.approx(sums, abs=abs)


def same(tensor: Tensor) -> Tensor:
    return tensor


def rows(begin: int, end: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor[begin:end]


def slot(k: int) -> Callable[[Tensor], Tensor]:
    """Group k of a GroupedLinear, with the weight's axes as in ``nn.Linear``."""
    return lambda tensor: tensor[k].t() if tensor[k].dim() == 2 else tensor[k]


def linear(name: str, layer: nn.Linear, view=same) -> Table:
    table = {f"{name}.weight": (layer.weight, view)}
    return table if layer.bias is None else table | {f"{name}.bias": (layer.bias, view)}


def grouped(name: str, layer: nn.Module, k: int) -> Table:
    return linear(name, layer, slot(k))


def recurrent_agent(agent: nn.Module) -> Table:
    """PyMARL's agent; a GRU's names end with the layer, a GRU cell's do not."""
    memory = {f"rnn.{name}": (p, same) for name, p in agent.gru.named_parameters()}
    return linear("fc1", agent.encoder) | memory | linear("fc2", agent.head)


def qplex_mixer(mixer: nn.Module) -> Table:
    table, agents = {}, mixer.shape[0]
    hidden = mixer.query.weight.shape[1]
    for k in range(len(mixer.query.weight)):
        table |= grouped(f"attention_weight.key_extractors.{k}", mixer.key, k)
        name = f"attention_weight.selector_extractors.{k}"
        block = rows(k * hidden, (k + 1) * hidden)
        table |= linear(f"{name}.0", mixer.query_hidden, block)
        table |= grouped(f"{name}.2", mixer.query, k)
    for k in range(len(mixer.kernel.weight)):
        block = rows(k * agents, (k + 1) * agents)
        table |= linear(f"si_weight.key_extractors.{k}", mixer.kernel, rows(k, k + 1))
        table |= linear(f"si_weight.agents_extractors.{k}", mixer.kernel_agent, block)
        table |= linear(f"si_weight.action_extractors.{k}", mixer.kernel_action, block)
    table |= linear("attention_weight.V.0", mixer.value[0])
    return table | linear("attention_weight.V.2", mixer.value[2])
