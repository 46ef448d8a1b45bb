"""R3DM: parity with the authors' module, and invariants of its rewards and world models."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from algorithms import acorm
from algorithms.acorm import ACORM
from algorithms.counterfactual import counterfactual_values
from algorithms.packing import Packing
from algorithms.r3dm import R3DM
from algorithms.world_model import squared_errors, symlog
from benchmark.training.replay import ReplayBuffer
from tests.algorithms.official import (
    EPISODES,
    NO_PRETRAINING,
    by_first_feature,
    fill_acorm,
    make,
    make_batch,
    measured_in,
    sums,
)
from tests.algorithms.parity import (
    SPEC,
    fill_parameters,
    random_episodes,
)


def make_r3dm(protocol="unified", **changes) -> R3DM:
    return make(R3DM, protocol, **{"clusters": 2} | changes)


def rewards(learner, batch) -> torch.Tensor:
    """The intrinsic reward of a batch, [T, B], from the streams' present state."""
    learner = copy.deepcopy(learner)
    with torch.no_grad():
        bonus = learner.intrinsic_reward(batch, learner.online(batch))
        return torch.where(batch.mask, bonus, 0)


def set_uniforms(monkeypatch, value=0.5):
    monkeypatch.setattr(R3DM, "_uniforms", lambda self, stream, rows: torch.full((rows, 16), value))


def fill(learner: R3DM) -> dict[str, nn.Module]:
    """The weights of the recorded comparisons; the networks by the names of the recordings."""
    models = {name: learner.models[name] for name in ("agnostic", "role")}
    models |= {f"ema_{name}": learner.ema_models[name] for name in ("agnostic", "role")}
    for seed, model in enumerate(models.values(), start=21):
        fill_parameters(model, seed)
        for head in (model.prior[-1], model.posterior[-1]):
            head.weight.data.mul_(6)
    return models | fill_acorm(learner)


def assert_equals_recorded(step: dict, metrics: dict, modules: dict[str, nn.Module]) -> None:
    """Losses of the contrast and the models, and the sum of every parameter, after one update."""
    for name in {"pretraining", "contrastive"} & set(step):
        if step[name]:
            assert metrics[name] == pytest.approx(step[name], rel=1e-4)
    for name in ("agnostic", "role"):
        for part in ("decoder", "kl"):
            expected = pytest.approx(step[f"model_{name}"][part], rel=1e-4)
            assert metrics[f"model_{name}_{part}"] == expected
        norm = metrics[f"model_{name}_gradient_norm"]
        assert norm == pytest.approx(step[f"model_{name}"]["gradient_norm"], rel=1e-3)
    for name in modules.keys() & step["weights"].keys():
        expected = pytest.approx(step["weights"][name], rel=1e-4, abs=3e-3)
        assert sums(modules[name]) == expected, name


@pytest.mark.parametrize("fixture", ["r3dm_released", "r3dm_released_horizon"])
def test_released_r3dm_equals_the_authors_module(monkeypatch, fixture):
    """World models, rewards and TD steps, with the padding leak of longer horizons."""
    monkeypatch.setattr(acorm, "cluster", by_first_feature)
    set_uniforms(monkeypatch)
    measured = measured_in(fixture)
    learner = make_r3dm(
        "released",
        **NO_PRETRAINING,
        **{name: measured[name] for name in ("beta1", "beta2", "beta3", "horizon")},
        target_interval=2,
        contrastive_interval=2,
        learning_rate_decay_interval=2,
    )
    modules = fill(learner)
    monkeypatch.setattr(R3DM, "intrinsic_reward", spied := spy(R3DM.intrinsic_reward))

    for step in measured["steps"]:
        batch = make_batch(protocol="released")
        learner.update(batch, batch)
        metrics = learner.read_metrics()
        assert metrics["td"] == pytest.approx(step["td"], rel=2e-4)
        reward = torch.where(batch.mask, spied.seen[-1] / learner.config.alpha, 0)
        assert reward.sum().item() == pytest.approx(step["intrinsic_real"], rel=1e-3, abs=1e-2)
        first = pytest.approx(step["intrinsic_first_steps"], rel=1e-3, abs=1e-3)
        assert sorted(reward[0].tolist()) == first
        last = reward[batch.mask.sum(0) - 1, torch.arange(EPISODES)]
        expected = pytest.approx(step["intrinsic_last_steps"], rel=1e-3, abs=1e-3)
        assert sorted(last.tolist()) == expected
        assert_equals_recorded(step, metrics, modules)


