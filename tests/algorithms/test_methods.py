"""What holds for every method: padding, seeds, checkpoints, acting, devices."""

import copy
import dataclasses

import pytest
import torch

from algorithms import ALGORITHMS
from algorithms.cds import CDS
from algorithms.cia import CIA
from algorithms.emc import EMC
from algorithms.gomarl import GoMARL
from algorithms.qmix import QMIX
from algorithms.qplex import QPLEX
from benchmark.training import train
from benchmark.training.config import resolve_run
from benchmark.training.replay import Episodes, ReplayBuffer
from tests.algorithms.official import EPISODES, NO_PRETRAINING, in_order, make
from tests.algorithms.parity import SPEC, padded, random_episodes, with_noise_behind_the_ends
from tests.training.small import Silent

#: Everything that is due now and then is due soon.
SOON = {
    "acorm": {"embedding_pretraining": 2, "contrastive_pretraining": 2, "contrastive_interval": 2},
    "r3dm": {"embedding_pretraining": 2, "contrastive_pretraining": 2, "contrastive_interval": 2},
}
#: In losses, terms that the small map's configuration leaves out.
ALL_TERMS = {
    "acorm": NO_PRETRAINING | {"contrastive_interval": 1},
    "r3dm": NO_PRETRAINING | {"contrastive_interval": 1, "beta2": 1.0, "horizon": 3},
    "emc": {"memory_weight": 0.1},
}


@pytest.fixture(params=list(ALGORITHMS))
def name(request) -> str:
    return request.param


def ready(name: str, protocol: str = "unified", **changes):
    """A learner that has seen the episodes and is about to make a TD step with all its terms."""
    learner = make(ALGORITHMS[name], protocol, **ALL_TERMS.get(name, {}) | changes)
    learner.on_collect(random_episodes(7, EPISODES), 120)
    if name == "emc":
        learner.memory.refresh()
    return learner


def losses(learner, batch) -> dict[str, float]:
    """Whatever an update logs, with equal random streams; the learner stays as it is."""
    learner = copy.deepcopy(learner)
    learner.read_metrics()  # of updates before
    learner.update(*[batch] * learner.BATCHES)
    return learner.read_metrics()


