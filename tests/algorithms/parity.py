"""Weights and episodes that a seed determines, to compare our learners with official modules.

The official code is run elsewhere on the same weights and episodes; ``tests/fixtures/*.json`` keeps
what it measured. Both sides use the functions below.
"""

import copy
import dataclasses
import zlib

import numpy as np
import torch
from torch import nn

from benchmark.envs.spec import EnvSpec
from benchmark.training.replay import Batch, Episodes

#: A small map with unequal sizes everywhere, so that a swapped axis cannot go unnoticed.
SPEC = EnvSpec(
    map="parity",
    backend="simulator",
    backend_version="parity",
    n_agents=3,
    n_enemies=2,
    n_actions=7,
    obs_size=11,
    state_size=13,
    episode_limit=12,
    ally_width=4,
    enemy_width=3,
    obs_enemy_width=5,
    obs_ally_width=5,
    obs_own_width=1,
)


def fill_parameters(module: nn.Module, seed: int) -> None:
    """Sets every parameter, in the order of ``named_parameters``, to drawn values."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for _, parameter in module.named_parameters():
            values = rng.normal(scale=0.15, size=tuple(parameter.shape)).astype(np.float32)
            parameter.copy_(torch.from_numpy(values))


def drawn(name: str, *shape: int, seed: int) -> torch.Tensor:
    """Values for the official parameter of this name and shape."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return torch.from_numpy(rng.normal(scale=0.15, size=shape).astype(np.float32))


def random_episodes(seed: int, count: int, spec: EnvSpec = SPEC) -> Episodes:
    """Episodes of all lengths, some won before the limit, some timed out."""
    rng = np.random.default_rng(seed)
    steps, agents, actions = spec.episode_limit, spec.n_agents, spec.n_actions
    length = rng.integers(2, steps + 1, size=count).astype(np.int32)
    length[0] = steps
    available = rng.random((count, steps + 1, agents, actions)) < 0.6
    available[..., 1] = True
    uniforms = np.where(available[:, :-1], rng.random((count, steps, agents, actions)), -1)
    final = available[:, -1:].argmax(-1)
    return Episodes(
        obs=rng.normal(size=(count, steps + 1, agents, spec.obs_size)).astype(np.float32),
        state=rng.normal(size=(count, steps + 1, spec.state_size)).astype(np.float32),
        available=available,
        actions=np.concatenate([uniforms.argmax(-1), final], axis=1).astype(np.uint8),
        reward=rng.random((count, steps)).astype(np.float32),
        terminated=length < steps,
        length=length,
    )


def padded(batch: Batch, steps: int = 3) -> Batch:
    """The same batch with more padding behind it."""
    longer = {
        field.name: torch.cat([data, behind.expand(steps, *data.shape[1:])])
        for field in dataclasses.fields(batch)
        if field.name != "length"
        for data in [getattr(batch, field.name)]
        for behind in [torch.full_like(data[:1], -1 if field.name == "last_actions" else 0)]
    }
    return dataclasses.replace(batch, **longer)


def with_noise_behind_the_ends(batch: Batch) -> Batch:
    """The same batch with rubbish in its padding."""
    noisy = copy.deepcopy(batch)
    for episode, end in enumerate(batch.length.tolist()):
        noisy.obs[end + 1 :, episode] = 1e2
        noisy.state[end + 1 :, episode] = -1e2
        noisy.reward[end:, episode] = 1e3
        noisy.actions[end:, episode] = 1
        noisy.last_actions[end + 1 :, episode] = 1
    return noisy
