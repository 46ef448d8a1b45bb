"""EMC: parity with the code that R3DM's authors ran, and invariants of curiosity and memory."""

import numpy as np
import pytest
import torch

from algorithms.emc import EMC
from algorithms.episodic_memory import EpisodicMemory
from tests import official
from tests.official import EPISODES, in_order
from tests.parity import SPEC, random_episodes
from tests.test_cds import make


def tables(learner: EMC) -> dict[str, official.Table]:
    agents = {
        "agent": learner.agent,
        "vdn": learner.vdn,
        "predictor": learner.predictor,
        "slow_vdn": learner.slow_vdn,
        "target agent": learner._targets["agent"],
        "target vdn": learner._targets["vdn"],
    }
    mixers = {"mixer": learner.mixer, "target mixer": learner._targets["mixer"]}
    return {name: official.recurrent_agent(each) for name, each in agents.items()} | {
        name: official.qplex_mixer(each) for name, each in mixers.items()
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
        "slow_vdn",
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
    for update in official.measured("emc")["updates with memory" if memory else "updates"]:
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
    expected = iter(official.measured("emc")["memory"])
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
