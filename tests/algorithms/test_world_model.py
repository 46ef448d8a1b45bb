"""The world model: sizes, densities, draws, the loss, and what it learns."""

import math

import pytest
import torch

from algorithms.world_model import WorldModel, divergence, draw, squared_errors, symexp, symlog
from benchmark.envs import spec_of
from tests.algorithms.parity import fill_parameters

SIZES = [6, 6, 4, 2]  # rows of each step
OBS, ACTIONS, ROLE = 5, 3, 4


def make_model(role_size=ROLE, **options):
    model = WorldModel(OBS, ACTIONS, role_size, size=16, variables=4, classes=6, **options)
    fill_parameters(model, 1)
    return model


def make_data(seed=0):
    rng = torch.Generator().manual_seed(seed)
    rows = sum(SIZES)
    actions = torch.eye(ACTIONS)[torch.randint(ACTIONS, (rows,), generator=rng)]
    obs, roles = torch.randn(rows, OBS, generator=rng), torch.rand(rows, ROLE, generator=rng)
    actions[: SIZES[0]], roles[: SIZES[0]] = 0, 0
    return obs, actions, roles, SIZES, torch.rand(rows, 4, generator=rng)


def test_parameter_counts_on_3s5z_vs_3s6z():
    spec = spec_of("3s5z_vs_3s6z")
    sizes = [
        sum(p.numel() for p in WorldModel(spec.obs_size, spec.n_actions, role).parameters())
        for role in (0, 64)
    ]
    assert sizes == [367_752, 384_136]


def test_weights_begin_as_in_dreamer():
    """Of one deviation: normal and cut at two of its own, but uniform in front of densities."""
    torch.manual_seed(0)
    model = WorldModel(40, 10, 64)
    heads = model.prior[-1], model.posterior[-1], model.decoder[-1]
    for layer in (module for module in model.modules() if isinstance(module, torch.nn.Linear)):
        scaled = layer.weight.detach() / (2 / (layer.in_features + layer.out_features)) ** 0.5
        largest = math.sqrt(3) if any(layer is head for head in heads) else 2 / 0.8796
        assert scaled.abs().max() == pytest.approx(largest, rel=0.01)
        assert scaled.std() == pytest.approx(1, abs=0.02)
        assert layer.bias is None or layer.bias.abs().max() == 0


def test_symlog_and_its_inverse():
    x = torch.tensor([-1e4, -2.0, 0.0, 1e-3, 7.0])
    torch.testing.assert_close(symexp(symlog(x)), x)
    assert symlog(torch.tensor(math.e - 1)) == pytest.approx(1)


def test_draws_follow_their_probabilities_and_pass_their_gradient():
    logits = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]], requires_grad=True)
    logs = logits.log_softmax(-1)
    uniforms = torch.rand(40_000, 2, generator=torch.Generator().manual_seed(0))
    drawn = draw(logs.expand(40_000, -1, -1), uniforms)
    assert ((drawn.detach().round() == 0) | (drawn.detach().round() == 1)).all()
    assert (drawn.detach().unflatten(1, (2, 3)).sum(-1) - 1).abs().max() < 1e-5
    frequency = drawn.detach().mean(0).view(2, 3)
    torch.testing.assert_close(frequency, logs[0].exp().detach(), atol=0.01, rtol=0)
    weights = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1, -0.7])
    (draw(logs, uniforms[:1]) @ weights).sum().backward()
    through_draw = logits.grad.clone()
    logits.grad = None
    (logits.softmax(-1).flatten() @ weights).backward()
    torch.testing.assert_close(through_draw, logits.grad)


def test_every_class_keeps_its_uniform_share():
    model = make_model()
    model.prior[-1].weight.data.mul_(1e3)
    logs = model.prior_log_probs(torch.randn(9, 16), torch.zeros(9, ROLE))
    assert logs.exp().min() >= 0.01 / 6 * (1 - 1e-5)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(9, 4))


def test_divergence_is_zero_for_equals_and_positive_else():
    first, second = torch.randn(2, 7, 4, 6).log_softmax(-1)
    assert divergence(first, first).abs().max() < 1e-6
    assert (divergence(first, second) > 0).all()


def test_free_nats_leave_no_gradient():
    model = make_model()
    losses = model.losses(*make_data(), free_nats=100.0)
    assert losses["kl"].tolist() == pytest.approx([60.0] * sum(SIZES))
    assert not losses["kl"].requires_grad or losses["kl"].sum().backward() is None
    assert model.prior[-1].weight.grad is None or not model.prior[-1].weight.grad.any()


