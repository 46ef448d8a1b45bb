"""A trained policy from Python."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark import load
from benchmark.errors import BenchmarkError
from benchmark.training import checkpoint, train
from benchmark.training.evaluations import read_evaluations
from benchmark.training.rollout import evaluate
from tests.training.small import small_run, train_without_record


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train.train(small_run(budget=1200), folder, device="cpu")
    return folder


def test_a_policy_in_three_lines(finished):
    policy = load(finished)
    outcome = policy.evaluate(episodes=5, seed=1)
    assert outcome.battle_won.shape == outcome.returns.shape == (5,)
    assert outcome.returns.tolist() == policy.evaluate(episodes=5, seed=1).returns.tolist()
    assert outcome.returns.tolist() != policy.evaluate(episodes=5, seed=2).returns.tolist()


@pytest.mark.parametrize("last_action", ["correct", "zero"])
def test_step_by_step_plays_the_same_battles(tmp_path, last_action):
    config = small_run(budget=800, evaluated_last_action=last_action)
    train.train(config, tmp_path, device="cpu")
    policy, battles = load(str(tmp_path)), 6
    env, seeds = policy.make_env(battles), np.arange(battles, dtype=np.uint64)
    expected = evaluate(env, policy.learner, config.training, seeds)
    for _ in range(2):  # the second time from a memory that holds other battles
        seen, done = env.reset(seeds), np.zeros(battles, bool)
        policy.begin(battles)
        returns = np.zeros(battles)
        while not done.all():
            seen = env.step(policy.act(seen.obs, seen.available))
            returns += np.where(done, 0, seen.reward)
            done |= seen.terminated | seen.truncated
        assert returns.tolist() == expected.returns.tolist()


def test_an_unfinished_run_has_a_policy(tmp_path, monkeypatch):
    train_without_record(tmp_path, monkeypatch, budget=800)
    assert load(tmp_path).q_values(np.zeros((1, 3, 30), np.float32)).shape == (1, 3, 9)


def test_of_a_run_that_is_repeated_with_other_options_it_is_the_new_one(tmp_path, monkeypatch):
    train.train(small_run(budget=400), tmp_path, device="cpu")
    train_without_record(tmp_path, monkeypatch, replace="changed", hidden_size=24, budget=800)
    assert (tmp_path / "policy.pt").exists()
    assert load(tmp_path).config.hyperparameters.hidden_size == 24


def test_a_policy_of_the_game_needs_no_game(finished, tmp_path, monkeypatch):
    """Only its own battles do: elsewhere it plays the simulator."""
    state = checkpoint.read_state(finished / "policy.pt")
    state["config"]["backend"] = "starcraft2"
    checkpoint.write(state, tmp_path / "policy.pt")
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    policy = load(tmp_path)
    assert policy.q_values(np.zeros((1, 3, 30), np.float32)).shape == (1, 3, 9)
    with pytest.raises(BenchmarkError):
        policy.make_env(1)


def test_mistakes_are_named(finished, tmp_path):
    with pytest.raises(BenchmarkError, match=r"holds no policy\.pt"):
        load(tmp_path)
    policy = load(finished / "policy.pt")
    with pytest.raises(BenchmarkError, match=r"call policy.begin\(n_envs=2\)"):
        policy.act(np.zeros((2, 3, 30), np.float32), np.ones((2, 3, 9), bool))
    with pytest.raises(
        BenchmarkError, match=r"shape \[1, 3, 31\], the policy of 3m needs \[1, 3, 30\]"
    ):
        policy.q_values(np.zeros((1, 3, 31), np.float32))
    with pytest.raises(BenchmarkError, match="at least one episode, not 0"):
        policy.evaluate(episodes=0)
    with pytest.raises(BenchmarkError, match="unknown device 'gpu'; choose auto, cpu, cuda"):
        load(finished, device="gpu")


def test_the_best_policy_is_the_one_that_won_most_then_returned_most_then_came_last(
    tmp_path, monkeypatch
):
    """And it is this one that is measured again and kept."""
    scores = [(0.0, 9.0), (0.25, 1.0), (0.5, 5.0), (0.5, 3.0), (0.5, 5.0), (0.25, 9.0), (0.0, 9.0)]
    seen = []

    def evaluated(env, learner, rules, seeds):
        stats = evaluate(env, learner, rules, seeds)
        seen.append({name: value.clone() for name, value in learner.policy_state().items()})
        if len(seen) > len(scores):
            return stats
        share, value = scores[len(seen) - 1]
        won = np.arange(len(seeds)) < share * len(seeds)
        return replace(stats, battle_won=won, returns=np.full(len(seeds), value))

    monkeypatch.setattr(train, "evaluate", evaluated)
    train.train(small_run(), tmp_path, device="cpu")
    *grid, again = seen
    assert len(grid) == len(scores)
    rows = read_evaluations(tmp_path / "evaluations.parquet")
    assert set(rows[rows["phase"] == "absolute"]["step"]) == {1600}
    kept = load(tmp_path).learner.policy_state()
    for name, value in grid[4].items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, kept[name])
    assert any(not torch.equal(value, grid[-1][name]) for name, value in grid[4].items())