def test_released_pretraining_equals_the_authors_module(monkeypatch):
    """Copies of the models while the embedding is trained, averages in the contrastive steps."""
    monkeypatch.setattr(acorm, "cluster", by_first_feature)
    set_uniforms(monkeypatch)
    learner = make_r3dm("released", embedding_pretraining=2, contrastive_pretraining=2)
    modules = fill(learner)
    for step in measured_in("r3dm_released_pretraining")["steps"]:
        before = [p.clone() for p in learner.ema_models.parameters()]
        batch = make_batch(protocol="released")
        learner.update(batch, batch)
        assert_equals_recorded(step, learner.read_metrics(), modules)
        # The sums above are not sharp enough for the rate of the averages.
        pairs = zip(before, learner.models.parameters(), strict=True)
        way = torch.cat([(new.detach() - old).double().flatten() for old, new in pairs])
        pairs = zip(before, learner.ema_models.parameters(), strict=True)
        moved = torch.cat([(mine - old).double().flatten() for old, mine in pairs])
        tau = (moved @ way / (way @ way)).item()
        assert tau == pytest.approx(1 if "pretraining" in step else 0.005, rel=1e-2)


def spy(method):
    """The method, keeping what it returned."""

    def spied(self, *arguments):
        spied.seen.append(method(self, *arguments))
        return spied.seen[-1]

    spied.seen = []
    return spied


@pytest.mark.parametrize("protocol", ["unified", "released"])
def test_alpha_zero_is_acorm_bit_for_bit(protocol):
    changes = {
        "embedding_pretraining": 3,
        "contrastive_pretraining": 2,
        "contrastive_interval": 2,
        "target_interval": 4,
    }
    plain = make(ACORM, protocol, clusters=2, last_greedy_memory="carried", **changes)
    rewarded = make_r3dm(protocol, alpha=0.0, **changes)
    for update in range(20):
        batch = make_batch(random_episodes(update, EPISODES))
        plain.update(batch)
        rewarded.update(batch, make_batch(random_episodes(1000 + update, EPISODES)))
    mine = dict(rewarded.named_parameters())
    assert all(torch.equal(mine[name], p) for name, p in plain.named_parameters())
    for name, target in plain.targets.items():
        for a, b in zip(target.parameters(), rewarded.targets[name].parameters(), strict=True):
            assert torch.equal(a, b)


def test_the_released_leak_touches_the_last_steps_of_short_episodes(monkeypatch):
    set_uniforms(monkeypatch)
    batch, horizon = make_batch(), 3
    ours = rewards(make_r3dm(horizon=horizon), batch)
    theirs = rewards(make_r3dm(horizon=horizon, imagination_end="batch"), batch)
    differs = ((ours - theirs).abs() > 1e-5) & batch.mask
    length = batch.mask.sum(0)
    step = torch.arange(len(ours)).unsqueeze(1)
    short = length < length.max()
    assert torch.equal(differs, batch.mask & short & (step > length - horizon))


@pytest.mark.parametrize("end", ["batch", "episode"])
def test_the_leak_reads_what_longer_episodes_left_in_the_replay(monkeypatch, end):
    """Only imagination without an end sees the tails, from the last steps of short episodes."""
    set_uniforms(monkeypatch)
    found, horizon = {}, 3
    for tails in ("zeros", "stale"):
        buffer = ReplayBuffer(SPEC, EPISODES, tails=tails)
        for seed in range(3):
            buffer.add(random_episodes(seed, EPISODES))
        batch = buffer.sample(EPISODES, np.random.default_rng(0))
        found[tails] = rewards(make_r3dm(horizon=horizon, imagination_end=end), batch)
    differs = (found["zeros"] - found["stale"]).abs() > 1e-5
    step, length = torch.arange(len(differs)).unsqueeze(1), batch.length
    leaking = batch.mask & (length < length.max()) & (step > length - horizon)
    assert differs.any() == (end == "batch")
    assert not (differs & ~leaking).any()


#: Only the present step counts in the policy term.
NOTHING_IMAGINED = torch.zeros(0, 1, EPISODES, 1, 1)


