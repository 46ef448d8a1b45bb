"""CDS: parity with the code that R3DM's authors ran, and invariants of the diversity bonus."""

import copy

import numpy as np
import pytest
import torch

from algorithms.cds import CDS
from algorithms.qplex import QPLEX
from tests import official
from tests.official import in_order
from tests.parity import SPEC
from tests.test_learner import rules

HARNESS = {"updates_per_episode", "burn_in_episodes", *rules().model_fields}


def make(method=CDS, protocol: str = "unified", seed: int = 0, **hyperparameters):
    released = method.RELEASED if protocol == "released" else {}
    table = {name: value for name, value in released.items() if name not in HARNESS}
    return method(SPEC, method.Config(**table | hyperparameters), rules(), seed=seed)


def agent_table(agent) -> official.Table:
    table = official.recurrent_agent(agent)
    for k in range(SPEC.n_agents):
        table |= official.grouped(f"mlp.{k}", agent.local, k)
    return table


def predictor_table(predictors, k: int) -> official.Table:
    def read(layer, unread):
        width = layer.weight.shape[1] - unread
        return {
            "weight": (layer.weight, lambda tensor: tensor[k, :width].t()),
            "bias": (layer.bias, lambda tensor: tensor[k]),
        }

    unread = SPEC.n_agents * (1 - k)
    layers = {
        "linear1": read(predictors.first, unread),
        "linear2": read(predictors.second, unread),
        "last_fc": read(predictors.last, 0),
    }
    return {f"{name}.{part}": each for name in layers for part, each in layers[name].items()}


def tables(agent, mixer, predictors) -> dict[str, official.Table]:
    return {
        "agent": agent_table(agent),
        "mixer": official.qplex_mixer(mixer),
        "anonymous": predictor_table(predictors, 0),
        "knowing": predictor_table(predictors, 1),
    }


def test_released_cds_equals_the_authors_code(monkeypatch):
    """Bonus, losses, gradients, weights and predictors over a target copy."""
    learner, batch = (
        make(protocol="released", beta=0.03, predictor_batch=100, target_interval=2),
        in_order(),
    )
    online = tables(learner.agent, learner.mixer, learner.predictors)
    targets = tables(*(learner._targets[name] for name in ("agent", "mixer", "predictors")))
    for seed, table in enumerate(online.values(), 1):
        official.load(table, seed)
    for seed, table in enumerate(targets.values(), 11):
        official.load(table, seed)
    steps, episodes, agents = batch.actions.shape
    theirs = torch.arange(batch.actions.numel()).view(episodes, agents, steps).permute(2, 0, 1)
    order = np.random.default_rng(11).permutation(batch.actions.numel())
    rows = theirs.flatten().argsort()[torch.from_numpy(order)]
    monkeypatch.setattr(CDS, "shuffled_rows", lambda *_: rows)
    bonuses = []

    def noted(*arguments, real=learner.intrinsic_reward):
        bonuses.append(real(*arguments))
        return bonuses[-1]

    learner.intrinsic_reward = noted
    for update in official.measured("cds")["updates"]:
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in ("td", "attention", "local"):
            assert metrics[name] == pytest.approx(update[name], rel=1e-5)
        bonus = (bonuses[-1] / 0.03).where(batch.filled, 0).t().flatten()
        assert bonus.tolist() == pytest.approx(update["bonus"], rel=1e-5, abs=1e-5)
        for name, norms in update["gradient_norms"].items():
            official.assert_gradients(online[name], norms)
        for name, sums in update["weights"].items():
            official.assert_weights(online[name], sums)
        for name, sums in update["targets"].items():
            official.assert_weights(targets[name], sums)
