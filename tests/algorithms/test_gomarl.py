"""GoMARL: parity with the code that R3DM's authors ran, and invariants of groups."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from algorithms import gomarl
from algorithms.gomarl import GoMARL, Group, GroupMixer
from algorithms.returns import discounted_sums, lambda_returns
from tests.algorithms import official
from tests.algorithms.official import EPISODES, in_order, make
from tests.algorithms.parity import SPEC


def sequential(name: str, layers) -> official.Table:
    """A Linear-ReLU-Linear chain."""
    return official.linear(f"{name}.0", layers[0]) | official.linear(f"{name}.2", layers[2])


def agent_table(agent) -> official.Table:
    trunk = official.linear("fc1", agent.encoder)
    for name, parameter in agent.gru.named_parameters():
        trunk[f"rnn.{name.removesuffix('_l0')}"] = (parameter, official.same)
    head = official.linear("hyper_w.0", agent.head["weight"])
    head |= official.linear("hyper_b.0", agent.head["bias"])
    return trunk | sequential("hyper_group", agent.embedding) | head


def agent_weights(mixer, k: int) -> official.Table:
    table = official.grouped(f"hyper_w1.{k}.0", mixer.w1_hidden, k)
    return table | official.grouped(f"hyper_w1.{k}.2", mixer.w1, k)


def group_table(group: Group, k: int) -> official.Table:
    table = official.linear(f"hyper_b1.{k}.0", group.b1)
    return table | sequential(f"hyper_w2.{k}", group.w2) | sequential(f"hyper_b2.{k}", group.b2)


def mixer_table(mixer, groups: int) -> official.Table:
    table = {}
    for k in range(SPEC.n_agents):
        table |= agent_weights(mixer, k)
    for k in range(groups):
        table |= group_table(mixer.groups[k], k)
    for name in ("w3", "w4", "b4"):
        table |= sequential(f"hyper_{name}", getattr(mixer, name))
    return table | official.linear("hyper_b3.0", mixer.b3)


def tables(learner: GoMARL, groups: int) -> dict[str, official.Table]:
    target = learner.targets
    return {
        "agent": agent_table(learner.agent),
        "mixer": mixer_table(learner.mixer, groups),
        "target agent": agent_table(target["agent"]),
        "target mixer": mixer_table(target["mixer"], groups),
    }


class Stored:
    """A replay buffer that gives the same batch whatever is asked."""

    def __init__(self, batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return self.batch.size

    def sample(self, size, rng):
        return self.batch


def test_released_gomarl_equals_the_authors_code():
    """Losses, lambda returns, gradients and weights, before and after a regrouping."""
    released = {"target_interval": 2, "regroup_batch_size": 6}
    learner = make(GoMARL, protocol="released", **released)
    batch = in_order(final_action=learner.rules.final_action)
    for seed, table in enumerate(tables(learner, 1).values(), 1):
        official.load(table, seed)
    with torch.no_grad():
        for parameter, view in agent_weights(learner.mixer, 1).values():
            view(parameter.data).mul_(0.6)
    learner.env_steps = 250_000
    targets = []

    def noted(*arguments, real=learner.td_targets):
        targets.append(real(*arguments))
        return targets[-1]

    learner.td_targets = noted
    recorded = official.measured_in("gomarl_released")

    def assert_update(update, groups):
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in ("td", "lasso", "similarity"):
            assert metrics[name] == pytest.approx(update[name], rel=2e-5)
        got = targets[-1].where(batch.mask, 0).t().flatten().tolist()
        assert got == pytest.approx(update["targets"], rel=1e-5, abs=1e-6)
        every = tables(learner, groups)
        for name, norms in update["gradient_norms"].items():
            trained = {key: every[name][key] for key in norms}
            official.assert_gradients(trained, norms)
        for name, sums in update["weights"].items():
            official.assert_weights(every[name], sums)

    for update in recorded["updates"][:2]:
        assert_update(update, groups=1)
    weights = learner.replayed_weights(batch).tolist()
    assert weights == pytest.approx(recorded["weights before regrouping"], rel=1e-5)
    learner.after_round(Stored(batch))
    assert learner.targets["mixer"].members == learner.mixer.members
    assert (learner.mixer.members, int(learner.mixer.turn)) == (
        recorded["groups"],
        recorded["turn"],
    )
    for mixer in (learner.mixer, learner.targets["mixer"]):
        official.load(agent_weights(mixer, 1) | group_table(mixer.groups[1], 1), 9)
    for update in recorded["updates"][2:]:
        assert_update(update, groups=2)


def groups_of(*members: list[int]) -> GroupMixer:
    """A mixer of these groups."""
    agents = sum(map(len, members))
    mixer = GroupMixer(agents, SPEC.state_size, 8, 4, "trained")
    mixer.assign(
        torch.tensor([[i in group for group in members].index(True) for i in range(agents)])
    )
    return mixer


def run(mixer: GroupMixer, seed: int = 0):
    """Random inputs of a mixer; the values take gradients."""
    rng, agents = torch.Generator().manual_seed(seed), len(mixer.group)
    shapes = [(5, 3, agents), (5, 3, agents, 8), (5, 3, agents, 4), (5, 3, SPEC.state_size)]
    drawn = [torch.randn(shape, generator=rng) for shape in shapes]
    drawn[0].requires_grad_()
    return drawn


def test_the_mixer_equals_its_equations_agent_by_agent():
    mixer = groups_of([0, 2, 3], [1, 4])
    values, memory, embedding, state = run(mixer)
    total = mixer.b4(state).squeeze(-1)
    inner = 0
    for k, members in enumerate(([0, 2, 3], [1, 4])):
        hidden = 0
        for i in members:
            w1 = memory[:, :, i] @ mixer.w1_hidden.weight[i] + mixer.w1_hidden.bias[i]
            w1 = (w1.relu() @ mixer.w1.weight[i] + mixer.w1.bias[i]).abs()
            hidden = hidden + values[..., i, None] * w1 + mixer.groups[k].b1(memory[:, :, i])
        pooled = embedding[:, :, members].max(2).values
        part = (F.elu(hidden) * mixer.groups[k].w2(pooled).abs()).sum(-1, keepdim=True)
        part = part + mixer.groups[k].b2(pooled)
        inner = inner + part * mixer.w3(pooled).abs() + mixer.b3(pooled)
    total = total + (F.elu(inner) * mixer.w4(state).abs()).sum(-1)
    torch.testing.assert_close(mixer(values, memory, embedding, state)[0], total)


def test_the_mixer_is_monotonic():
    mixer = groups_of([0, 2, 3], [1, 4])
    values, *others = run(mixer)
    mixer(values, *others)[0].sum().backward()
    assert (values.grad >= 0).all()
    assert (values.grad > 0).any(0).any(0).all()


def regrouped(mixer: GroupMixer, weights: list[float]) -> list[list[int]]:
    changed = mixer.regroup(torch.tensor(weights), 0.7, torch.Generator().manual_seed(0))
    assert sorted(agent for group in mixer.members for agent in group) == list(range(len(weights)))
    assert all(mixer.members)  # nobody is alone in having left
    assert changed == (mixer.turn != 0)
    return mixer.members


def test_members_far_below_their_groups_mean_move_on():
    assert regrouped(groups_of([0, 1, 2, 3]), [1.0, 1.0, 0.9, 0.8]) == [[0, 1, 2, 3]]
    assert regrouped(groups_of([0, 1, 2, 3]), [1.0, 0.2, 1.0, 0.1]) == [[0, 2], [1, 3]]
    # Two never split. Nobody moves twice. A first group's movers join the second group.
    assert regrouped(groups_of([0, 1], [2]), [1.0, 0.0, 1.0]) == [[0, 1], [2]]
    moved = regrouped(groups_of([0, 1, 2], [3, 4, 5]), [1.0, 1.0, 0.1, 1.0, 1.0, 0.1])
    assert moved == [[0, 1], [2, 3, 4], [5]]


def test_any_sequence_of_regroupings_keeps_a_partition():
    rng = np.random.default_rng(0)
    mixer = groups_of([*range(9)])
    for _ in range(40):
        before = mixer.group.clone()
        mixer.turn.zero_()
        regrouped(mixer, rng.random(9).round(2).tolist())
        assert ((mixer.group - before) <= 1).all()
        assert ((mixer.group - before) >= 0).all()
    assert len(mixer.members) > 2


def test_movers_hypernetworks_start_anew_and_no_others():
    mixer = groups_of([0, 1, 2, 3])
    before = {name: p.detach().clone() for name, p in mixer.named_parameters()}
    mixer.regroup(torch.tensor([1.0, 0.1, 1.0, 1.0]), 0.7, torch.Generator().manual_seed(0))
    for name, parameter in mixer.named_parameters():
        same = [torch.equal(a, b) for a, b in zip(parameter, before[name], strict=True)]
        assert same == [True, False, True, True] if name.startswith("w1") else all(same)


def test_regrouping_comes_when_it_is_due_and_copies_the_targets():
    """On a grid of env steps, not before enough episodes are stored."""
    learner, batch = make(GoMARL, regroup_interval=1000, regroup_batch_size=EPISODES), in_order()
    weights = {"calls": 0}

    def counted(_):
        weights["calls"] += 1
        return torch.tensor([1.0, 0.1, 1.0])

    learner.replayed_weights = counted
    learner.update(batch)
    for learner.env_steps in (500, 999):
        learner.after_round(Stored(batch))
    assert weights["calls"] == 0
    learner.env_steps = 1000
    learner.after_round(Stored(batch))
    assert weights["calls"] == 4
    assert learner.mixer.group.tolist() == [0, 1, 0]
    target = learner.targets["mixer"].state_dict()
    assert all(torch.equal(target[k], v) for k, v in learner.mixer.state_dict().items())
    learner.env_steps = 1999
    learner.after_round(Stored(batch))
    assert weights["calls"] == 4
    few = make(GoMARL, regroup_interval=1000)  # 256 episodes
    few.replayed_weights, few.env_steps = counted, 1000
    few.after_round(Stored(batch))
    assert weights["calls"] == 4


@pytest.mark.parametrize("protocol", ["unified", "released"])
def test_regrouping_in_parts_sees_the_whole_sample(protocol, monkeypatch):
    learner, batch = make(GoMARL, protocol), in_order()
    expected = learner.replayed_weights(batch)
    whole = batch.actions.shape[0]
    monkeypatch.setattr(gomarl, "_PART", 2)
    parts = batch.split(2)
    assert [part.size for part in parts] == [2, 2, 2]
    assert any(part.mask.sum(0).max() < whole for part in parts)
    torch.testing.assert_close(learner.replayed_weights(batch), expected)


@pytest.mark.parametrize("protocol", ["unified", "released"])
def test_new_groups_are_trained_but_in_the_released_code(protocol):
    learner, batch = make(GoMARL, protocol), in_order()
    learner.mixer.assign(torch.tensor([0, 1, 0]))
    learner.move_targets()
    before = learner.mixer.groups[1].b1.weight.clone()
    for _ in range(2):
        learner.update(batch)
    assert torch.equal(learner.mixer.groups[1].b1.weight, before) == (protocol == "released")


def test_lasso_reaches_the_mixing_weights_of_the_turns_group_only():
    learner, batch = make(GoMARL), in_order()
    learner.mixer.assign(torch.tensor([0, 1, 0]))
    learner.mixer.turn.fill_(1)
    learner.auxiliary_losses(batch, learner.online(batch))["lasso"].backward()
    named = learner.named_parameters()
    reached = {name for name, p in named if p.grad is not None and p.grad.any()}
    assert {name.rsplit(".", 1)[0] for name in reached} == {"mixer.w1_hidden", "mixer.w1"}
    assert learner.mixer.w1.weight.grad.flatten(1).any(-1).tolist() == [False, True, False]


def test_lasso_falls_with_the_env_steps():
    learner, batch = make(GoMARL), in_order()
    online = learner.online(batch)
    losses = []
    for learner.env_steps in (0, 99_999, 100_000, 250_000):
        losses.append(float(learner.auxiliary_losses(batch, online)["lasso"].detach()))
    assert losses == pytest.approx([losses[0], losses[0], losses[0] * 0.96, losses[0] * 0.96**2])


def test_similarity_equals_the_sum_over_pairs():
    learner = make(GoMARL)
    embedding = torch.randn(4, 2, SPEC.n_agents, 32)
    learner.mixer.assign(torch.tensor([0, 1, 0]))
    expected = 0
    for i in range(SPEC.n_agents):
        for j in range(SPEC.n_agents):
            together = learner.mixer.group[i] == learner.mixer.group[j]
            cosine = F.cosine_similarity(embedding[:, :, i], embedding[:, :, j], dim=-1)
            expected = expected + (-cosine if together else cosine)
    torch.testing.assert_close(learner.similarity_difference(embedding), expected / 9)
    learner.mixer.assign(torch.zeros(SPEC.n_agents))
    equal = embedding[:, :, :1].expand_as(embedding)
    torch.testing.assert_close(learner.similarity_difference(equal), -torch.ones(4, 2))


def test_td_never_reaches_the_embedding_through_the_agents_head():
    learner, batch = make(GoMARL), in_order()
    learner.online(batch).q_values.sum().backward()
    assert all(p.grad is None for p in learner.agent.embedding.parameters())
    assert learner.agent.head["weight"].weight.grad.any()
    assert learner.agent.encoder.weight.grad.any()


def test_generated_heads_equal_the_products_row_by_row():
    agent = make(GoMARL).agent
    memory, embedding = torch.randn(6, SPEC.n_agents, 64), torch.randn(6, SPEC.n_agents, 32)
    weight = agent.head["weight"](embedding).unflatten(-1, (64, SPEC.n_actions))
    expected = torch.einsum("mnh,mnha->mna", memory, weight) + agent.head["bias"](embedding)
    torch.testing.assert_close(agent.q_values(memory, embedding), expected, rtol=1e-4, atol=1e-5)


def test_lambda_returns_equal_the_backward_recursion():
    batch = in_order()
    reward, future = torch.rand_like(batch.reward), torch.rand_like(batch.reward)
    for gamma, td_lambda in ((0.99, 0.6), (0.9, 1.0), (0.99, 0.0)):
        expected, after = torch.zeros_like(reward), torch.zeros(batch.size)
        for t in reversed(range(len(reward))):
            last = torch.ones(batch.size, dtype=torch.bool)
            if t + 1 < len(reward):
                last = ~batch.mask[t + 1]
            mixed = (1 - td_lambda) * future[t] + td_lambda * gamma * after
            after = (reward[t] + future[t].where(last, mixed)).where(batch.mask[t], 0)
            expected[t] = after
        returns = lambda_returns(reward, future, batch.mask, gamma, td_lambda)
        torch.testing.assert_close(returns, expected)


def test_lambda_one_gives_discounted_returns_and_zero_the_one_step_targets():
    batch = in_order()
    whole = make(GoMARL, td_lambda=1.0)
    targets = whole.td_targets(batch, whole.online(batch))
    returns = discounted_sums(batch.reward.where(batch.mask, 0), 0.99)
    torch.testing.assert_close(targets, returns)
    one_step = make(GoMARL, td_lambda=0.0)
    nearly = make(GoMARL, td_lambda=1e-7)
    expected = one_step.td_targets(batch, one_step.online(batch)).where(batch.mask, 0)
    torch.testing.assert_close(nearly.td_targets(batch, nearly.online(batch)), expected)