def policy_term(learner, batch, roles=None):
    with torch.no_grad():
        inputs, _ = learner.encode(batch)
        if roles is not None:
            inputs = torch.cat([inputs[..., :-64], roles(inputs[..., -64:])], dim=-1)
        return learner.policy_term(batch, inputs[:-1], NOTHING_IMAGINED)


def equal(roles):
    return roles[:, :, :1].expand_as(roles)


@pytest.mark.parametrize("counterfactual", ["history", "step"])
def test_policy_term_is_zero_for_equal_roles_and_bounded(counterfactual):
    learner, batch = make_r3dm(counterfactual=counterfactual), make_batch()
    fill_parameters(learner.agent, 3)
    assert policy_term(learner, batch, equal).abs().max() < 1e-6
    different = policy_term(learner, batch)
    assert different[batch.mask].min() > -1e-6
    assert different[batch.mask].max() > 1e-6
    assert different.max() <= math.log(SPEC.n_agents)
    assert different[~batch.mask].abs().max() == 0


def test_sharpness_of_the_code_pays_equal_roles_and_the_papers_does_not():
    batch = make_batch()
    for sharpness, pays in (("beta1", True), ("one", False)):
        learner = make_r3dm(beta1=2.0, policy_sharpness=sharpness)
        fill_parameters(learner.agent, 3)
        assert (policy_term(learner, batch, equal).max() > 1e-3) == pays


def test_policy_term_equals_the_explicit_loop():
    """All pairs one by one through the whole agent network, role histories concatenated."""
    learner, batch = make_r3dm(beta1=0.7), make_batch()
    inputs, _ = learner.encode(batch)
    inputs = inputs[:-1].detach()
    seen, roles = inputs[..., :-64], inputs[..., -64:]
    expected = torch.zeros(*inputs.shape[:3])
    for i in range(SPEC.n_agents):
        values = []
        for j in range(SPEC.n_agents):
            paired = torch.cat([seen[:, :, i : i + 1], roles[:, :, j : j + 1]], dim=-1)
            values.append(learner.agent(paired)[0][:, :, 0].detach())
        own = (0.7 * values[i]).softmax(-1)
        mean = torch.stack([swapped.softmax(-1) for swapped in values]).mean(0)
        expected[:, :, i] = (own * (own / mean).log()).sum(-1)
    real = batch.mask.unsqueeze(-1).expand_as(expected)
    with torch.no_grad():
        torch.testing.assert_close(
            learner.policy_term(batch, inputs, NOTHING_IMAGINED)[real],
            expected[real],
            atol=1e-6,
            rtol=1e-4,
        )


def test_an_agent_in_its_own_role_has_the_values_of_the_td_step():
    learner, batch = make_r3dm(), make_batch()
    with torch.no_grad():
        online = learner.online(batch)
        swapped = counterfactual_values(learner.agent, online.inputs[:-1], 64, batch.mask_cpu)
    own = swapped.diagonal(dim1=1, dim2=2).transpose(1, 2)  # [P, N, A], long episodes first
    packing = Packing(batch.mask_cpu, SPEC.n_agents, own.device)
    expected = packing.pack(online.q_values[:-1]).unflatten(0, (-1, SPEC.n_agents))
    torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)


def test_last_step_counterfactual_equals_the_explicit_loop():
    """The agent's own history, another's role in the last step only (the paper's text)."""
    learner, batch = make_r3dm(counterfactual="step"), make_batch()
    inputs, _ = learner.encode(batch)
    inputs = inputs[:-1].detach()
    mine = policy_term(learner, batch)
    for step in (0, 1, 3):
        values = []
        for j in range(SPEC.n_agents):
            swapped = inputs[: step + 1].clone()
            swapped[step, :, :, -64:] = inputs[step, :, j : j + 1, -64:]
            values.append(learner.agent(swapped)[0][-1].detach())
        own = learner.agent(inputs[: step + 1])[0][-1].detach().softmax(-1)
        mean = torch.stack([swapped.softmax(-1) for swapped in values]).mean(0)
        expected = (own * (own / mean).log()).sum(-1)
        real = batch.mask[step]
        torch.testing.assert_close(mine[step][real], expected[real], atol=1e-6, rtol=1e-4)


