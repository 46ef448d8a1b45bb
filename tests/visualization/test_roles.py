"""Roles in battle: planted roles give known numbers, and trained policies their figure."""

from types import SimpleNamespace

import matplotlib.text
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba
from sklearn import metrics
from sklearn.cluster import KMeans

from algorithms.learner import NEVER
from benchmark import commands
from benchmark.analysis.roles import MEASURES, summary
from benchmark.training.config import IDENTITY
from benchmark.visualization.roles import battles, clusters, figure, measures
from benchmark.visualization.roles.battles import Battle
from benchmark.visualization.roles.clusters import ABSENT, find_clusters
from benchmark.visualization.roles.figure import Play
from tests.visualization.policies import save_policy

FILES = {f"roles_3m.{suffix}" for suffix in ("pdf", "png", "csv", "md", "tex")}


def first_battle(path, seed=0) -> Battle:
    (policy,) = battles.load([path])
    (battle,) = battles.play(policy, [seed])
    return battle


@pytest.fixture(autouse=True)
def _few_points(monkeypatch):
    """A t-SNE of many decisions takes seconds."""
    monkeypatch.setattr(figure, "_MOST_POINTS", 60)


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Policies of both methods with roles, on 3m with two clusters."""
    folder = tmp_path_factory.mktemp("policies")
    overrides = [{"clusters": 2}]
    return {
        name: save_policy(folder / f"{name}.pt", name, seed=seed, overrides=overrides)
        for seed, name in enumerate(("r3dm", "acorm"))
    }


@pytest.fixture(scope="module")
def examined(policies):
    """Both policies with three battles each."""
    loaded = battles.load(list(policies.values()))
    plays = [Play(policy, list(battles.play(policy, range(3))), [1, 5, 500]) for policy in loaded]
    numbers = [measures.measure(play.policy, battle) for play in plays for battle in play.battles]
    return plays, pd.concat(numbers, ignore_index=True)


# Clusters -----------------------------------------------------------------------------------------


def planted(steps=12, seed=0):
    """Six agents in three tight, distant clusters: {0, 1}, {2, 3, 4}, {5}; [T, 6, 4]."""
    noise = np.random.default_rng(seed).normal(scale=0.01, size=(steps, 6, 4))
    return np.eye(3, 4)[[0, 0, 1, 1, 1, 2]] + noise


def test_kmeans_finds_planted_clusters_among_those_present():
    everyone = np.ones((12, 6), bool)
    for labels in clusters.kmeans(planted(), everyone, 3):
        assert metrics.rand_score(labels, [0, 0, 1, 1, 1, 2]) == 1
    few = everyone.copy()
    few[5:] = [True, True, False, True, False, False]  # {0, 1}, {3}
    labels = clusters.kmeans(planted(), few, 2)
    assert (labels[~few] == ABSENT).all()
    assert (labels[5:, 0] == labels[5:, 1]).all()
    assert (labels[5:, 0] != labels[5:, 3]).all()
    as_many = clusters.kmeans(planted(), few, 3)[6]
    assert len(set(as_many[few[6]])) == 3


def test_kmeans_is_as_good_as_scikit_learns():
    points = np.random.default_rng(1).random((60, 8, 64))
    labels = clusters.kmeans(points, np.ones((60, 8), bool), 3)
    found, expected = [], []
    for step, own in zip(points, labels, strict=True):
        expected.append(KMeans(3, n_init=10, random_state=clusters.SEED).fit(step).inertia_)
        found.append(sum(((step[own == k] - step[own == k].mean(0)) ** 2).sum() for k in range(3)))
    assert np.mean(found) < 1.005 * np.mean(expected)


def test_labels_stay_with_their_members_over_time():
    true = np.array([0, 0, 1, 1, 1, 2])
    rng = np.random.default_rng(0)
    shuffled = np.stack([rng.permutation(3)[true] for _ in range(10)])
    assert (clusters.align(shuffled) == true).all()  # numbered by the lowest agent
    moved = shuffled.copy()
    moved[5:, 4] = moved[5:, 5]  # one agent changes sides
    assert (clusters.align(moved)[5:] == [0, 0, 1, 1, 2, 2]).all()
    reference = np.array([2, 2, 0, 0, 0, 1])
    assert (clusters.align(shuffled, reference) == reference).all()


def test_matching_ignores_who_is_absent():
    labels = np.array([1, 1, 0, ABSENT, ABSENT])
    assert clusters.match(labels, np.array([0, 0, 1, 1, 1])).tolist() == [0, 0, 1, -1, -1]
    nobody = np.full(5, ABSENT)
    assert (clusters.match(nobody, np.array([0, 0, 1, 1, 1])) == ABSENT).all()


def test_planted_clusters_have_silhouettes_near_one_and_unit_geometry():
    labels = np.tile([0, 0, 1, 1, 1, 2], (12, 1))
    labels[6:, 4] = ABSENT
    found = clusters.geometry(planted(), labels)
    assert found.silhouette[:, :4].min() > 0.95
    assert (found.silhouette[:, 5] == 0).all()  # alone
    for values in found:
        np.testing.assert_array_equal(np.isnan(values), labels == ABSENT)
    assert np.nanmax(found.own_centre) < 0.05
    assert np.abs(found.nearest_centre[labels != ABSENT] - np.sqrt(2)).max() < 0.05


def test_what_cannot_be_measured_is_undefined():
    points = planted(1)
    single = clusters.geometry(points, np.zeros((1, 6), int))
    assert np.isnan(single.silhouette).all()
    assert np.isnan(single.nearest_centre).all()
    assert not np.isnan(single.own_centre).any()
    each_alone = clusters.geometry(points, np.arange(6)[None])
    assert np.isnan(each_alone.silhouette).all()
    assert not np.isnan(each_alone.nearest_centre).any()
    nobody = clusters.geometry(points, np.full((1, 6), ABSENT))
    assert np.isnan(nobody.own_centre).all()


def test_agreement_is_the_rand_index():
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 3, (2, 20, 8))
    found = clusters.agreement(one, other)
    expected = [metrics.rand_score(*pair) for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose(found.mean(1), expected)
    assert (clusters.agreement(one, 2 - one) == 1).all()


# Numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["unified", "released"])
@pytest.mark.parametrize("algorithm", ["acorm", "r3dm"])
def test_a_recorded_battle_reproduces_its_actions(tmp_path, algorithm, protocol):
    """What is measured is what decided: the networks see the same in battle and afterwards."""
    battle = first_battle(save_policy(tmp_path / "p.pt", algorithm, protocol=protocol), seed=3)
    values = battle.swapped.diagonal(dim1=1, dim2=2).transpose(1, 2)  # in one's own role
    greedy = values.masked_fill(~battle.batch.available[:-1, 0], NEVER).argmax(-1)
    assert torch.equal(greedy, battle.batch.actions[:, 0])
    assert len(set(greedy.flatten().tolist())) > 2
    assert len(battle.alive) == battle.recording.length == len(battle.roles)
    only_no_op = battle.batch.available[:-1, 0, :, 0].numpy()
    np.testing.assert_array_equal(battle.alive, ~only_no_op)


def test_a_policy_that_ignores_roles_diverges_nowhere(tmp_path):
    def deafen(learner):
        learner.agent.encoder.weight[:, -learner.config.role_size :] = 0

    path = save_policy(tmp_path / "deaf.pt", change=deafen)
    (policy,) = battles.load([path])
    (battle,) = battles.play(policy, [0])
    numbers = measures.measure(policy, battle)
    assert numbers["divergence"].abs().max() < 1e-6
    assert numbers["other_action"].max() == 0
    listening = first_battle(save_policy(tmp_path / "listening.pt"))
    values = listening.swapped
    assert (values[:, :, 0] - values[:, :, 1]).abs().max() > 1e-3


def planted_battle(reference=None) -> Battle:
    """Four agents, the last one dead; agents 0 and 1 would do as told by the role, 2 never."""
    steps, a, b = 5, [2.0, 0.0, 3.0], [0.0, 2.0, 3.0]  # the third action is not available
    swapped = torch.tensor([[a, a, b, b], [a, a, b, b], [a, a, a, a], [a, b, b, b]])
    position = np.array([0.0, 0.1, 5.0, 9.0])
    places = np.broadcast_to(position[:, None], (steps, 4, 1)).astype(np.float32)
    available = torch.tensor([True, True, False]).expand(steps + 1, 1, 4, 3)
    embeddings, alive = places[:, [0, 2, 3, 1]], np.tile([True, True, True, False], (steps, 1))
    return Battle(
        seed=7,
        recording=None,
        batch=SimpleNamespace(available=available),
        alive=alive,
        embeddings=embeddings,
        roles=places,
        swapped=swapped.expand(steps, 4, 4, 3),
        clusters=find_clusters(places, embeddings, alive, 3, reference),
    )


def test_planted_numbers():
    battle = planted_battle()
    config = SimpleNamespace(identity=dict.fromkeys(IDENTITY, "x"))
    numbers = measures.measure(SimpleNamespace(config=config), battle)
    assert len(numbers) == 5 * 4
    assert (numbers["battle"] == 7).all()
    first = numbers[numbers["t"] == 1].set_index("agent")
    assert first["role_cluster"].tolist() == [0, 0, 1, 2]
    assert first["living_cluster"].tolist()[3] == ABSENT
    assert len(set(first["living_cluster"][:3])) == 3  # as many clusters as living agents
    assert first["living_silhouette"].isna().all()
    assert first["silhouette"].iloc[0] == pytest.approx(1 - 0.1 / 5.0)

    own = np.exp([2.0, 0.0, 3.0]) / np.exp([2.0, 0.0, 3.0]).sum()
    other = np.exp([0.0, 2.0, 3.0]) / np.exp([0.0, 2.0, 3.0]).sum()

    def divergence(share):
        mean = (1 - share) * own + share * other
        return pytest.approx((own * np.log(own / mean)).sum(), rel=1e-4)

    assert first["divergence"][0] == divergence(2 / 4)
    assert first["living_divergence"][0] == divergence(1 / 3)
    assert first["divergence"][2] == pytest.approx(0, abs=1e-6)
    assert first["other_action"].tolist() == pytest.approx([2 / 3, 2 / 3, 0, 1 / 3])
    assert first["living_other_action"].tolist()[:3] == pytest.approx([1 / 2, 1 / 2, 0])
    for name in MEASURES:
        assert np.isnan(first[f"living_{name}"][3])
    # e's clusters are {0, 3}, {1}, {2}: of agent 0 both say the same about agent 2 alone
    assert first["agreement"].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3])


def test_clusters_of_the_same_members_keep_their_shape_and_colour():
    found = planted_battle().clusters
    assert (found.roles == [0, 0, 1, 2]).all()
    assert (found.training[:, 2] == 1).all()  # alone in both
    assert (found.living[:, 2] == 1).all()
    renamed = planted_battle(reference=np.array([2, 2, 0, 1])).clusters
    assert (renamed.roles == [2, 2, 0, 1]).all()


def test_summary_averages_agents_then_battles(examined):
    _, numbers = examined
    table = summary(numbers, [1, 5, 500])
    assert [name for name in table.rows if "R3DM" in name] == [
        "R3DM, seed 0: t = 1 (3 battles)",
        "R3DM, seed 0: t = 5 (3 battles)",
        "R3DM, seed 0: all t (3 battles)",
    ]
    own = numbers[(numbers["algorithm"] == "acorm") & (numbers["t"] == 5)]
    column = table.columns.index("Policy divergence (nats)")
    cell = table.rows["ACORM, seed 1: t = 5 (3 battles)"][column]
    means = own.groupby("battle")["living_divergence"].mean()
    assert cell.value == pytest.approx(means.mean())
    assert means.min() <= cell.low <= cell.value <= cell.high <= means.max()
    unequal = numbers[(numbers["battle"] > 0) | (numbers["t"] <= 4)]
    cell = summary(unequal, []).rows["ACORM, seed 1: all t (3 battles)"][column]
    own = unequal[unequal["algorithm"] == "acorm"]
    means = own.groupby(["battle", "t"])["living_divergence"].mean().groupby("battle").mean()
    assert (cell.value, cell.note) == (pytest.approx(means.mean()), "")
    assert "not StarCraft II" in table.caption
    one = numbers[numbers["battle"] == 0]
    assert summary(one, [1]).rows["R3DM, seed 0: t = 1 (1 battle)"][0].interval == ""


# Figure -------------------------------------------------------------------------------------------


def texts(drawn) -> list[str]:
    return [text.get_text() for text in drawn.findobj(matplotlib.text.Text)]


def test_the_figure_says_what_it_shows(examined):
    plays, numbers = examined
    drawn = figure.draw(plays, numbers)
    shown = texts(drawn)
    assert "Roles on 3m" in shown
    assert "battle simulator (not StarCraft II), unified protocol" in shown
    assert {"R3DM, seed 0", "ACORM, seed 1", "t = 1", "t = 5"} <= set(shown)
    for play in plays:
        assert play.missing == [500]
        last = len(play.battle.alive)
        assert last == max(len(battle.alive) for battle in play.battles)
        assert f"t = {last}" in shown
        assert any(f"after {last} decisions, none at t = 500" in text for text in shown)
    assert "undefined: as many\nclusters as agents" not in shown
    box, (width, height) = drawn.get_tightbbox(), drawn.get_size_inches()
    assert min(box.x0, box.y0) > -0.03
    assert box.x1 < width + 0.03
    assert box.y1 < height + 0.03


def test_units_and_roles_have_the_colours_of_their_clusters(examined):
    play = examined[0][0]
    colours = {to_rgba(play.colours[label]) for label in play.battle.clusters.roles[0]}
    assert len(colours) == 2
    drawn = figure.draw([play], examined[1])
    numbered = [axes for axes in drawn.axes if "0" in [text.get_text() for text in axes.texts]]
    expected = [to_rgba(play.colours[label]) for label in play.battle.clusters.roles[0]]
    still, alone = numbered[0], numbered[len(play.steps)]
    assert [text.get_bbox_patch().get_facecolor() for text in still.texts] == expected
    assert [to_rgba(line.get_markerfacecolor()) for line in alone.lines] == expected
    bodies = [
        tuple(colour)
        for collection in still.collections
        for colour in collection.get_facecolor()
        if tuple(colour) in colours
    ]
    assert len(bodies) == 3


def test_the_dead_are_hollow(examined):
    play = examined[0][0]
    last = Play(play.policy, play.battles, [500])
    drawn = figure.draw([last], examined[1])
    numbered = [axes for axes in drawn.axes if "0" in [text.get_text() for text in axes.texts]]
    alone = next(axes for axes in numbered if len(axes.lines) == 3)
    alive = last.battle.alive[-1]
    assert not alive.all()
    hollow = [line.get_markerfacecolor() == "white" for line in alone.lines]
    assert hollow == (~alive).tolist()


def test_the_first_battle_that_is_long_enough_is_shown(examined):
    play = examined[0][0]
    lengths = [len(battle.alive) for battle in play.battles]
    short = Play(play.policy, play.battles, [1, min(lengths)])
    assert short.shown == 0
    assert short.missing == []
    longer = Play(play.policy, play.battles, [max(lengths)])
    assert longer.shown == lengths.index(max(lengths))


@pytest.mark.parametrize("agents", [2, 3, 8])
def test_layouts_take_few_agents(agents):
    places = np.random.default_rng(0).random((agents, 64)).astype(np.float32)
    for layout in (figure.single_layout, figure.joint_layout):
        assert np.isfinite(layout(places)).all()
    assert len(set(figure.palette(20))) == 20


# The command --------------------------------------------------------------------------------------


def run(*arguments) -> int:
    return commands.main(["roles", *map(str, arguments)])


def test_the_command_writes_figure_numbers_and_summary(tmp_path, policies, capsys, caplog):
    options = [word for path in policies.values() for word in ("--checkpoint", path)]
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert run(*options, "--battles", 2, "--stills", 4, "--output", folder) == 0
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert set(contents[0]) == FILES
    assert contents[0] == contents[1]
    assert "R3DM, seed 0: 2 battles of" in caplog.text
    assert str(tmp_path / "a" / "roles_3m.png") in capsys.readouterr().out
    numbers = pd.read_csv(tmp_path / "a" / "roles_3m.csv")
    assert set(numbers["algorithm"]) == {"r3dm", "acorm"}
    assert numbers.groupby("algorithm")["battle"].nunique().tolist() == [2, 2]
    assert "| ACORM, seed 1: t = 4 (2 battles) |" in (tmp_path / "a" / "roles_3m.md").read_text()


def test_bad_input_is_one_line(tmp_path, policies, capsys):
    def error(*paths, options=()):
        named = [word for path in paths for word in ("--checkpoint", path)]
        assert run(*named, "--output", tmp_path / "out", *options) == 2
        (line,) = capsys.readouterr().err.split("\n")[:-1]
        return line.removeprefix("error: ")

    acorm = policies["acorm"]
    assert "there is no such file" in error(tmp_path / "missing.pt")
    qmix = save_policy(tmp_path / "qmix.pt", "qmix")
    said = error(acorm, qmix)
    assert "QMIX, which has no roles like ACORM's; give policies of acorm or r3dm" in said
    other = save_policy(tmp_path / "8m.pt", map="8m")
    assert "differ in their map (3m, 8m)" in error(acorm, other)
    released = save_policy(tmp_path / "released.pt", protocol="released")
    assert "differ in their protocol (unified, released)" in error(acorm, released)
    quirk = save_policy(tmp_path / "quirk.pt", overrides=[{"reward_absolute": False}])
    assert "differ in their env options" in error(acorm, quirk)
    assert "are both ACORM, seed 1" in error(acorm, acorm)
    assert "--stills 0,5" in error(acorm, options=["--stills", "0,5"])
    assert "--stills one" in error(acorm, options=["--stills", "one"])
    assert "--battles 0" in error(acorm, options=["--battles", "0"])
    assert "--seed -1" in error(acorm, options=["--seed", "-1"])
    assert not (tmp_path / "out").exists()
