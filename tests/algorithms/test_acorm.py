"""ACORM: parity with the authors' module, and invariants of its roles, losses and schedules."""

import dataclasses
import itertools
import math

import pytest
import torch

from algorithms import acorm
from algorithms.acorm import ACORM, AttentionMixer
from algorithms.learner import MixerInput
from benchmark.envs import spec_of
from benchmark.training.config import resolve_run
from tests.algorithms.official import (
    EPISODES,
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


def make_acorm(protocol="unified", **changes) -> ACORM:
    return make(ACORM, protocol, **{"clusters": 2} | changes)


@pytest.mark.parametrize("ends", ["steps", "limit_steps"])
def test_released_acorm_equals_the_authors_module(monkeypatch, ends):
    """Pre-training, contrastive and TD steps over a target copy and a decay of the rate.

    ``limit_steps``: the longest episode is cut off by the limit, where the target bootstraps.
    """
    monkeypatch.setattr(acorm, "cluster", by_first_feature)
    at_limit = ends == "limit_steps"
    spec = dataclasses.replace(SPEC, episode_limit=SPEC.episode_limit + (not at_limit))
    learner = make_acorm(
        "released",
        spec=spec,
        target_interval=2,
        contrastive_interval=2,
        learning_rate_decay_interval=2,
        embedding_pretraining=0 if at_limit else 2,
        contrastive_pretraining=0 if at_limit else 2,
    )
    modules = fill_acorm(learner)
    episodes = random_episodes(7, EPISODES)
    if not at_limit:
        episodes.terminated[:] = True
    for step in measured_in("acorm_released")[ends]:
        batch = make_batch(episodes, spec, "released")
        learner.update(batch)
        metrics = learner.read_metrics()
        for name in {"td", "contrastive", "pretraining"} & set(step):
            assert metrics[name] == pytest.approx(step[name], rel=2e-5), name
        for name, norms in step.get("gradient_norms", {}).items():
            mine = [float(p.grad.norm()) for p in modules[name].parameters()]
            assert mine == pytest.approx(norms, rel=2e-4, abs=1e-6), name
        for name, module in modules.items():
            expected = pytest.approx(step["weights"][name], rel=1e-4, abs=1e-3)
            assert sums(module) == expected, name
        bilinear = float(learner.bilinear.detach().double().sum())
        assert bilinear == pytest.approx(step["weights"]["bilinear"][0], rel=1e-5)


def test_parameter_counts_on_3s5z_vs_3s6z():
    run = resolve_run(map="3s5z_vs_3s6z", algorithm="acorm", seed=0)
    learner = ACORM(spec_of("3s5z_vs_3s6z"), run.hyperparameters, run.training, seed=0)

    def size(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    assert size(learner.trajectory_encoder) == 135_040
    assert size(learner.trajectory_decoder) == 35_088
    assert size(learner.role_encoder) == 8_384
    assert size(learner.agent) == 39_759
    assert size(learner.mixer, learner.state_encoder) == 1_390_283


def test_roles_and_keys_begin_as_in_the_authors_code():
    """The key encoder as a copy, W uniform in [0, 1)."""
    learner = make_acorm()
    pairs = zip(learner.role_encoder.parameters(), learner.key_encoder.parameters(), strict=True)
    assert all(torch.equal(leader, follower) for leader, follower in pairs)
    weights = learner.bilinear.detach()
    assert weights.min() >= 0
    assert weights.max() < 1
    assert weights.mean() == pytest.approx(1 / 2, abs=0.02)
    assert weights.var() == pytest.approx(1 / 12, abs=0.01)


def test_the_agents_best_actions_are_the_teams():
    """Of all joint actions none has a larger Q_tot than each agent's own best."""
    learner, batch = make_acorm(), make_batch()
    with torch.no_grad():
        online = learner.online(batch)
        state = online.state[:-1]

        def team(actions):
            taken = actions.expand_as(batch.actions)
            q_values = online.q_values[:-1]
            return learner.mix(learner.mixer, MixerInput(q_values, {}, taken, state, None))[0]

        best = team(online.q_values[:-1].argmax(-1))[batch.mask]
        joint = itertools.product(range(SPEC.n_actions), repeat=SPEC.n_agents)
        every = torch.stack([team(torch.tensor(actions))[batch.mask] for actions in joint])
    torch.testing.assert_close(every.amax(0), best)


def test_mixer_is_monotonic_and_its_attention_sums_to_one():
    mixer = AttentionMixer(n_agents=3, state_size=5, role_size=8, mixer_size=4, hypernet_size=6)
    fill_parameters(mixer, 1)
    values = torch.randn(4, 2, 3, requires_grad=True)
    mixer(values, torch.randn(4, 2, 5 + 2 * 24)).sum().backward()
    assert (values.grad > 0).all()
    same = torch.rand(8).expand(4, 2, 3, 8).flatten(-2)  # equal roles: any weights give the value
    role = torch.nn.functional.linear(same[..., :8], mixer.values.weight, mixer.values.bias)
    expected = mixer.output(role).repeat(1, 1, 3)
    torch.testing.assert_close(mixer.attend(torch.randn(4, 2, 24), same), expected)


def test_gradients_reach_what_they_should():
    learner, batch = make_acorm(), make_batch()

    def reached(loss):
        learner.zero_grad(set_to_none=True)
        loss.backward()
        named = learner.named_parameters()
        return {n.split(".")[0] for n, p in named if p.grad is not None and p.grad.abs().sum() > 0}

    team = learner.online(batch).q_tot
    td = {"trajectory_encoder", "role_encoder", "agent", "mixer", "state_encoder"}
    assert reached(team.sum()) == td
    assert reached(learner.contrastive_loss(batch)) == {"role_encoder", "bilinear"}
    pretrained = {"trajectory_encoder", "trajectory_decoder"}
    assert reached(learner.prediction_loss(batch)) == pretrained
    released = make_acorm("released")
    released.contrastive_loss(batch).backward()
    assert all(p.grad.abs().sum() > 0 for p in released.key_encoder.parameters())


def naive_contrastive_loss(learner, batch, labels):
    embeddings = learner.embed(batch)[:-1].detach()
    total, count = 0.0, 0
    for step, episode in batch.mask.nonzero().tolist():
        queries = learner.role_encoder(embeddings[step, episode])
        keys = learner.key_encoder(embeddings[step, episode]).detach()
        for i in range(SPEC.n_agents):
            logits = [queries[i] @ learner.bilinear @ key for key in keys]
            positives = [
                x
                for x, label in zip(logits, labels[count], strict=True)
                if label == labels[count][i]
            ]
            total = total + torch.stack(logits).logsumexp(0) - torch.stack(positives).logsumexp(0)
        count += 1
    return total / (count * SPEC.n_agents)


def test_contrastive_loss_equals_the_naive_loop(monkeypatch):
    learner, batch = make_acorm().double(), make_batch()
    batch.obs = batch.obs.double()
    rng = torch.Generator().manual_seed(3)
    labels = torch.randint(2, (int(batch.mask.sum()), SPEC.n_agents), generator=rng)
    monkeypatch.setattr(acorm, "cluster", lambda *_: labels)
    naive = naive_contrastive_loss(learner, batch, labels.tolist())
    naive.backward()
    expected = {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}
    learner.zero_grad(set_to_none=True)
    loss = learner.contrastive_loss(batch)
    loss.backward()
    torch.testing.assert_close(loss, naive)
    for name, parameter in learner.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name])


