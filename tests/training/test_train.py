"""What a run hands to its battles: env options, exploration, seeds of evaluations."""

import numpy as np
import pytest

from benchmark import load
from benchmark.training import train
from benchmark.training.protocol import epsilon
from benchmark.training.rollout import explore
from tests.training.small import SMALL, Silent, small_run


def begun(folder, **changes) -> train.Run:
    return train.Run(small_run(**changes), folder, "cpu", Silent())


def test_env_options_reach_training_evaluations_and_the_policy(tmp_path):
    """The same battles with rewards twice as large."""
    found = []
    for rate in (20.0, 40.0):
        folder = tmp_path / str(rate)
        run = begun(folder, reward_scale_rate=rate, budget=400)
        run._evaluate_when_due()
        run._collect()
        rewards = run.replay.sample(4, np.random.default_rng(0)).reward.sum(0).tolist()
        evaluated = run.evaluations[0]["return"]
        run.play(checkpoint_seconds=1e9, interrupted=[])
        # rewards decide what is learned, so the policy's battles are not the same ones
        policy = load(folder)
        found.append((rewards, evaluated, policy.make_env(1).options.reward_scale_rate))
    (rewards, evaluated, _), (doubled, evaluated_doubled, rate) = found
    assert doubled == pytest.approx([2 * value for value in rewards], rel=1e-6)
    assert evaluated_doubled == pytest.approx([2 * value for value in evaluated], rel=1e-6)
    assert rate == 40.0


def test_exploration_follows_the_steps_of_the_whole_run(tmp_path, monkeypatch):
    rates = []

    def exploring(env, learner, rules, seeds, rate, rng):
        rates.append([rate(played) for played in (0, 100)])
        return explore(env, learner, rules, seeds, rate, rng)

    monkeypatch.setattr(train, "explore", exploring)
    run, begins = begun(tmp_path), []
    for _ in range(3):
        begins.append(run.steps)
        run._collect()
    assert len(set(begins)) == 3
    rules = run.rules
    assert rates == [[epsilon(rules, begin, played) for played in (0, 100)] for begin in begins]
    assert len({first for first, _ in rates}) == 3


def test_every_battle_of_every_evaluation_is_another(tmp_path, monkeypatch):
    seen, evaluate = [], train.evaluate

    def evaluated(env, learner, rules, seeds):
        seen.append(seeds.tolist())
        return evaluate(env, learner, rules, seeds)

    monkeypatch.setattr(train, "evaluate", evaluated)
    train.train(small_run(budget=1200), tmp_path, device="cpu")
    grid = 1200 // 400 + 1
    expected = [SMALL["evaluation_episodes"]] * grid + [SMALL["absolute_episodes"]]
    assert [len(seeds) for seeds in seen] == expected
    assert len({seed for seeds in seen for seed in seeds}) == sum(expected)


def test_a_checkpoint_keeps_the_updates_that_are_due(tmp_path):
    run = begun(tmp_path, updates_per_episode=0.25)
    run._collect()
    run._learn(3)
    assert run.pending_updates == 0.75
    run._save()
    assert begun(tmp_path, updates_per_episode=0.25).pending_updates == 0.75
