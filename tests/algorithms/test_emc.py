"""EMC: parity with the code that R3DM's authors ran, and invariants of curiosity and memory."""

import numpy as np
import pytest
import torch

from algorithms.emc import EMC
from algorithms.episodic_memory import EpisodicMemory
from algorithms.returns import discounted_sums
from benchmark.training.config import resolve_run
from tests.algorithms import official
from tests.algorithms.official import EPISODES, in_order, make
from tests.algorithms.parity import SPEC, random_episodes


def tables(learner: EMC) -> dict[str, official.Table]:
    agents = {
        "agent": learner.agent,
        "vdn": learner.vdn,
        "predictor": learner.predictor,
        "ema_vdn": learner.ema_vdn,
        "target agent": learner.targets["agent"],
        "target vdn": learner.targets["vdn"],
    }
    mixers = {"mixer": learner.mixer, "target mixer": learner.targets["mixer"]}
    return {name: official.recurrent_agent(agent) for name, agent in agents.items()} | {
        name: official.qplex_mixer(mixer) for name, mixer in mixers.items()
    }


def revisiting_episodes():
    """Other episodes, three of which pass through known states: exactly, nearly, and not quite."""
    first, second = random_episodes(7, EPISODES), random_episodes(8, EPISODES)
    second.state[:3] = first.state[:3]
    second.length[:3] = first.length[:3]
    second.state[1] *= np.float32(1 + 4e-6)
    second.state[2] *= np.float32(1 + 4e-5)
    return second


@pytest.mark.parametrize("memory", [False, True], ids=["without memory", "with memory"])
def test_released_emc_equals_the_authors_code(memory):
    """Bonus, losses, gradients and weights of all branches over a target copy and a refresh."""
    learner = make(
        EMC,
        protocol="released",
        curiosity=0.08,
        memory_weight=0.1 * memory,
        memory_capacity=1000,
        target_interval=2,
    )
    every, batch = tables(learner), in_order()
    seeds = [
        "agent",
        "mixer",
        "vdn",
        "predictor",
        "ema_vdn",
        "target agent",
        "target mixer",
        "target vdn",
    ]
    for seed, name in enumerate(seeds, 1):
        official.load(every[name], seed)
    if memory:
        learner.on_collect(random_episodes(7, EPISODES), 50)
        learner.memory.refresh()
        learner.on_collect(revisiting_episodes(), 100)
    bonuses = []

    def noted(*arguments, real=learner.intrinsic_reward):
        bonuses.append(real(*arguments))
        return bonuses[-1]

    learner.intrinsic_reward = noted
    for update in official.measured_in("emc_released")[
        "updates with memory" if memory else "updates"
    ]:
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in ("td", "attention", "predictor", "vdn", *["memory"] * memory):
            assert metrics[name] == pytest.approx(update[name], rel=1e-5)
        bonus = bonuses[-1].t().flatten().tolist()
        assert bonus == pytest.approx(update["bonus"], rel=1e-5, abs=1e-7)
        for name, norms in update["gradient_norms"].items():
            official.assert_gradients(every[name], norms)
        for name, sums in update["weights"].items():
            official.assert_weights(every[name], sums)


def look_up(memory: EpisodicMemory, episodes) -> list[float | None]:
    step = np.arange(episodes.state.shape[1])
    states = episodes.state[step <= episodes.length[:, None]]
    values, found = memory.read(torch.from_numpy(states))
    return [float(v) if f else None for v, f in zip(values, found, strict=True)]


def test_memory_equals_the_authors_tree():
    """Hits and values before and after each renewal of the index, with states that come back."""
    learner = make(EMC, memory_weight=0.1, memory_capacity=1000)
    first, second = random_episodes(7, EPISODES), revisiting_episodes()
    expected = iter(official.measured_in("emc_released")["memory"])
    for episodes in (first, second):
        learner.on_collect(episodes, 0)
        for _ in range(2):
            for asked in (first, second):
                values = next(expected)
                got = look_up(learner.memory, asked)
                assert [v is None for v in got] == [v is None for v in values]
                assert [v for v in got if v is not None] == pytest.approx(
                    [v for v in values if v is not None], rel=1e-5
                )
            learner.memory.refresh()
    assert next(expected, None) is None


def test_each_loss_trains_its_own_branch():
    learner, batch = make(EMC, memory_weight=0.1), in_order()
    learner.on_collect(random_episodes(7, EPISODES), 50)
    learner.memory.refresh()
    online = learner.online(batch)
    online.extras.update(learner.prepare(batch))
    losses = learner.auxiliary_losses(batch, online)
    losses["td"] = learner.td_loss(batch, online)
    reached = {}
    for name, loss in losses.items():
        learner.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)
        named = learner.named_parameters()
        reached[name] = {n.split(".")[0] for n, p in named if p.grad is not None and p.grad.any()}
    acting = {"agent", "mixer"}
    assert reached == {
        "attention": {"mixer"},
        "predictor": {"predictor"},
        "vdn": {"vdn"},
        "memory": acting,
        "td": acting,
    }


def test_curiosity_pays_on_real_steps_only():
    learner, batch = make(EMC, curiosity=0.5), in_order()
    bonus = learner.intrinsic_reward(batch, learner.online(batch))
    assert (bonus[batch.mask] > 0).all()
    assert (bonus[~batch.mask] == 0).all()
    assert (~batch.mask).any()


def test_the_branches_start_as_the_acting_agents_but_for_the_predictor():
    learner = make(EMC)
    for name, parameter in learner.agent.named_parameters():
        for branch in (learner.vdn, learner.ema_vdn, learner.targets["vdn"]):
            assert torch.equal(branch.get_parameter(name), parameter)
        assert not torch.equal(learner.predictor.get_parameter(name), parameter)


