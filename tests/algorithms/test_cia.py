"""CIA: parity with the code that R3DM's authors ran, and invariants of credits and their loss."""

import math

import pytest
import torch

from algorithms.cia import CIA
from tests.algorithms import official
from tests.algorithms.official import in_order, make
from tests.algorithms.parity import SPEC


def agent_table(agent) -> official.Table:
    table = official.linear("fc1", agent.encoder) | official.linear("fc2", agent.head)
    for name, parameter in agent.gru.named_parameters():
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
        "target agent": agent_table(learner.targets["agent"]),
        "target mixer": mixer_table(learner.targets["mixer"]),
    }


def test_released_cia_equals_the_authors_code():
    """Credits, losses, gradients and weights over a target copy."""
    learner = make(CIA, protocol="released", alpha=0.1, target_interval=2)
    batch = in_order(final_action=learner.rules.final_action)
    every = tables(learner)
    for seed, table in enumerate(every.values(), 1):
        official.load(table, seed)
    for update in official.measured_in("cia_released")["updates"]:
        credit = learner.online(batch).extras["credits"]
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


def test_credits_are_the_gradient_of_the_team_value():
    learner, batch = make(CIA), in_order()
    state = batch.state[:-1]
    values = torch.randn(*state.shape[:2], SPEC.n_agents, requires_grad=True)
    weights = learner.mixer.weights(state)
    (gradient,) = torch.autograd.grad(learner.mixer.combine(values, *weights).sum(), values)
    credit = learner.credits(values, *learner.mixer.weights(state))
    torch.testing.assert_close(credit, gradient)
    assert (credit >= 0).all()
    released = make(CIA, "released").credits(values, *learner.mixer.weights(state))
    assert (released > credit + 1e-4).any()
    assert (released >= credit - 1e-6).all()


def test_identity_loss_trains_hypernetworks_and_identities_only():
    learner, batch = make(CIA), in_order()
    learner.auxiliary_losses(batch, learner.online(batch))["identity"].backward()
    named = learner.named_parameters()
    reached = {name for name, p in named if p.grad is not None and p.grad.any()}
    assert {name.split(".")[1] for name in reached if name.startswith("mixer")} == {
        "hyper_w1",
        "hyper_b1",
        "hyper_w2",
    }
    assert {name.split(".")[0] for name in reached} == {"mixer", "identity"}


def test_indistinguishable_agents_cost_ln_n():
    learner = make(CIA)
    credit = torch.rand(7, 4, 1).expand(-1, -1, SPEC.n_agents)
    assert float(learner.identity_loss(credit).detach()) == pytest.approx(math.log(SPEC.n_agents))


def test_renaming_agents_with_their_identities_changes_nothing():
    learner, credit = make(CIA), torch.rand(7, 4, SPEC.n_agents)
    order = torch.tensor([2, 0, 1])
    expected = learner.identity_loss(credit)
    assert not torch.isclose(learner.identity_loss(credit[..., order]), expected)
    learner.identity.weight.data = learner.identity.weight.data[order]
    torch.testing.assert_close(learner.identity_loss(credit[..., order]), expected)


def test_credits_on_padding_count_in_the_released_code_only():
    for protocol, counts in (("unified", False), ("released", True)):
        learner = make(CIA, protocol)
        short, long = in_order(), in_order()
        long.state[:-1][~long.mask] = 1.0
        losses = [
            float(learner.auxiliary_losses(batch, learner.online(batch))["identity"].detach())
            for batch in (short, long)
        ]
        assert (losses[0] != pytest.approx(losses[1], rel=1e-6)) == counts
