"""Playing battles: what is recorded is what happened, and acting equals learning."""

import numpy as np
import pytest
import torch

from algorithms.learner import NEVER
from algorithms.qmix import QMIX
from benchmark.training import rollout
from benchmark.training.protocol import RULES, Training, epsilon, evaluation_grid
from benchmark.training.replay import ReplayBuffer
from benchmark.training.rollout import _Explorer, evaluate, explore
from tests.algorithms.official import InOrder
from tests.training.toy import SPEC, ToyEnv

SEEDS = np.array([0, 1, 2, 3, 4], np.uint64)  # lengths 2, 3, 4, 5 and a time-out


def make_learner(protocol="unified", **changes):
    rules = Training(**RULES[protocol] | {"n_envs": len(SEEDS)} | changes)
    return QMIX(SPEC, QMIX.Config(), rules, seed=0), rules


def play(learner, rules, rate=0.5, seed=0):
    env = ToyEnv(len(SEEDS))
    rng = np.random.default_rng(seed)
    episodes, outcome = explore(env, learner, rules, SEEDS, lambda step: rate, rng)
    return env, episodes, outcome


def test_recorded_episodes_are_what_happened():
    learner, rules = make_learner()
    env, episodes, outcome = play(learner, rules)
    assert (episodes.obs[np.arange(5), outcome.length] != 0).all(), "the end itself is recorded"
    assert outcome.length.tolist() == [2, 3, 4, 5, 6]
    assert outcome.battle_won.tolist() == [True] * 4 + [False]
    assert outcome.dead_allies.tolist() == [0, 1, 2, 0, 1]
    assert outcome.dead_enemies.tolist() == [1, 1, 1, 1, 0]
    assert episodes.terminated.tolist() == [True] * 4 + [False]
    for battle, length in enumerate(outcome.length):
        played = [actions[battle] for actions in env.actions[:length]]
        assert np.array_equal(episodes.actions[battle, :length], played)
        assert outcome.returns[battle] == np.sum(played)
        assert episodes.reward[battle, :length].sum() == np.sum(played)
    replayed = ToyEnv(len(SEEDS))
    seen = replayed.reset(SEEDS)
    for step in range(SPEC.episode_limit):
        running = step <= outcome.length
        assert np.array_equal(episodes.obs[running, step], seen.obs[running])
        assert np.array_equal(episodes.state[running, step], seen.state[running])
        assert np.array_equal(episodes.available[running, step], seen.available[running])
        seen = replayed.step(env.actions[step])


def test_recorded_episodes_are_as_long_as_the_longest():
    learner, rules = make_learner()
    episodes, _ = explore(
        ToyEnv(2), learner, rules, SEEDS[:2], lambda step: 0.5, np.random.default_rng(0)
    )  # of 2 and 3 steps
    shapes = {name: value.shape for name, value in vars(episodes).items()}
    assert shapes == {
        "obs": (2, 4, 2, 3), "state": (2, 4, 5), "available": (2, 4, 2, 4),
        "actions": (2, 4, 2), "reward": (2, 3), "terminated": (2,), "length": (2,),
    }  # fmt: skip


def test_greedy_acting_is_the_argmax_of_the_unrolled_values():
    """The same episode seen by acting and by learning gives the same choices."""
    learner, rules = make_learner(final_action="stored")
    _, episodes, _ = play(learner, rules, rate=0.0)
    buffer = ReplayBuffer(SPEC, len(SEEDS))
    buffer.add(episodes)
    batch = buffer.sample(len(SEEDS), InOrder())
    inputs = learner.inputs(batch.obs, batch.last_actions)
    values, _, _ = learner.agent(inputs, learner.initial_hidden(batch.size))
    greedy = values.masked_fill(~batch.available, NEVER).argmax(-1)
    assert torch.equal(greedy[:-1][batch.mask], batch.actions[batch.mask])
    end = batch.length, torch.arange(batch.size)
    assert np.array_equal(greedy[end], episodes.actions[end[::-1]])


def test_the_action_after_the_end_is_one_more_draw_of_the_same_exploration():
    """Without it everything else is the same; it is random where its coin says so."""
    learner, rules = make_learner()
    stored = Training(**rules.model_dump() | {"final_action": "stored"})
    env, without, _ = play(learner, rules)
    same_env, episodes, outcome = play(learner, stored)
    assert np.array_equal(env.actions, same_env.actions)
    assert np.array_equal(without.actions[:, :-1], episodes.actions[:, :-1])
    ends = np.arange(len(SEEDS)), outcome.length
    finals = {
        play(learner, stored, rate=1.0, seed=seed)[1].actions[ends].tobytes() for seed in range(20)
    }
    assert len(finals) > 10
    last = outcome.length.argmax()
    drawn = {int(np.frombuffer(final, np.uint8)[2 * last]) for final in finals}
    assert drawn == set(episodes.available[ends][last, 0].nonzero()[0])