def test_contrastive_loss_of_agents_all_apart_is_infonce():
    """With a cluster for every agent its only friend is itself: softmax cross-entropy."""
    learner, batch = make_acorm(clusters=SPEC.n_agents), make_batch()
    with torch.no_grad():
        embeddings = learner.embed(batch)[:-1][batch.mask]
        queries, keys = learner.role_encoder(embeddings), learner.key_encoder(embeddings)
        logits = queries @ learner.bilinear @ keys.transpose(1, 2)
        own = torch.arange(SPEC.n_agents).repeat(len(logits))
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), own)
        torch.testing.assert_close(learner.contrastive_loss(batch), expected)
        spread = logits.amax(-1) - logits.amin(-1)
    assert expected < math.log(SPEC.n_agents) + spread.max()


def test_contrastive_loss_knows_no_order_of_agents_or_clusters(monkeypatch):
    learner, batch = make_acorm(), make_batch()
    rng = torch.Generator().manual_seed(3)
    labels = torch.randint(2, (int(batch.mask.sum()), SPEC.n_agents), generator=rng)
    order, given = torch.tensor([2, 0, 1]), {}
    monkeypatch.setattr(acorm, "cluster", lambda *_: given["labels"])
    given["labels"] = labels
    expected = learner.contrastive_loss(batch)
    given["labels"] = 1 - labels
    torch.testing.assert_close(learner.contrastive_loss(batch), expected)
    for name in ("obs", "actions", "last_actions"):
        setattr(batch, name, getattr(batch, name)[:, :, order])
    given["labels"] = labels[:, order]
    torch.testing.assert_close(learner.contrastive_loss(batch), expected)