def test_the_slow_copy_follows_in_closed_form():
    learner = make(EMC, ema_tau=0.1)
    expected = [p.detach().clone() for p in learner.ema_vdn.parameters()]
    for _ in range(3):
        learner.update(in_order())
        for mine, leader in zip(expected, learner.vdn.parameters(), strict=True):
            mine.mul_(0.9).add_(leader.detach(), alpha=0.1)
    for mine, slow in zip(expected, learner.ema_vdn.parameters(), strict=True):
        torch.testing.assert_close(slow, mine)


@pytest.mark.parametrize(
    ("map", "protocol", "begin", "factor", "interval", "floor"),
    [
        ("5m_vs_6m", "unified", 0.001, 0.9, 100_000, 0.0),
        ("MMM2", "unified", 0.001, 0.9, 100_000, 0.0),
        ("MMM2", "released", 0.08, 0.95, 100_000, 0.01),
        ("3s5z_vs_3s6z", "unified", 0.08, 0.95, 100_000, 0.01),
        ("corridor", "released", 0.1, 0.8, 200_000, 0.01),
        ("6h_vs_8z", "unified", 0.2, 0.9, 200_000, 0.01),
    ],
)
def test_kappa_falls_step_by_step_onto_its_floor(map, protocol, begin, factor, interval, floor):
    run = resolve_run(map=map, algorithm="emc", seed=0, protocol=protocol)
    learner = EMC(SPEC, run.hyperparameters, run.training, seed=0)
    kappa = begin
    for stage in range(80):
        for learner.env_steps in (stage * interval, (stage + 1) * interval - 1):
            assert learner.kappa() == pytest.approx(kappa)
        kappa = kappa * factor if kappa > floor else floor
    assert floor == 0 or kappa == floor


def memory(capacity: int = 100) -> EpisodicMemory:
    return EpisodicMemory(SPEC.state_size, capacity)


def states(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, SPEC.state_size, generator=torch.Generator().manual_seed(seed))


def test_memory_keeps_the_best_return_and_never_less():
    kept, known = memory(), states(5)
    for returns in ([1.0, 5.0, 3.0, 0.0, -2.0], [4.0, 2.0, 3.5, -1.0, -3.0]):
        kept.write(known, torch.tensor(returns))
        kept.refresh()
    values, found = kept.read(known)
    assert found.all()
    assert values.tolist() == [4.0, 5.0, 3.5, 0.0, -2.0]


def test_memory_shows_new_entries_from_the_next_refresh_on():
    kept = memory()
    kept.write(states(3), torch.ones(3))
    assert not kept.read(states(3))[1].any()
    kept.refresh()
    kept.write(states(2, seed=1), torch.ones(2))
    assert kept.read(states(3))[1].all()
    assert not kept.read(states(2, seed=1))[1].any()
    kept.refresh()
    assert kept.read(states(2, seed=1))[1].all()
    assert not kept.read(states(2, seed=2))[1].any()


def test_memory_drops_what_was_not_used_for_longest():
    kept, old = memory(capacity=4), states(4)
    kept.write(old, torch.arange(4.0))
    kept.refresh()
    kept.read(old[[0, 2, 3]])
    new = states(1, seed=1)
    kept.write(new, torch.tensor([9.0]))
    assert kept.size == 4
    assert kept.read(old)[1].tolist() == [True, False, True, True]
    assert not kept.read(new)[1].any()  # it holds a dropped entry's place, but is not yet indexed
    kept.refresh()
    assert kept.read(new)[0].tolist() == [9.0]
    assert kept.read(old)[0].tolist() == [0.0, 0.0, 2.0, 3.0]


def test_memory_hides_a_state_that_came_back_to_its_old_place():
    kept = memory(capacity=1)
    kept.write(states(1), torch.ones(1))
    kept.refresh()
    kept.write(states(1, seed=1), torch.ones(1))
    kept.write(states(1), torch.ones(1))
    assert not kept.read(states(1))[1].any()
    kept.refresh()
    assert kept.read(states(1))[1].all()


def test_memory_continues_bit_for_bit():
    first, second = memory(8), memory(8)
    first.write(states(6), torch.arange(6.0))
    first.refresh()
    first.read(states(3))
    first.write(states(3, seed=1), torch.ones(3))  # over the capacity, not yet visible
    second.load_state_dict(first.state_dict())
    for kept in (first, second):
        kept.read(states(4))
        kept.write(states(4, seed=2), torch.ones(4))
        kept.refresh()
    for name in ("keys", "values", "used", "visible"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    everything = torch.cat([states(6), states(3, seed=1), states(4, seed=2)])
    assert all(map(torch.equal, first.read(everything), second.read(everything)))


def test_memory_pulls_where_it_remembers_and_nowhere_else():
    learner, batch = make(EMC, memory_weight=1.0), in_order()
    online = learner.online(batch)

    def loss() -> torch.Tensor:
        online.extras.update(learner.prepare(batch))
        return learner.memory_loss(batch, online)

    assert loss() == 0  # nothing is remembered yet
    learner.on_collect(random_episodes(7, EPISODES), 50)
    assert loss() == 0  # or visible
    learner.memory.refresh()
    returns = discounted_sums(batch.reward.where(batch.mask, 0), 0.99)
    expected = (online.q_tot - returns).square()[batch.mask].mean()  # every state was seen once
    torch.testing.assert_close(loss(), expected)


def test_the_index_is_renewed_with_the_targets():
    learner = make(EMC, target_interval=2)
    learner.on_collect(random_episodes(7, EPISODES), 50)
    losses = []
    for _ in range(3):
        learner.update(in_order())
        losses.append(learner.read_metrics()["memory"])
    assert losses[:2] == [0, 0]
    assert losses[2] > 0
