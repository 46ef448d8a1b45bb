"""CDS: parity with the code that R3DM's authors ran, and invariants of the diversity bonus."""

import numpy as np
import pytest
import torch

from algorithms.cds import CDS
from tests.algorithms import official
from tests.algorithms.official import EPISODES, in_order, make
from tests.algorithms.parity import SPEC


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
    return {f"{name}.{part}": entry for name in layers for part, entry in layers[name].items()}


def tables(agent, mixer, predictors) -> dict[str, official.Table]:
    return {
        "agent": agent_table(agent),
        "mixer": official.qplex_mixer(mixer),
        "anonymous": predictor_table(predictors, 0),
        "knowing": predictor_table(predictors, 1),
    }


def test_released_cds_equals_the_authors_code(monkeypatch):
    """Bonus, losses, gradients, weights and predictors over a target copy."""
    changes = {"beta": 0.03, "predictor_batch": 100, "target_interval": 2}
    learner = make(CDS, "released", **changes)
    batch = in_order(final_action=learner.rules.final_action)
    online = tables(learner.agent, learner.mixer, learner.predictors)
    targets = tables(*(learner.targets[name] for name in ("agent", "mixer", "predictors")))
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
    for update in official.measured_in("cds_released")["updates"]:
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in ("td", "attention", "local"):
            assert metrics[name] == pytest.approx(update[name], rel=1e-5)
        bonus = (bonuses[-1] / 0.03).where(batch.mask, 0).t().flatten()
        assert bonus.tolist() == pytest.approx(update["bonus"], rel=1e-5, abs=1e-5)
        for name, norms in update["gradient_norms"].items():
            official.assert_gradients(online[name], norms)
        for name, sums in update["weights"].items():
            official.assert_weights(online[name], sums)
        for name, sums in update["targets"].items():
            official.assert_weights(targets[name], sums)


def some_values(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 5, SPEC.n_agents, 6, generator=torch.Generator().manual_seed(seed))


def test_action_diversity_is_a_divergence():
    values = some_values()
    assert (make(CDS, beta1=2.0).action_diversity(values) >= 0).all()
    assert (make(CDS, beta1=1.0).action_diversity(values) > 1e-3).any()
    agreeing = values[:, :, :1].expand_as(values)
    assert make(CDS, beta1=1.0).action_diversity(agreeing).abs().max() < 1e-6
    assert (make(CDS, beta1=2.0).action_diversity(agreeing) > 1e-3).any()
    extreme = 1e4 * values  # the authors' quotient of probabilities would be 0 / 0
    assert torch.isfinite(make(CDS).action_diversity(extreme)).all()


def test_local_penalty_is_the_mean_of_absolute_local_values():
    learner, batch = make(CDS), in_order()
    online = learner.online(batch)
    real = torch.cat([torch.ones_like(batch.mask[:1]), batch.mask])
    expected = 0.1 * online.features["local"][real].abs().mean()
    torch.testing.assert_close(learner.auxiliary_losses(batch, online)["local"], expected)


def test_agents_differ_by_their_local_heads_only():
    learner, batch = make(CDS), in_order()
    batch.obs[:] = batch.obs[:, :, :1]
    for actions in (batch.actions, batch.last_actions):
        actions[:] = actions[:, :, :1]
    assert not torch.allclose(
        learner.online(batch).q_values[..., 0, :], learner.online(batch).q_values[..., 1, :]
    )
    for parameter in learner.agent.local.parameters():
        parameter.data.zero_()
    values = learner.online(batch).q_values
    torch.testing.assert_close(values, values[:, :, :1].expand_as(values))


