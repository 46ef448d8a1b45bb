"""What holds for CIA, GoMARL, CDS and EMC alike."""

import copy
import dataclasses

import pytest
import torch

from algorithms import ALGORITHMS
from benchmark.training import train
from benchmark.training.config import resolve_run
from benchmark.training.protocol import epsilon
from benchmark.training.replay import Episodes, ReplayBuffer
from tests.algorithms.official import EPISODES, in_order, make
from tests.algorithms.parity import SPEC, padded, random_episodes

METHODS = ["cia", "gomarl", "cds", "emc"]


@pytest.fixture(params=METHODS)
def method(request):
    return ALGORITHMS[request.param]


def everywhere(batch):
    """Runs networks over padding too, as on CUDA."""
    return torch.ones(batch.obs.shape[:2], dtype=torch.bool)


def losses(learner, batch) -> dict[str, float]:
    """Every loss of one batch, with equal random streams."""
    learner = copy.deepcopy(learner)
    learner.descend = lambda loss: None
    learner.read_metrics()  # of updates before
    learner.update(batch)
    return learner.read_metrics()


def prepared(method, **changes):
    """A learner that has seen the episodes."""
    learner = make(method, **changes)
    learner.on_collect(random_episodes(7, EPISODES), 120)
    learner.move_targets()
    return learner


def test_acting_step_by_step_equals_learning_on_sequences(method):
    learner, batch = make(method), in_order()
    learner.observed = everywhere
    values = learner.online(batch).values
    last, hidden = batch.last_actions, learner.initial_hidden(batch.size)
    for step in range(len(batch.obs)):
        stepped, hidden = learner.act(batch.obs[step], last[step], hidden)
        torch.testing.assert_close(stepped, values[step], atol=1e-6, rtol=1e-5)


def test_padding_never_changes_a_loss(method):
    learner, batch = prepared(method), in_order()
    packed = losses(learner, batch)
    learner.observed = everywhere
    expected = losses(learner, batch)
    assert packed == pytest.approx(expected, rel=1e-5)
    noisy = copy.deepcopy(batch)
    for episode, end in enumerate(batch.mask.sum(0).tolist()):
        noisy.obs[end + 1 :, episode] = 1e2
        noisy.state[end + 1 :, episode] = -1e2
        noisy.reward[end:, episode] = 1e3
        noisy.actions[end:, episode] = 1
        noisy.last_actions[end + 1 :, episode] = 1
    assert losses(learner, noisy) == pytest.approx(expected, rel=1e-5)


def test_extra_padding_steps_never_change_a_loss(method):
    episodes = random_episodes(7, EPISODES)
    short = episodes.length < SPEC.episode_limit
    fields = dataclasses.fields(episodes)
    some = Episodes(**{each.name: getattr(episodes, each.name)[short] for each in fields})
    learner, batch = prepared(method), in_order(some)
    longer = padded(batch, SPEC.episode_limit - int(batch.length.max()))
    assert longer.reward.shape[0] == SPEC.episode_limit > batch.reward.shape[0]
    learner.observed = everywhere
    assert losses(learner, longer) == pytest.approx(losses(learner, batch), rel=1e-5)


def test_training_state_continues_bit_for_bit(method):
    changes = {"target_interval": 2}
    first = make(method, **changes)
    replay = ReplayBuffer(SPEC, EPISODES)
    replay.add(random_episodes(7, EPISODES))

    def rounds(learner, count: int, begin: int) -> None:
        for number in range(count):
            learner.on_collect(random_episodes(begin + number, EPISODES), 60_000 * (begin + number))
            learner.update(in_order())
            learner.after_round(replay)

    rounds(first, 3, begin=0)
    second = make(method, seed=99, **changes)
    second.load_training_state(copy.deepcopy(first.training_state()))
    for learner in (first, second):
        rounds(learner, 4, begin=3)
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
    for name, target in first.targets.items():
        for key, value in target.state_dict().items():
            assert torch.equal(second.targets[name].state_dict()[key], value), key
    assert losses(first, in_order()) == losses(second, in_order())


def test_same_seed_same_weights_and_updates(method):
    first, second, other = (make(method, seed=seed) for seed in (4, 4, 5))
    for learner in (first, second, other):
        learner.update(in_order())
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.agent.encoder.weight, other.agent.encoder.weight)


SMALL = {
    "budget": 2400,
    "n_envs": 4,
    "batch_size": 4,
    "evaluation_interval": 400,
    "evaluation_episodes": 4,
    "absolute_episodes": 8,
    "hidden_size": 16,
    "epsilon_steps": 1000,
    "target_interval": 7,
}
OFTEN = {
    "gomarl": {"regroup_interval": 300, "regroup_batch_size": 8, "regroup_threshold": 1.0},
    "emc": {"memory_capacity": 700, "curiosity_interval": 500},
    "cds": {"beta": 0.1},
}