def test_acting_step_by_step_equals_learning_on_sequences(name):
    learner, batch = ready(name), in_order()
    learner.runs_on_padding = lambda: True
    q_values = learner.online(batch).q_values
    hidden = learner.initial_hidden(batch.size)
    for step in range(len(batch.obs)):
        acted, hidden = learner.act(batch.obs[step], batch.last_actions[step], hidden)
        torch.testing.assert_close(acted, q_values[step], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
def test_targets_are_numbers_without_gradient_for_every_step(name, first):
    learner, batch = ready(name, target_first_step=first), in_order()
    targets = learner.td_targets(batch, learner.online(batch))
    assert targets.shape == batch.mask.shape
    assert targets[batch.mask].isfinite().all()
    assert not targets.requires_grad


def test_targets_are_copied_whole(name):
    """Also what is no parameter, as GoMARL's groups are."""
    learner = ready(name)
    for value in learner.state_dict().values():
        value.add_(1)
    learner.move_targets()
    for part, target in learner.targets.items():
        online = getattr(learner, part).state_dict()
        assert all(torch.equal(value, online[key]) for key, value in target.state_dict().items())


def test_padding_never_changes_an_update(name):
    """Whether the networks run over it, as on CUDA, or not, and whatever lies there."""
    learner, batch = ready(name), in_order()
    expected = losses(learner, batch)
    assert losses(learner, with_noise_behind_the_ends(batch)) == pytest.approx(expected, rel=1e-4)
    if name in ("acorm", "r3dm"):  # their noise is drawn for real steps in the same order
        return
    learner.runs_on_padding = lambda: True
    assert losses(learner, batch) == pytest.approx(expected, rel=1e-5)
    assert losses(learner, with_noise_behind_the_ends(batch)) == pytest.approx(expected, rel=1e-5)


def test_extra_padding_steps_never_change_an_update(name):
    episodes = random_episodes(7, EPISODES)
    short = episodes.length < SPEC.episode_limit
    fields = dataclasses.fields(episodes)
    some = Episodes(**{field.name: getattr(episodes, field.name)[short] for field in fields})
    learner, batch = ready(name), in_order(some)
    longer = padded(batch, SPEC.episode_limit - int(batch.length.max()))
    assert longer.reward.shape[0] == SPEC.episode_limit > batch.reward.shape[0]
    assert losses(learner, longer) == pytest.approx(losses(learner, batch), rel=1e-4)


def test_every_weight_that_a_loss_reaches_is_trained(name):
    """A network that ``parameter_groups`` forgets would stay as it was drawn, without a word."""
    learner = ready(name)
    learner.update(*[in_order()] * learner.BATCHES)
    trained = {
        id(weight)
        for optimizer in learner.optimizers.values()
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    reached = {key for key, weight in learner.named_parameters() if weight.grad is not None}
    assert reached
    assert {key for key in reached if id(learner.get_parameter(key)) not in trained} == set()


def test_an_auxiliary_loss_may_not_take_the_name_of_the_td_loss(name, monkeypatch):
    learner = ready(name)
    monkeypatch.setattr(learner, "auxiliary_losses", lambda *_: {"td": torch.zeros(())})
    with pytest.raises(TypeError, match="td"):
        learner.update(*[in_order()] * learner.BATCHES)


@pytest.mark.parametrize("protocol", ["unified", "released"])
def test_training_state_continues_bit_for_bit(name, protocol):
    """From the middle of pre-training, over a move of the targets, a regrouping, a full memory."""
    changes = SOON.get(name, ALL_TERMS.get(name, {})) | {"target_interval": 2}
    replay = ReplayBuffer(SPEC, EPISODES)
    replay.add(random_episodes(7, EPISODES))

    def rounds(learner, count: int, begin: int) -> None:
        for number in range(begin, begin + count):
            learner.on_collect(random_episodes(number, EPISODES), 60_000 * number)
            learner.update(*[in_order()] * learner.BATCHES)
            learner.after_round(replay)

    first = make(ALGORITHMS[name], protocol, **changes)
    rounds(first, 3, begin=5)  # EMC remembers the updates' episodes, number 7
    second = make(ALGORITHMS[name], protocol, seed=99, **changes)
    second.load_training_state(copy.deepcopy(first.training_state()))
    for learner in (first, second):
        rounds(learner, 4, begin=8)
    ours, theirs = first.training_state(), second.training_state()
    for key, value in ours["networks"].items():
        assert torch.equal(theirs["networks"][key], value), key
    for target, weights in ours["targets"].items():
        for key, value in weights.items():
            assert torch.equal(theirs["targets"][target][key], value), key
    assert losses(first, in_order()) == losses(second, in_order())


def test_a_seed_determines_weights_and_updates_and_leaves_the_global_stream_alone(name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (ready(name, seed=seed) for seed in (4, 4, 5))
    for learner in (first, second, other):
        learner.update(*[in_order()] * learner.BATCHES)
    assert torch.equal(torch.rand(3), expected)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.agent.encoder.weight, other.agent.encoder.weight)


def test_streams_of_a_method_are_apart_and_follow_from_the_seed(name):
    def draws(seed):
        streams = make(ALGORITHMS[name], seed=seed).streams
        return {stream: torch.rand(3, generator=one).tolist() for stream, one in streams.items()}

    assert draws(4) == draws(4)
    every = [*draws(4).values(), *draws(5).values()]
    assert len({tuple(drawn) for drawn in every}) == 2 * len(ALGORITHMS[name].STREAMS)


class QPlexWithLocalHeads(QPLEX):
    """CDS without its bonus and losses."""

    build_agent = CDS.build_agent
    inputs = CDS.inputs


class TDOnly(GoMARL):
    """GoMARL without its losses."""

    def auxiliary_losses(self, batch, online):
        return {}


@pytest.mark.parametrize(
    ("method", "base", "off"),
    [
        (CIA, QMIX, {"alpha": 0.0}),
        (EMC, QPLEX, {"curiosity": 0.0, "memory_weight": 0.0}),
        (CDS, QPlexWithLocalHeads, {"beta": 0.0, "local_penalty": 0.0}),
        (GoMARL, TDOnly, {"lasso": 0.0, "similarity": 0.0}),
    ],
)
def test_without_its_own_terms_a_method_is_its_base_bit_for_bit(method, base, off):
    learners = make(method, **off), make(base)
    for learner in learners:
        for _ in range(3):
            learner.update(in_order())
    for part in ("agent", "mixer"):
        ours, theirs = (getattr(learner, part).state_dict() for learner in learners)
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())


SMALL = {
    "budget": 1000,
    "n_envs": 4,
    "batch_size": 4,
    "evaluation_interval": 500,
    "evaluation_episodes": 4,
    "absolute_episodes": 8,
    "hidden_size": 16,
    "epsilon_steps": 600,
    "target_interval": 7,
}
OFTEN = {
    "acorm": {"embedding_pretraining": 6, "contrastive_pretraining": 4, "contrastive_interval": 5},
    "r3dm": {"embedding_pretraining": 6, "contrastive_pretraining": 4, "contrastive_interval": 5},
    "gomarl": {"regroup_interval": 300, "regroup_batch_size": 8, "regroup_threshold": 1.0},
    "emc": {"memory_capacity": 400, "curiosity_interval": 300},
    "cds": {"beta": 0.1},
}


def test_a_stopped_run_gives_the_same_bytes(name, tmp_path, monkeypatch):
    """With regroupings, a memory that overflows, and curiosity that decays on the way."""
    run = resolve_run(map="3m", algorithm=name, seed=1, overrides=[SMALL | OFTEN.get(name, {})])
    train.train(run, tmp_path / "whole", device="cpu")
    collect, rounds = train.Run._collect, []

    class Stop(Exception):
        pass

    def stopping(self):
        rounds.append(self.steps)
        if len(rounds) in (2, 6):
            raise Stop
        return collect(self)

    monkeypatch.setattr(train.Run, "_collect", stopping)
    for _ in range(2):
        with pytest.raises(Stop):
            train.train(run, tmp_path / "stopped", device="cpu", checkpoint_seconds=0)
    train.train(run, tmp_path / "stopped", device="cpu", checkpoint_seconds=0)
    assert len(rounds) > 6  # it went on after the second stop
    for file in ("evaluations.parquet", "policy.pt"):
        whole, stopped = tmp_path / "whole" / file, tmp_path / "stopped" / file
        assert stopped.read_bytes() == whole.read_bytes()


def test_a_run_shows_the_method_every_state_once(tmp_path):
    """Before the updates, which wait for the burn-in."""
    changes = SMALL | {"burn_in_episodes": 10}
    config = resolve_run(map="3m", algorithm="emc", seed=1, overrides=[changes])
    run = train.Run(config, tmp_path, "cpu", Silent())
    rounds = []
    run.learner.after_round = rounds.append
    for played in (4, 8, 12):
        run._learn(run._collect())
        assert run.learner.env_steps == run.steps
        assert run.learner.memory.size == run.steps + played  # one state more than steps
        assert run.learner.updates == (4 if played == 12 else 0)
    assert rounds == [run.replay]
