"""GoMARL: parity with the code that R3DM's authors ran, and invariants of groups."""

import pytest
import torch

from algorithms.gomarl import GoMARL, Group
from tests import official
from tests.official import in_order
from tests.parity import SPEC
from tests.test_cds import make


def sequential(name: str, layers) -> official.Table:
    """A Linear-ReLU-Linear chain."""
    return official.linear(f"{name}.0", layers[0]) | official.linear(f"{name}.2", layers[2])


def agent_table(agent) -> official.Table:
    trunk = official.linear("fc1", agent.encoder)
    for name, parameter in agent.memory.named_parameters():
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
    target = learner._targets
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
    learner, batch = make(GoMARL, protocol="released", **released), in_order()
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
    recorded = official.measured("gomarl")

    def assert_update(update, groups):
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in ("td", "lasso", "similarity"):
            assert metrics[name] == pytest.approx(update[name], rel=2e-5)
        got = targets[-1].where(batch.filled, 0).t().flatten().tolist()
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
    members = [each.tolist() for each in learner.mixer.members()]
    assert (members, int(learner.mixer.turn)) == (recorded["groups"], recorded["turn"])
    for mixer in (learner.mixer, learner._targets["mixer"]):
        official.load(agent_weights(mixer, 1) | group_table(mixer.groups[1], 1), 9)
    for update in recorded["updates"][2:]:
        assert_update(update, groups=2)