@pytest.mark.parametrize("algorithm", METHODS)
def test_stopped_run_gives_the_same_bytes(algorithm, tmp_path, monkeypatch):
    """With regroupings, a memory that overflows, and curiosity that decays on the way."""
    run = resolve_run(
        map="3m", algorithm=algorithm, seed=1, overrides=[SMALL | OFTEN.get(algorithm, {})]
    )
    train.train(run, tmp_path / "whole", device="cpu")
    collect, rounds = train.Run._collect, []

    class Stop(Exception):
        pass

    def stopping(self):
        rounds.append(self.steps)
        if len(rounds) in (4, 9):
            raise Stop
        return collect(self)

    monkeypatch.setattr(train.Run, "_collect", stopping)
    for _ in range(2):
        with pytest.raises(Stop):
            train.train(run, tmp_path / "stopped", device="cpu", checkpoint_seconds=0)
    train.train(run, tmp_path / "stopped", device="cpu", checkpoint_seconds=0)
    assert len(rounds) > 10
    for name in ("evaluations.parquet", "policy.pt"):
        whole, stopped = tmp_path / "whole" / name, tmp_path / "stopped" / name
        assert stopped.read_bytes() == whole.read_bytes()


class Silent:
    def __getattr__(self, name):
        return lambda *arguments: None


def test_a_run_tells_the_method_what_was_played(tmp_path):
    """Every state of every battle once, before the updates; updates wait for the burn-in."""
    changes = SMALL | {"burn_in_episodes": 10}
    run = train.Run(
        resolve_run(map="3m", algorithm="emc", seed=1, overrides=[changes]),
        tmp_path,
        "cpu",
        Silent(),
    )
    rounds = []
    run.learner.after_round = rounds.append
    for played in (4, 8, 12):
        run._learn(run._collect())
        assert run.learner.env_steps == run.steps
        assert run.learner.memory.size == run.steps + played  # one state more than steps
        assert run.learner.updates == (4 if played == 12 else 0)
    assert rounds == [run.replay]


def test_exploration_decays_between_rounds_or_within_them():
    released = resolve_run(map="3m", algorithm="cds", seed=0, protocol="released").training
    fair = resolve_run(map="3m", algorithm="cds", seed=0).training
    assert epsilon(released, 1000, 500) == epsilon(released, 1000) == pytest.approx(0.981)
    assert epsilon(released, 1500) < epsilon(released, 1000)
    assert epsilon(fair, 1000, 500) == epsilon(fair, 1500) < epsilon(fair, 1000)


#: Update ratios and harness of the authors' runs (episodes, not updates, where it says so).
AS_RUN = {
    "qmix": {"battles": 1, "ratio": 1, "batch": 32, "copy": 100, "first": 32, "epsilon": 0.02},
    "cia": {"battles": 1, "ratio": 1, "batch": 32, "copy": 200, "first": 32, "epsilon": 0.05},
    "gomarl": {"battles": 8, "ratio": 1 / 8, "batch": 128, "copy": 200, "first": 128},
    "cds": {"battles": 1, "ratio": 2, "batch": 32, "copy": 100, "first": 100, "epsilon": 0.05},
    "emc": {"battles": 1, "ratio": 2, "batch": 32, "copy": 100, "first": 32, "epsilon": 0.05},
}


@pytest.mark.parametrize("algorithm", AS_RUN)
def test_released_rules_are_those_of_the_authors_runs(algorithm):
    for map in ("3s5z_vs_3s6z", "6h_vs_8z", "terran_10_vs_11"):
        run = resolve_run(map=map, algorithm=algorithm, seed=0, protocol="released")
        rules, expected = run.training, AS_RUN[algorithm]
        assert rules.n_envs == expected["battles"]
        assert rules.updates_per_episode == expected["ratio"]
        copied = run.hyperparameters.target_interval / rules.updates_per_episode
        assert copied == expected["copy"]
        if algorithm == "qmix":
            continue
        assert rules.batch_size == expected["batch"]  # the paper's exceptions are not theirs
        assert max(rules.batch_size, rules.burn_in_episodes) == expected["first"]
        assert rules.epsilon_end == 0.05
        assert rules.epsilon_schedule == "round"
        assert rules.epsilon_per == "agent"
        assert rules.truncation == "terminal"
        assert rules.replayed_last_action == rules.evaluated_last_action == "correct"


@pytest.mark.parametrize(
    ("algorithm", "map", "steps"),
    [
        ("cia", "5m_vs_6m", 50_000),
        ("cia", "MMM2", 500_000),
        ("gomarl", "6h_vs_8z", 100_000),
        ("cds", "MMM2", 50_000),
        ("emc", "5m_vs_6m", 50_000),
        ("emc", "MMM2", 200_000),
        ("emc", "corridor", 50_000),
    ],
)
def test_released_exploration_by_map(algorithm, map, steps):
    run = resolve_run(map=map, algorithm=algorithm, seed=0, protocol="released")
    assert run.training.epsilon_steps == steps
    fair = resolve_run(map=map, algorithm=algorithm, seed=0)
    assert fair.training == resolve_run(map=map, algorithm="qmix", seed=0).training
