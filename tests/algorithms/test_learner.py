"""The shared TD loop and QMIX: parity with the authors' module, and invariants."""

import itertools

import pytest
import torch

from algorithms.learner import polyak_update
from algorithms.qmix import QMIX
from tests.algorithms.official import EPISODES, make, make_batch, measured_in
from tests.algorithms.parity import SPEC, fill_parameters, random_episodes


def make_qmix(protocol: str = "unified", rules=None, **hyperparameters) -> QMIX:
    learner = make(QMIX, protocol, rules=rules, **hyperparameters)
    fill_parameters(learner.agent, 1)
    fill_parameters(learner.mixer, 2)
    return learner


def test_released_qmix_equals_the_authors_module():
    """Loss, clipped gradients and RMSprop steps over a target copy, measured beside their code."""
    measured = measured_in("qmix_released")
    learner = make_qmix("released", target_interval=2)
    fill_parameters(learner.targets["agent"], 3)
    fill_parameters(learner.targets["mixer"], 4)
    parameters = [*learner.agent.parameters(), *learner.mixer.parameters()]
    for update in measured["updates"]:
        learner.update(make_batch(protocol="released"))
        assert learner.read_metrics()["td"] == pytest.approx(update["loss"], rel=1e-5)
        norms = [float(p.grad.norm()) for p in parameters]
        assert norms == pytest.approx(update["gradient_norms"], rel=1e-4)
        sums = [float(p.detach().double().sum()) for p in parameters]
        assert sums == pytest.approx(update["weight_sums"], abs=1e-4)


def test_an_update_calls_the_hooks_in_their_order(monkeypatch):
    hooks = ["prepare", "pretrain", "before_update", "online", "intrinsic_reward"]
    hooks += ["auxiliary_losses", "optimizer_step", "move_targets", "after_update"]
    called = []
    for hook in hooks:
        original = getattr(QMIX, hook)
        monkeypatch.setattr(
            QMIX, hook, lambda *a, hook=hook, original=original: called.append(hook) or original(*a)
        )
    learner = make_qmix(target_interval=2)
    assert learner.env_steps == learner.updates == 0
    learner.update(make_batch())
    learner.update(make_batch())
    assert called == [hook for hook in hooks if hook != "move_targets"] + hooks
    called.clear()
    monkeypatch.setattr(QMIX, "pretrain", lambda *_: True)
    learner.update(make_batch())
    assert called == ["prepare"]
    assert learner.updates == 2


def test_mixer_is_monotonic():
    learner = make_qmix()
    values = torch.randn(50, 4, SPEC.n_agents, requires_grad=True)
    learner.mixer(values, torch.randn(50, 4, SPEC.state_size)).sum().backward()
    assert (values.grad >= 0).all()
    assert (values.grad > 0).any()


def test_target_of_a_terminal_step_is_the_reward():
    learner, batch = make_qmix(), make_batch()
    targets = learner.td_targets(batch, learner.online(batch))
    ends = batch.terminated | batch.truncated
    assert ends.sum() == EPISODES
    torch.testing.assert_close(targets[ends], batch.reward[ends])
    others = batch.mask & ~ends
    assert not torch.isclose(targets[others], batch.reward[others]).any()


def test_time_out_convention_changes_only_last_steps_of_timed_out_episodes():
    batch = make_batch()
    assert batch.truncated.any()
    assert batch.terminated.any()
    targets = {}
    for convention in ("terminal", "bootstrap"):
        learner = make_qmix(rules={"truncation": convention})
        targets[convention] = learner.td_targets(batch, learner.online(batch))
    differs = (targets["terminal"] != targets["bootstrap"]) & batch.mask
    assert torch.equal(differs, batch.truncated)


@pytest.mark.parametrize("convention", ["terminal", "bootstrap"])
def test_a_victory_at_the_limit_counts_as_a_time_out_where_the_release_says_so(convention):
    episodes = random_episodes(7, EPISODES)
    episodes.terminated[:] = True
    batch, learner = make_batch(episodes), make_qmix(rules={"truncation": convention})
    targets, last = learner.td_targets(batch, learner.online(batch)), batch.length - 1
    every = torch.arange(EPISODES)
    is_reward = torch.isclose(targets, batch.reward)[last, every]
    at_limit = batch.length == SPEC.episode_limit
    assert at_limit.any()
    assert torch.equal(is_reward, ~at_limit | (convention == "terminal"))


def test_double_q_never_picks_an_unavailable_action():
    learner, batch = make_qmix(), make_batch()
    online = learner.online(batch)
    expected = learner.td_targets(batch, online)
    values = online.q_values
    best = values.masked_fill(batch.available, -1e9)  # raise what is unavailable sky-high
    tempting = torch.where(batch.available, values, best.abs() + 1e6)
    assert torch.equal(learner.td_targets(batch, online._replace(q_values=tempting)), expected)


def test_targets_are_copied_exactly_when_due():
    learner = make_qmix(target_interval=3)
    before = learner.targets["agent"].head.weight.clone()
    for update in range(1, 7):
        learner.update(make_batch())
        target, online = learner.targets["agent"].head.weight, learner.agent.head.weight
        if update % 3 == 0:
            assert torch.equal(target, online)
            before = target.clone()
        else:
            assert torch.equal(target, before)
            assert not torch.equal(target, online)


def test_targets_follow_slowly_where_their_rate_is_below_one():
    learner = make_qmix(target_interval=2, target_tau=0.1)
    parameters = [*learner.agent.parameters(), *learner.mixer.parameters()]
    targets = [p for target in learner.targets.values() for p in target.parameters()]
    expected = [target.clone() for target in targets]
    for update in range(1, 5):
        learner.update(make_batch())
        if update % 2 == 0:
            expected = [
                0.9 * old + 0.1 * p.detach() for old, p in zip(expected, parameters, strict=True)
            ]
        for target, value in zip(targets, expected, strict=True):
            torch.testing.assert_close(target, value)


def test_an_average_is_of_one_network_alone():
    with pytest.raises(ValueError, match="zip"):
        polyak_update(make_qmix().agent, make_qmix().mixer, tau=0.5)


def test_the_agents_best_actions_are_the_teams():
    """Of all joint actions none has a larger Q_tot than each agent's own best."""
    mixer, rng = make_qmix().mixer, torch.Generator().manual_seed(2)
    values = torch.randn(5, 4, SPEC.n_agents, SPEC.n_actions, generator=rng)
    state = torch.randn(5, 4, SPEC.state_size, generator=rng)
    agents = torch.arange(SPEC.n_agents)
    joint = itertools.product(range(SPEC.n_actions), repeat=SPEC.n_agents)
    with torch.no_grad():
        every = torch.stack([mixer(values[..., agents, torch.tensor(a)], state) for a in joint])
        torch.testing.assert_close(every.amax(0), mixer(values.amax(-1), state))


def test_shifted_last_actions_are_those_of_the_released_buffer():
    batch = make_batch()
    correct, shifted = batch.last_actions, make_batch(protocol="released").last_actions
    for episode, end in enumerate(batch.mask.sum(0).tolist()):
        actions = batch.actions[:end, episode].tolist()
        none = [-1] * SPEC.n_agents
        assert correct[: end + 1, episode].tolist() == [none, *actions]
        assert shifted[: end + 1, episode].tolist() == [none, none, *actions[:-2], actions[-1]]