def test_chunks_of_episodes_change_nothing(monkeypatch):
    learner, batch = make_r3dm(), make_batch()
    whole = policy_term(learner, batch)
    monkeypatch.setattr("algorithms.r3dm._CHUNK", 2 * len(batch.mask) * SPEC.n_agents**2)
    torch.testing.assert_close(policy_term(learner, batch), whole)


def test_a_single_agent_earns_nothing_for_its_role():
    spec = dataclasses.replace(SPEC, n_agents=1)
    learner = make_r3dm(spec=spec)
    batch = make_batch(random_episodes(3, EPISODES, spec), spec)
    assert policy_term(learner, batch).abs().max() < 1e-6


@pytest.mark.parametrize("beta1", [1.0, 0.4])
def test_equal_models_leave_only_the_error_of_one(monkeypatch, beta1):
    """A role model that ignores roles and equals the other: (1 - beta1) times the error."""
    set_uniforms(monkeypatch)
    learner, batch = make_r3dm(beta1=beta1, beta2=1.0), make_batch()
    agnostic, role = (learner.ema_models[name] for name in ("agnostic", "role"))
    weights = agnostic.state_dict()
    for name, weight in role.state_dict().items():
        if weight.shape != weights[name].shape:
            columns = weights[name].shape[1]
            weight[:, columns:] = 0
            weight = weight[:, :columns]
        weight.copy_(weights[name])
    with torch.no_grad():
        inputs, _ = learner.encode(batch)
        dynamics, latent, _ = learner.dynamics_terms(batch, inputs[..., -64:])
        learner.config = learner.config.model_copy(update={"beta1": 0.0})
        error, surprise, _ = learner.dynamics_terms(batch, inputs[..., -64:])
    for term, alone in ((dynamics, error), (latent, surprise)):
        assert alone[batch.mask].min() > 0
        torch.testing.assert_close(term, (1 - beta1) * alone, atol=1e-4, rtol=1e-4)


def imagined_alone(learner, batch, roles, name, place, frozen=False):
    """Steps t, t + 1, ... and the observation imagined after each, for one agent from one start.

    Args:
        roles: z[t], [T + 1, B, N, Z].
        name: of the model.
        place: start t, episode and agent.
        frozen: whether the role stays that of step t.
    """
    start, episode, agent = place
    length, last = int(batch.length[episode]), start + 1
    at = (slice(0, length + 1), episode, agent)
    obs, z, acted = symlog(batch.obs[at]), roles[at], learner.one_hot(batch.last_actions)[at]
    before = torch.cat([torch.zeros_like(z[:1]), z[:-1]])
    model, uniforms = learner.ema_models[name], torch.full((last, 16), 0.3)
    lived = obs[:last], acted[:last], before[:last]
    state = model.observe(*lived, [1] * last, uniforms).select([start])
    for t in range(start, min(start + learner.config.horizon, length)):
        role = z[start : start + 1] if frozen else z[t : t + 1]
        state = model.imagine(state, acted[t + 1 : t + 2], role, uniforms[:1])
        yield t, model.decode(state, role)


