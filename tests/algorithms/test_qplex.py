"""QPLEX's mixer: the order that it keeps, and what learns through which part."""

import pytest
import torch

from algorithms.learner import MixerInput
from algorithms.qplex import QPLEX
from tests.algorithms.official import in_order, make
from tests.algorithms.parity import SPEC, fill_parameters

ROWS = (20, 3)


@pytest.fixture
def mixer():
    learner = make(QPLEX)
    fill_parameters(learner.mixer, 5)
    return learner.mixer


def draw(seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(*ROWS, SPEC.n_agents, SPEC.n_actions, generator=rng)
    actions = torch.randint(SPEC.n_actions, (*ROWS, SPEC.n_agents), generator=rng)
    return values, actions, torch.randn(*ROWS, SPEC.state_size, generator=rng)


def mix(mixer, values, actions, state):
    chosen = values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    joint = torch.nn.functional.one_hot(actions, SPEC.n_actions).flatten(-2).float()
    return mixer(chosen, values.amax(-1), joint, state)[0]


def test_greedy_actions_of_the_agents_are_the_teams(mixer):
    values, actions, state = draw()
    greedy = values.argmax(-1)
    best = mix(mixer, values, greedy, state)
    weights = (mixer.attention_logits(state) / 32**0.5).softmax(-1).sum(-2)
    expected = (weights * values.amax(-1)).sum(-1) + mixer.value(state).squeeze(-1)
    torch.testing.assert_close(best, expected)
    torch.testing.assert_close(weights.sum(-1), torch.full(ROWS, 4.0))
    others = mix(mixer, values, actions, state)
    same = (actions == greedy).all(-1)
    assert (others <= best + 1e-5).all()
    assert (others < best)[~same].all()


def test_advantages_depend_on_the_joint_action(mixer):
    """Of two actions of equal value the other agents' choice decides how much is lost."""
    values, actions, state = draw()
    actions[..., 1:] = 0
    values[..., 1:, :2] = 0.0
    other = actions.clone()
    other[..., 1:] = 1
    assert not torch.allclose(mix(mixer, values, actions, state), mix(mixer, values, other, state))


def test_values_learn_through_the_weights_only(mixer):
    values, actions, state = draw()
    chosen = values.gather(-1, actions.unsqueeze(-1)).squeeze(-1).requires_grad_()
    joint = torch.nn.functional.one_hot(actions, SPEC.n_actions).flatten(-2).float()
    mixer(chosen, values.amax(-1), joint, state)[0].sum().backward()
    weights = (mixer.attention_logits(state) / 32**0.5).softmax(-1).sum(-2)
    torch.testing.assert_close(chosen.grad, weights)
    assert (chosen.grad > 0).all()


def test_kernels_learn_through_the_advantages_only(mixer):
    values, _, state = draw()
    mix(mixer, values, values.argmax(-1), state).sum().backward()
    kernels = (mixer.kernel, mixer.kernel_agent, mixer.kernel_action)
    assert all((p.grad == 0).all() for layer in kernels for p in layer.parameters())
    assert mixer.query.weight.grad.abs().sum() > 0


def test_best_value_is_taken_among_available_actions():
    learner, batch = make(QPLEX), in_order()
    online = learner.online(batch)
    tempting = online.q_values.detach().masked_fill(~batch.available, 1e6)
    inputs = MixerInput(tempting[:-1], {}, batch.actions, batch.state[:-1], batch.available[:-1])
    q_tot, _ = learner.mix(learner.mixer, inputs)
    torch.testing.assert_close(q_tot[batch.mask], online.q_tot[batch.mask])


def test_attention_penalty_on_real_steps_and_on_padding():
    batch = in_order()
    penalties = {}
    for padding in ("excluded", "counted"):
        learner = make(QPLEX, padding=padding)
        online = learner.online(batch)
        penalties[padding] = learner.auxiliary_losses(batch, online)["attention"]
    squares = online.extras["attention_logits"].square().mean(-1).sum(-1)
    torch.testing.assert_close(penalties["excluded"], 0.001 * squares[batch.mask].mean())
    torch.testing.assert_close(penalties["counted"], 0.001 * squares.mean())