def test_contrastive_loss_is_positive_finite_and_zero_for_one_cluster():
    batch = make_batch()
    assert make_acorm(clusters=1).contrastive_loss(batch).item() == pytest.approx(0, abs=1e-6)
    assert make_acorm(clusters=2).contrastive_loss(batch).item() > 0
    extreme = make_acorm(clusters=3)
    extreme.bilinear.data.mul_(1e3)  # logits of tens of thousands
    loss = extreme.contrastive_loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(extreme.bilinear.grad).all()


def test_schedule_of_pretraining_contrast_and_rates():
    learner = make_acorm(
        embedding_pretraining=2,
        contrastive_pretraining=3,
        contrastive_interval=2,
        learning_rate_decay_interval=3,
    )
    logged = []
    for _ in range(12):
        learner.update(make_batch())
        logged.append(sorted(set(learner.read_metrics()) & {"td", "contrastive", "pretraining"}))
    main = [["td"], ["contrastive", "td"]] * 3 + [["td"]]
    assert logged == [["pretraining"]] * 2 + [["contrastive"]] * 3 + main
    rates = {name: one.param_groups[0]["lr"] for name, one in learner.optimizers.items()}
    decayed = pytest.approx(6e-4 * 0.98**2)
    assert rates == {"td": decayed, "roles": decayed, "contrastive": 8e-4, "pretraining": 1e-3}


def test_without_contrast_it_is_never_computed(monkeypatch):
    learner = make_acorm(embedding_pretraining=1, contrastive_pretraining=0, contrastive_interval=0)
    monkeypatch.setattr(acorm, "cluster", None)  # would fail when called
    for _ in range(4):
        learner.update(make_batch())
    assert "contrastive" not in learner.read_metrics()


def test_key_encoder_follows_in_closed_form():
    learner = make_acorm(embedding_pretraining=0, contrastive_pretraining=0, contrastive_interval=0)
    expected = [p.detach().clone() for p in learner.key_encoder.parameters()]
    for _ in range(3):
        learner.update(make_batch())
        for mine, leader in zip(expected, learner.role_encoder.parameters(), strict=True):
            mine.mul_(0.995).add_(leader.detach(), alpha=0.005)
    for mine, key in zip(expected, learner.key_encoder.parameters(), strict=True):
        torch.testing.assert_close(key.detach(), mine)


def test_frozen_memory_keeps_the_agents_part_only():
    learner = make_acorm("released")
    before, after = torch.zeros(2, 3, 192), torch.ones(2, 3, 192)
    kept = learner.frozen_hidden(before, after)
    assert (kept[..., :128] == 1).all()
    assert (kept[..., 128:] == 0).all()
