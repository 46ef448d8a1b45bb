"""Policies to be watched, without training."""

import torch

from benchmark.envs import spec_of
from benchmark.training.config import resolve_run
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import make_learner


def save_policy(path, algorithm="acorm", map="3m", seed=0, change=None, **rest):
    """A ``policy.pt`` with random weights, whose actions depend on what happens."""
    config = resolve_run(map=map, algorithm=algorithm, seed=seed, **rest)
    learner = make_learner(config, RandomStreams(seed), "cpu", spec_of(map))
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.normal_(0, 0.4, generator=stream)
        if change is not None:
            change(learner)
    torch.save({"config": config.resolved(), "policy": learner.policy_state()}, path)
    return path