def test_predictors_read_the_memory_before_the_step():
    """What a step shows changes its own row's observation, but the memory of later rows only."""
    learner, batch, step, size = make(CDS), in_order(), 3, SPEC.n_agents * EPISODES
    every = torch.arange(batch.actions.numel())

    def seen():
        rows = learner.transitions(batch, learner.online(batch), every).before
        return rows.detach().split([64, SPEC.obs_size, SPEC.n_actions], dim=-1)

    memory, obs, _ = seen()
    assert (memory[:size] == 0).all()
    batch.obs[step] += 1
    new_memory, new_obs, _ = seen()
    here = slice(step * size, (step + 1) * size)
    assert torch.equal(new_memory[: here.stop], memory[: here.stop])
    assert (new_obs[here] != obs[here]).all()
    later = new_memory[here.stop :] != memory[here.stop :]
    assert later.any(-1)[: size // 2].all()  # the first episode goes on


def test_the_reward_never_depends_on_what_the_predictors_learn_in_the_same_update():
    learner, batch = make(CDS), in_order()
    online = learner.online(batch)
    with torch.no_grad():
        first = learner.intrinsic_reward(batch, online)
        weights = learner.predictors.first.weight.clone()
        second = learner.intrinsic_reward(batch, online)
    assert not torch.equal(learner.predictors.first.weight, weights)
    torch.testing.assert_close(second, first)
    learner.move_targets()
    with torch.no_grad():
        assert not torch.allclose(learner.intrinsic_reward(batch, online), first)


def test_the_bonus_falls_after_a_million_steps():
    learner, scales = make(CDS, beta=0.1, anneal_rate=5.0), []
    for learner.env_steps in (0, 1_000_000, 1_100_000, 1_200_000, 2_000_000):
        scales.append(learner.bonus_scale())
    assert scales == pytest.approx([0.1, 0.1, 0.05, 0.0, 0.0])
    constant = make(CDS, beta=0.1)
    constant.env_steps = 10**7
    assert constant.bonus_scale() == 0.1


@pytest.mark.parametrize("padding", ["excluded", "counted"])
def test_minibatches_are_drawn_from_the_agents_real_steps_or_from_padding_too(padding):
    learner, batch = make(CDS, padding=padding), in_order()
    drawn = learner.shuffled_rows(batch)
    expected = batch.mask.unsqueeze(-1).expand_as(batch.actions).flatten()
    if padding == "counted":
        expected = torch.ones_like(expected)
    assert torch.equal(drawn.sort().values, expected.nonzero().squeeze(-1))
    assert not torch.equal(drawn, drawn.sort().values)


def test_minibatches_of_padding_alone_do_no_harm():
    learner = make(CDS, "released", predictor_batch=1)
    learner.update(in_order())
    assert all(torch.isfinite(p).all() for p in learner.predictors.parameters())


def test_only_the_knowing_predictor_knows():
    learner, batch = make(CDS), in_order()
    rows = torch.arange(batch.actions.numel())
    seen = learner.transitions(batch, learner.online(batch), rows)
    permuted = seen._replace(agent=seen.agent.roll(1, dims=-1))
    anonymous, knowing = learner.predictors.squared_errors(seen)
    other_anonymous, other_knowing = learner.predictors.squared_errors(permuted)
    assert torch.equal(anonymous, other_anonymous)
    assert not torch.allclose(knowing, other_knowing)


def a_minibatch(learner, batch):
    rows = torch.arange(batch.actions.numel())
    part = learner.transitions(batch, learner.online(batch), rows)
    return part._replace(weight=part.weight.float())


def test_the_predictors_gradients_are_those_of_autograd():
    learner, batch = make(CDS), in_order()
    predictors, part = learner.predictors, a_minibatch(learner, batch)
    losses = (predictors.squared_errors(part) * part.weight).sum(-1) / part.weight.sum()
    expected = torch.autograd.grad(losses.sum(), [*predictors.parameters()])
    torch.testing.assert_close(predictors.set_gradients(part, largest=1e9), losses.detach())
    for parameter, gradient in zip(predictors.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
        assert gradient.any()


def test_predictors_learn_and_are_clipped_one_by_one():
    learner, batch = make(CDS, predictor_clip=0.5), in_order()
    predictors, part = learner.predictors, a_minibatch(learner, batch)
    predictors.set_gradients(part, largest=0.5)
    norms = sum(p.grad.flatten(1).square().sum(1) for p in predictors.parameters()).sqrt()
    assert norms.tolist() == pytest.approx([0.5, 0.5], rel=1e-3)
    before = predictors.squared_errors(part).mean(-1)
    for _ in range(50):
        learner.fit_predictors(part)
    assert (predictors.squared_errors(part).mean(-1) < 0.9 * before).all()


def test_a_checkpoint_of_another_device_does_not_choose_how_the_predictors_are_stepped():
    learner = make(CDS, "unified")
    learner.update(in_order())
    state = learner.training_state()
    for group in state["optimizers"]["predictors"]["param_groups"]:
        group["fused"] = False  # as on CUDA, where a kernel steps them
    learner.load_training_state(state)
    assert learner.optimizers["predictors"].param_groups[0]["fused"]
