"""CIA: parity with the code that R3DM's authors ran, and invariants of credits and their loss."""

import math

import pytest
import torch

from algorithms.cia import CIA
from algorithms.qmix import QMIX
from tests import official
from tests.official import in_order
from tests.parity import SPEC
from tests.test_cds import make


def agent_table(agent) -> official.Table:
    table = official.linear("fc1", agent.encoder) | official.linear("fc2", agent.head)
    for name, parameter in agent.memory.named_parameters():
        table[f"rnn.{name.removesuffix('_l0')}"] = (parameter, official.same)
    return table


def mixer_table(mixer) -> official.Table:
    table = official.linear("hyper_b_1", mixer.hyper_b1)
    for theirs, ours in (("hyper_w_1", "w1"), ("hyper_w_final", "w2"), ("V", "b2")):
        layers = getattr(mixer, f"hyper_{ours}")
        table |= official.linear(f"{theirs}.0", layers[0])
        table |= official.linear(f"{theirs}.2", layers[2])
    return table


def tables(learner: CIA) -> dict[str, official.Table]:
    return {
        "agent": agent_table(learner.agent),
        "mixer": mixer_table(learner.mixer),
        "identity": {"weight": (learner.identity.weight, official.same)},
        "target agent": agent_table(learner._targets["agent"]),
        "target mixer": mixer_table(learner._targets["mixer"]),
    }


def test_released_cia_equals_the_authors_code():
    """Credits, losses, gradients and weights over a target copy."""
    learner, batch = make(CIA, protocol="released", alpha=0.1, target_interval=2), in_order()
    every = tables(learner)
    for seed, table in enumerate(every.values(), 1):
        official.load(table, seed)
    for update in official.measured("cia")["updates"]:
        (credit,) = learner.online(batch).extras
        credit = credit.detach().permute(1, 2, 0).flatten().tolist()
        assert credit == pytest.approx(update["credits"], rel=1e-5, abs=1e-6)
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in ("td", "identity"):
            assert metrics[name] == pytest.approx(update[name], rel=1e-5)
        # The identities' biases cancel; ours has none.
        for name, norms in update["gradient_norms"].items():
            official.assert_gradients(every[name], {k: norms[k] for k in every[name]})
        for name, sums in update["weights"].items():
            official.assert_weights(every[name], {k: sums[k] for k in every[name]})