def test_released_frozen_memory_skips_random_steps():
    learner, rules = make_learner("released")
    advanced = Training(**rules.model_dump() | {"hidden_on_random_steps": "advanced"})
    frozen_play = play(learner, rules)[1].actions
    assert not np.array_equal(frozen_play, play(learner, advanced)[1].actions)
    # With every step random the memory never moves, with none it always does.
    assert np.array_equal(
        play(learner, rules, rate=0.0)[1].actions, play(learner, advanced, rate=0.0)[1].actions
    )


def test_team_coin_is_all_or_nothing():
    learner, rules = make_learner("released")
    greedy = play(learner, rules, rate=0.0)[0].actions[0]
    differing = [
        (play(learner, rules, rate=0.5, seed=seed)[0].actions[0] != greedy).any(-1)
        for seed in range(50)
    ]
    assert 0.2 < np.mean(differing) < 0.6
    learner, rules = make_learner("unified")
    both = [
        (play(learner, rules, rate=1.0, seed=seed)[0].actions[0] == greedy).mean()
        for seed in range(50)
    ]
    assert 0.1 < np.mean(both) < 0.8


@pytest.mark.parametrize("per", ["agent", "team"])
def test_coins_and_random_actions_are_those_of_the_rules(per):
    """The greedy action, 0, is not available here, so that a random one is never taken for it."""
    battles, free = 6000, 3
    rules = Training(**RULES["unified"] | {"epsilon_per": per})
    asked = []
    explorer = _Explorer(rules, lambda step: asked.append(step) or 0.4, np.random.default_rng(0))
    available = np.broadcast_to(np.arange(5) % 4 > 0, (battles, 2, 5))  # actions 1, 2 and 3
    actions, whole_teams = explorer.choose(np.zeros((battles, 2), int), available, 17)
    assert asked == [17]
    random = actions > 0
    share = np.bincount(random.sum(-1), minlength=3) / battles
    expected = {"agent": [0.6**2, 2 * 0.6 * 0.4, 0.4**2], "team": [0.6, 0, 0.4]}[per]
    assert share == pytest.approx(expected, abs=0.03)
    assert np.array_equal(whole_teams, random.all(-1))
    both = np.bincount((actions[whole_teams] - 1) @ [free, 1], minlength=free**2)
    assert both / both.sum() == pytest.approx([1 / free**2] * free**2, abs=0.03)
    assert set(actions[random]) == {1, 2, 3}


def test_epsilon_counts_the_env_steps_of_all_battles_that_run():
    learner, rules = make_learner()
    asked = []
    explore(
        ToyEnv(5), learner, rules, SEEDS, lambda step: asked.append(step) or 0.0,
        np.random.default_rng(0),
    )  # fmt: skip
    assert asked == [0, 5, 10, 14, 17, 19]  # lengths 2, 3, 4, 5 and 6


def read_while_acting(learner):
    """A list that fills with (last actions, hidden state) as the agent reads them."""
    read, act = [], learner.act

    def spy(obs, last, hidden):
        read.append((last.clone(), hidden.clone()))
        return act(obs, last, hidden)

    learner.act = spy
    return read


@pytest.mark.parametrize("protocol", ["unified", "released"])
def test_exploring_agents_read_their_last_actions(protocol):
    learner, rules = make_learner(protocol)
    read = read_while_acting(learner)
    env, _, _ = play(learner, rules)
    assert (read[0][0] == -1).all()
    assert len(read) == len(env.actions)
    for (last, _), actions in zip(read[1:], env.actions, strict=False):
        assert np.array_equal(last, actions)


def test_frozen_memory_stays_where_the_team_acts_at_random(monkeypatch):
    learner, rules = make_learner("released")
    read, coins = read_while_acting(learner), []
    choose = _Explorer.choose

    def spy(self, *arguments):
        chosen = choose(self, *arguments)
        coins.append(chosen[1])
        return chosen

    monkeypatch.setattr(_Explorer, "choose", spy)
    play(learner, rules)
    assert 0 < np.mean(coins) < 1
    for (_, before), (_, after), random in zip(read, read[1:], coins, strict=False):
        stayed = (before == after).flatten(1).all(-1)
        assert np.array_equal(stayed, random)


def test_zero_last_action_in_evaluation_changes_what_the_agent_reads():
    learner, rules = make_learner()
    zero = Training(**rules.model_dump() | {"evaluated_last_action": "zero"})
    inputs = []
    original = learner.inputs

    def spy(obs, last_actions):
        inputs.append(last_actions.clone())
        return original(obs, last_actions)

    learner.inputs = spy
    evaluate(ToyEnv(5), learner, zero, SEEDS)
    assert all((last == -1).all() for last in inputs)
    inputs.clear()
    evaluate(ToyEnv(5), learner, rules, SEEDS)
    assert (inputs[0] == -1).all()
    assert all((last >= 0).all() for last in inputs[1:])