def test_packed_sequences_equal_single_ones():
    """Sequences of unlike lengths together, or one by one: the same states and losses."""
    model, (obs, actions, roles, _, uniforms) = make_model(), make_data()
    together = model.losses(obs, actions, roles, SIZES, uniforms)
    starts = [0, 6, 12, 16]
    for row in range(SIZES[0]):
        index = [start + row for start, size in zip(starts, SIZES, strict=True) if row < size]
        alone = model.losses(
            obs[index], actions[index], roles[index], [1] * len(index), uniforms[index]
        )
        for name in together:
            torch.testing.assert_close(together[name][index], alone[name])


def test_first_step_starts_from_the_learned_state():
    model, (obs, actions, roles, sizes, uniforms) = make_model(), make_data()
    state = model.observe(obs, actions, roles, sizes, uniforms)
    model.initial.data.add_(0.5)
    moved = model.observe(obs, actions, roles, sizes, uniforms)
    assert not torch.allclose(state.deter[:6], moved.deter[:6])


@pytest.mark.parametrize("role_enters", ["gru", "prior"])
def test_roles_matter_to_the_role_model_only(role_enters):
    (obs, actions, roles, sizes, uniforms), other = make_data(), make_data(1)[2]
    model = make_model(role_enters=role_enters)
    first, second = (model.losses(obs, actions, z, sizes, uniforms) for z in (roles, other))
    assert not torch.allclose(first["decoder"], second["decoder"])
    deters = [model.observe(obs, actions, z, sizes, uniforms).deter for z in (roles, other)]
    assert torch.equal(*deters) == (role_enters == "prior")
    agnostic = make_model(role_size=0)
    first, second = (agnostic.losses(obs, actions, z, sizes, uniforms) for z in (roles, other))
    assert torch.equal(first["decoder"], second["decoder"])


def test_imagining_is_observing_without_the_observation():
    """The memory after an imagined step is that of the observed one; only the latent differs."""
    model, (obs, actions, roles, _, uniforms) = make_model(), make_data()
    first = model.observe(obs[:6], actions[:6], roles[:6], [6], uniforms[:6])
    both = model.observe(obs[:12], actions[:12], roles[:12], [6, 6], uniforms[:12])
    imagined = model.imagine(first, actions[6:12], roles[6:12], uniforms[6:12])
    torch.testing.assert_close(imagined.deter, both.deter[6:])
    expected = model.prior_log_probs(both.deter[6:], roles[6:12])
    torch.testing.assert_close(imagined.log_probs, expected)


def test_a_perfect_decoder_has_no_error():
    model, (obs, actions, roles, sizes, uniforms) = make_model(), make_data()
    state = model.observe(obs, actions, roles, sizes, uniforms)
    known = torch.cat([state.stoch, state.deter, roles], dim=-1)
    exact = model.decoder(known).detach()
    decoded = model.decode(state, roles)
    assert squared_errors(decoded, exact).max() == 0
    assert (squared_errors(decoded, exact + 0.1) > 0).all()


@pytest.mark.parametrize("shift", [0, 1])
def test_learns_what_actions_do(shift):
    """On o[t+1] = o[t] + B a[t], prediction beats copying o[t]; with stale actions it does not."""
    torch.manual_seed(0)
    steps, rows = 6, 64
    effects = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    model = WorldModel(2, 4, 0, size=48, variables=8, classes=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    sizes = [rows] * steps
    none = torch.zeros(steps * rows, 0)

    def episodes():
        drawn = torch.eye(4)[torch.randint(4, (steps, rows))]
        obs = torch.cat([torch.zeros(1, rows, 2), (drawn @ effects)[:-1]]).cumsum(0)
        before = torch.cat([torch.zeros(1, rows, 4), drawn[:-1]])
        seen = torch.cat([torch.zeros(1, rows, 4), before[:-1]]) if shift else before
        return symlog(obs.flatten(0, 1)), seen.flatten(0, 1)

    for _ in range(100):
        obs, seen = episodes()
        losses = model.losses(obs, seen, none, sizes, torch.rand(steps * rows, 8))
        optimizer.zero_grad()
        sum(loss.mean() for loss in losses.values()).backward()
        optimizer.step()
    obs, seen = episodes()
    with torch.no_grad():
        state = model.observe(obs, seen, none, sizes, torch.rand(steps * rows, 8))
        now = state.select(torch.arange((steps - 1) * rows))
        acted = seen[rows:]  # the action that the model is told led to the next observation
        ahead = model.imagine(now, acted, none[rows:], torch.rand(len(acted), 8))
        errors = squared_errors(model.decode(ahead, none[rows:]), obs[rows:]).mean()
    copying = (obs[rows:] - obs[:-rows]).square().sum(-1).mean()
    assert (errors < 0.6 * copying) == (shift == 0)