def some_places(batch):
    for episode in (0, 1):
        length = int(batch.length[episode])
        for agent in range(SPEC.n_agents):
            for start in (0, length // 2, length - 1):
                yield start, episode, agent


def test_imagination_at_once_equals_imagination_step_by_step(monkeypatch):
    """The batched rewards against one episode, one start and one imagined step after another."""
    set_uniforms(monkeypatch, 0.3)
    learner, batch = make_r3dm(horizon=3, beta1=0.8), make_batch()
    with torch.no_grad():
        inputs, _ = learner.encode(batch)
        roles = inputs[..., -64:]
        mine, _, _ = learner.dynamics_terms(batch, roles)
        for start, episode, agent in some_places(batch):
            surprise = {}
            for name in ("agnostic", "role"):
                steps = imagined_alone(learner, batch, roles, name, (start, episode, agent))
                obs = symlog(batch.obs[:, episode, agent])
                errors = [squared_errors(decoded, obs[t + 1 : t + 2]) for t, decoded in steps]
                surprise[name] = torch.stack(errors).mean()
            expected = surprise["agnostic"] - 0.8 * surprise["role"]
            torch.testing.assert_close(mine[start, episode, agent], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("roles_then", ["frozen", "replayed"])
@pytest.mark.parametrize("counterfactual", ["step", "history"])
def test_policy_term_over_all_steps_equals_the_explicit_loop(
    monkeypatch, counterfactual, roles_then, reduction
):
    """Equation 7, one start, agent and role after another, along the imagined observations."""
    set_uniforms(monkeypatch, 0.3)
    batch = make_batch()
    learner = make_r3dm(
        horizon=3,
        beta1=0.7,
        policy_sharpness="one",
        policy_steps="all",
        counterfactual=counterfactual,
        future_roles=roles_then,
        reward_reduction=reduction,
    )
    fill_parameters(learner.agent, 3)
    fill_parameters(learner.ema_models["role"], 4)
    frozen = roles_then == "frozen"

    def values(history, roles):
        """Q_i(. | j) after a history of [observation, last action] under these roles."""
        inputs = torch.cat([history, roles], dim=-1)[:, None, None]
        return learner.agent(inputs)[0][-1, 0, 0]

    with torch.no_grad():
        inputs, _ = learner.encode(batch)
        seen, roles = inputs[..., :-64], inputs[..., -64:]
        _, _, imagined = learner.dynamics_terms(batch, roles)
        mine = learner.policy_term(batch, inputs[:-1], imagined)
        actions = learner.one_hot(batch.last_actions)
        for start, episode, agent in some_places(batch):
            last = min(start + 3, int(batch.length[episode])) - 1  # the last step that is played
            at = (slice(None), episode, agent)
            history, terms = seen[at][: start + 1], []
            for t, decoded in imagined_alone(
                learner, batch, roles, "role", (start, episode, agent), frozen
            ):
                own = roles[at][: start + 1]  # z_i^0 ... z_i^t, then that of imagined steps
                later = [start if frozen else step for step in range(start + 1, t + 1)]
                own = torch.cat([own, roles[at][later]])
                of_roles = []
                for other in range(SPEC.n_agents):
                    others = roles[:, episode, other]
                    swapped = torch.cat([others[: start + 1], others[later]])
                    if counterfactual == "step":
                        swapped = torch.cat([own[:-1], swapped[-1:]])
                    of_roles.append(values(history, swapped).softmax(-1))
                policy, mean = of_roles[agent], torch.stack(of_roles).mean(0)
                terms.append((policy * (policy / mean).log()).sum())
                obs = decoded.sign() * decoded.abs().expm1()
                history = torch.cat([history, torch.cat([obs, actions[at][t + 1 : t + 2]], -1)])
            assert t == last
            expected = torch.stack(terms)
            expected = expected.mean() if reduction == "mean" else expected.sum()
            torch.testing.assert_close(mine[start, episode, agent], expected, atol=1e-6, rtol=1e-3)
        assert mine[~batch.mask].abs().max() == 0


def test_permuting_agents_permutes_their_rewards(monkeypatch):
    set_uniforms(monkeypatch)
    learner, batch = make_r3dm(), make_batch()
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        inputs, _ = learner.encode(batch)
        policy = learner.policy_term(batch, inputs[:-1], NOTHING_IMAGINED)
        dynamics, _, _ = learner.dynamics_terms(batch, inputs[..., -64:])
        for name in ("obs", "actions", "last_actions"):
            setattr(batch, name, getattr(batch, name)[:, :, order])
        inputs, _ = learner.encode(batch)
        moved = learner.policy_term(batch, inputs[:-1], NOTHING_IMAGINED)
        torch.testing.assert_close(moved, policy[:, :, order], atol=1e-6, rtol=1e-4)
        moved, _, _ = learner.dynamics_terms(batch, inputs[..., -64:])
        torch.testing.assert_close(moved, dynamics[:, :, order], atol=1e-5, rtol=1e-4)


def test_weights_and_reductions_scale_the_reward(monkeypatch):
    set_uniforms(monkeypatch)
    batch = make_batch()
    base = rewards(make_r3dm(alpha=0.1, horizon=2), batch)
    doubled = rewards(make_r3dm(alpha=0.2, horizon=2), batch)
    torch.testing.assert_close(doubled, 2 * base)
    summed = rewards(make_r3dm(alpha=0.1, horizon=2, beta3=0.0, reward_reduction="sum"), batch)
    mean = rewards(make_r3dm(alpha=0.1, horizon=2, beta3=0.0), batch)
    imagined = (batch.mask.flip(0).cumsum(0).flip(0)).clamp(max=2)
    torch.testing.assert_close(summed, mean * imagined * SPEC.n_agents)


def test_logged_returns_are_sums_per_episode():
    learner, batch = make_r3dm(), make_batch()
    with torch.no_grad():
        bonus = learner.intrinsic_reward(batch, learner.online(batch))
    logged = learner.read_metrics()
    task = batch.reward[batch.mask].sum().item() / EPISODES
    assert logged["return_task"] == pytest.approx(task)
    both = logged["return_policy"] + logged["return_dynamics"]
    assert both == pytest.approx(bonus[batch.mask].sum().item() / EPISODES, rel=1e-4)


def test_gradients_stay_where_they_belong():
    learner, batch = make_r3dm(**NO_PRETRAINING), make_batch()
    learner.train_models(batch, tau=0.01)
    reached = {n.split(".")[0] for n, p in learner.named_parameters() if p.grad is not None}
    assert reached == {"models"}
    assert not learner.td_targets(batch, learner.online(batch)).requires_grad


@pytest.mark.parametrize("changes", [NO_PRETRAINING, {"embedding_pretraining": 1}])
def test_world_models_learn_from_a_batch_of_their_own(changes):
    batches = [make_batch(random_episodes(seed, EPISODES)) for seed in (1, 2, 3)]
    after = {}
    for td, own in ((0, 1), (2, 1), (0, 2)):
        learner = make_r3dm(**changes)
        learner.update(batches[td], batches[own])
        model = learner.models["agnostic"]  # the other reads roles, which the first batch trains
        after[td, own] = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.equal(after[0, 1], after[2, 1])
    assert not torch.equal(after[0, 1], after[0, 2])


def test_gradients_of_each_world_model_are_clipped():
    for clip in (1e-3, 1e9):
        learner = make_r3dm(model_gradient_clip=clip)
        learner.train_models(make_batch(), tau=0.01)
        logged = learner.read_metrics()
        for name, model in learner.models.items():
            norm = math.hypot(*(float(p.grad.norm()) for p in model.parameters()))
            unclipped = logged[f"model_{name}_gradient_norm"]
            assert unclipped > 1e-3
            assert norm == pytest.approx(min(clip, unclipped), rel=1e-3)


def test_followers_start_equal_and_follow_at_their_rate():
    learner = make_r3dm(embedding_pretraining=1, contrastive_pretraining=0)

    def gap():
        pairs = zip(learner.models.parameters(), learner.ema_models.parameters(), strict=True)
        return max(float((a - b).detach().abs().max()) for a, b in pairs)

    assert gap() == 0
    learner.update(make_batch(), make_batch())  # pre-training copies
    assert gap() == 0
    before = [p.clone() for p in learner.ema_models.parameters()]
    learner.update(make_batch(), make_batch())
    assert gap() > 0
    triples = zip(before, learner.ema_models.parameters(), learner.models.parameters(), strict=True)
    for old, new, online in triples:
        torch.testing.assert_close(new, old.lerp(online.detach(), 0.009975))


def test_a_policy_is_kept_without_world_models_and_acts_alike():
    trained, fresh = make_r3dm(), make_r3dm()
    for number, parameter in enumerate(trained.parameters()):
        torch.nn.init.uniform_(parameter, -0.3, 0.3 + 0.01 * (number % 3))
    policy = trained.policy_state()
    assert not any("models" in name for name in policy)
    before = {name: value.clone() for name, value in fresh.models.state_dict().items()}
    fresh.load_policy_state(policy)
    obs = torch.randn(2, SPEC.n_agents, SPEC.obs_size)
    none = torch.full((2, SPEC.n_agents), -1)
    acted = [one.act(obs, none, one.initial_hidden(2))[0] for one in (trained, fresh)]
    torch.testing.assert_close(*acted, rtol=0, atol=0)
    for name, value in fresh.models.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    fresh.load_policy_state(trained.state_dict())  # as a checkpoint has it
    first = next(iter(policy))
    with pytest.raises(RuntimeError, match=f"{first} is missing"):
        fresh.load_policy_state({name: value for name, value in policy.items() if name != first})