def test_a_gpu_gets_what_the_agents_read_in_one_copy(monkeypatch):
    """The CPU stands for it: what arrives is what was sent."""
    copies = []
    monkeypatch.setattr(rollout, "send", lambda values, _: copies.append(values) or values)
    obs = np.random.default_rng(0).standard_normal((5, 2, 3), np.float32)
    last = np.array([[-1, 0], [1, 2], [3, 36], [200, 0], [0, 0]])
    there, actions = rollout._sent(obs, last, torch.device("meta"))
    assert len(copies) == 1
    assert np.array_equal(there, obs)
    assert np.array_equal(actions, last)
    assert actions.dtype == torch.int64


@pytest.mark.parametrize("battles", [1, 2, 3, 5])
def test_evaluation_does_not_depend_on_how_many_battles_run_at_once(battles):
    learner, rules = make_learner()
    expected = evaluate(ToyEnv(5), learner, rules, SEEDS)
    outcome = evaluate(ToyEnv(battles), learner, rules, SEEDS)
    assert np.array_equal(outcome.length, expected.length)
    assert np.array_equal(outcome.returns, expected.returns)


def test_epsilon_is_linear_then_constant():
    rules = Training(**RULES["unified"])
    assert epsilon(rules, 0) == 1.0
    assert epsilon(rules, 40_000) == pytest.approx(0.51)
    assert epsilon(rules, 80_000) == epsilon(rules, 10**7) == pytest.approx(0.02)


def test_evaluations_begin_at_zero_and_end_at_the_budget():
    rules = Training(**RULES["unified"] | {"budget": 25, "evaluation_interval": 10})
    assert evaluation_grid(rules) == [0, 10, 20, 25]
    even = Training(**RULES["unified"] | {"budget": 20, "evaluation_interval": 10})
    assert evaluation_grid(even) == [0, 10, 20]


@pytest.mark.parametrize(
    "change",
    [{"epsilon_start": 1.5}, {"epsilon_end": 1.5}, {"epsilon_end": -1}, {"epsilon_steps": 0}],
)
def test_rules_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Training(**RULES["unified"] | change)


# A game that breaks down --------------------------------------------------------------------------


class FragileEnv(ToyEnv):
    """Breaks down in step 2 of battles with the given seeds, the first time that each is played."""

    def __init__(self, n_envs, fragile):
        super().__init__(n_envs)
        self.fragile = set(fragile)

    def step(self, actions):
        done = super().step(actions)
        breaks = [
            self._t == 2 and seed in self.fragile and bool(running or won)
            for seed, running, won in zip(
                self._seeds.tolist(), self._running, done.terminated, strict=True
            )
        ]
        self.fragile -= {s for s, broke in zip(self._seeds.tolist(), breaks, strict=True) if broke}
        broke = np.array(breaks)
        self._running &= ~broke
        for part in (done.obs, done.state, done.reward, done.terminated, done.battle_won):
            part[broke] = 0
        return done._replace(aborted=broke)


def test_battles_that_broke_down_are_not_collected():
    learner, rules = make_learner()
    rng = np.random.default_rng(0)
    env = FragileEnv(len(SEEDS), fragile=[0, 3])
    episodes, outcome = explore(env, learner, rules, SEEDS, lambda step: 0.5, rng)
    assert outcome.length.tolist() == episodes.length.tolist() == [3, 4, 6]
    assert outcome.battle_won.tolist() == [True, True, False]
    assert len(episodes.obs) == len(episodes.reward) == len(episodes.terminated) == 3
    for row, battle in enumerate((1, 2, 4)):
        length = outcome.length[row]
        played = [actions[battle] for actions in env.actions[:length]]
        assert np.array_equal(episodes.actions[row, :length], played)
        assert outcome.returns[row] == np.sum(played)
    buffer = ReplayBuffer(SPEC, 8)
    buffer.add(episodes)
    assert len(buffer) == 3


def test_nothing_is_collected_where_all_broke_down():
    learner, rules = make_learner()
    env = FragileEnv(len(SEEDS), fragile=SEEDS.tolist())
    episodes, outcome = explore(
        env, learner, rules, SEEDS, lambda step: 0.5, np.random.default_rng(0)
    )
    assert len(outcome.length) == len(episodes.length) == 0
    buffer = ReplayBuffer(SPEC, 8)
    buffer.add(episodes)
    assert len(buffer) == 0


@pytest.mark.parametrize("battles", [1, 2, 5])
def test_battles_that_broke_down_are_evaluated_again(battles):
    learner, rules = make_learner()
    expected = evaluate(ToyEnv(battles), learner, rules, SEEDS)
    outcome = evaluate(FragileEnv(battles, fragile=[0, 1, 4]), learner, rules, SEEDS)
    for name in ("battle_won", "returns", "length", "dead_allies", "dead_enemies"):
        assert getattr(outcome, name).tolist() == getattr(expected, name).tolist(), name


def test_envs_without_a_battle_of_their_own_do_not_count_where_others_broke_down():
    learner, rules = make_learner()
    expected = evaluate(ToyEnv(2), learner, rules, SEEDS[:2])
    outcome = evaluate(FragileEnv(3, fragile=[0]), learner, rules, SEEDS[:2])
    assert outcome.length.tolist() == expected.length.tolist() == [2, 3]
