"""The comparison with the real game; recordings and foreign policies are not in the repository."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark import files
from benchmark.commands import main
from benchmark.envs import MAPS, find_map, make
from benchmark.envs.playing import play
from benchmark.envs.simulator.units import TYPE_ID
from benchmark.envs.spec import Observation
from benchmark.envs.validation import (
    distance,
    figures,
    learning,
    policies,
    random_play,
    report,
    transitions,
    untrained,
)
from benchmark.envs.validation.evidence import DEFAULT, Evidence
from benchmark.envs.validation.players import NearRandom, RecurrentPolicy, untrained_network
from benchmark.training.config import resolve_run
from benchmark.training.player import open_player
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import make_learner

FOLDER = Path(os.environ.get("EVIDENCE", DEFAULT))
needs_evidence = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no recordings of the real game in {FOLDER}"
)


def weights(inputs, hidden, actions):
    random = np.random.default_rng(0)
    shapes = {
        "fc1.weight": (hidden, inputs), "fc1.bias": (hidden,),
        "rnn.weight_ih": (3 * hidden, hidden), "rnn.weight_hh": (3 * hidden, hidden),
        "rnn.bias_ih": (3 * hidden,), "rnn.bias_hh": (3 * hidden,),
        "fc2.weight": (actions, hidden), "fc2.bias": (actions,),
    }  # fmt: skip
    return {f"agent.{k}": random.normal(size=v).astype(np.float32) for k, v in shapes.items()}


def test_a_policy_computes_what_torch_computes():
    b, n, o, a, h = 4, 3, 10, 7, 8
    arrays = weights(o + a + n, h, a)
    policy = RecurrentPolicy(arrays, "rnn")
    random = np.random.default_rng(1)

    def seen():
        obs = random.normal(size=(b, n, o)).astype(np.float32)
        available = random.random((b, n, a)) < 0.6
        available[..., 0] = True
        return Observation(obs, np.zeros((b, 5), np.float32), available)

    policy.begin(seen())
    cell = torch.nn.GRUCell(h, h)
    for name, value in arrays.items():
        if "rnn" in name:
            getattr(cell, name.removeprefix("agent.rnn.")).data = torch.from_numpy(value)
    hidden, last = torch.zeros(b * n, h), np.zeros((b, n, a), np.float32)
    for _ in range(5):
        now = seen()
        agents = np.broadcast_to(np.eye(n, dtype=np.float32), (b, n, n))
        x = torch.from_numpy(np.concatenate([now.obs, last, agents], 2).reshape(b * n, -1))
        first = torch.from_numpy(arrays["agent.fc1.weight"])
        x = torch.relu(x @ first.T + torch.from_numpy(arrays["agent.fc1.bias"]))
        hidden = cell(x, hidden)
        values = hidden @ torch.from_numpy(arrays["agent.fc2.weight"]).T
        values = (values.detach().numpy() + arrays["agent.fc2.bias"]).reshape(b, n, a)
        expected = np.where(now.available, values, -np.inf).argmax(2)
        np.testing.assert_array_equal(policy.act(now), expected)
        last = np.eye(a, dtype=np.float32)[expected]


def test_a_seed_gives_the_network_that_torch_draws():
    for seed in (1, 973_851_331):
        torch.manual_seed(seed)
        layers = {
            "fc1": torch.nn.Linear(98, 64), "rnn": torch.nn.GRUCell(64, 64),
            "fc2": torch.nn.Linear(64, 14),
        }  # fmt: skip
        weights = untrained_network(seed, 98, 14)
        assert len(weights) == 8
        for name, weight in weights.items():
            layer, _, kind = name.partition(".")
            expected = layers[layer].state_dict()[kind].numpy()
            np.testing.assert_allclose(weight, expected, rtol=0, atol=2e-8)


def test_shield_columns_are_added_where_units_have_none():
    columns, width = untrained.shield_columns(find_map("6h_vs_8z"))  # shields on one side
    spec = make("6h_vs_8z", 1).spec
    assert len(columns) == spec.obs_size
    assert width == spec.obs_size + 5 + 1  # five friends and oneself
    added = sorted(set(range(width)) - set(columns.tolist()))
    assert added == [4 + 8 * 6 + 5 + 6 * k for k in range(5)] + [width - 1]
    columns, width = untrained.shield_columns(find_map("3s5z"))
    assert columns.tolist() == list(range(width))


@pytest.mark.parametrize(
    ("name", "length", "correlation"), [("MMM2", 12, 0.7), ("5m_vs_6m", 4, 0.9)]
)
def test_untrained_policies_live_about_as_long_as_in_the_game(name, length, correlation):
    """Bounds of this commit; version 4 was 27 steps off on MMM2."""
    (line,) = untrained.summary(untrained.compare([name], 32))
    assert abs(line["length"] - line["real_length"]) < length
    assert line["length_correlation"] > correlation
    assert line["return_correlation"] > 0.9


@pytest.mark.parametrize(("epsilon", "expected"), [(1.0, 0.2), (0.5, 0.6), (0.0, 1.0)])
def test_near_random_play_explores_at_its_rate(epsilon, expected):
    """Of five available actions an agent takes its network's with 1 - epsilon + epsilon / 5."""
    b, n, a = 64, 4, 7
    available = np.ones((b, n, a), bool)
    available[..., :2] = False
    now = Observation(np.zeros((b, n, 3), np.float32), np.zeros((b, 1), np.float32), available)
    player, greedy = NearRandom(epsilon, 3), NearRandom(0.0, 3)
    player.begin(now)
    greedy.begin(now)
    actions = player.act(now)
    assert actions.min() >= 2
    assert abs((actions == greedy.act(now)).mean() - expected) < 0.08


def test_one_battle_of_several_runs_counts_once(tmp_path):
    """Runs with one seed begin with the same battle; a mean of eight battles weighs eight times."""
    first = {"map": "3m", "kind": "first_log_eps1", "n": 1, "dead_allies": 3, "dead_enemies": 0}
    points = [
        first | {"ep_length": 20, "return": 1.0}, first | {"ep_length": 20, "return": 1.0},
        first | {"ep_length": 20, "return": 2.0},
        first | {"map": "8m", "ep_length": 99, "return": 9},
        first | {"n": 8, "ep_length": 30, "return": 1.75, "dead_allies": np.nan},
        first | {"kind": "window", "ep_length": 99, "return": 9.0},
    ]  # fmt: skip
    pd.DataFrame(points).to_csv(tmp_path / "random_play_points.csv", index=False)
    row = {"map": "3m", "mean_eps": 1.0, "ep_length": 24, "return": 1.2, "dead_allies": 3}
    row |= {"condition": "real eps=1.0 (first log)", "dead_enemies": 0}
    row |= {"episodes": 11, "sem_length_over_points": 0.1, "sem_return_over_points": 0.1}
    recorded = row | {"condition": "recorded"}  # by our own command: the points are not of it
    pd.DataFrame([row, recorded]).to_csv(tmp_path / "random_play.csv", index=False)

    pure, other = random_play.compare(Evidence(tmp_path), ["3m"], 32)
    assert [row["real_battles"] for row in (pure, other)] == [10, 11]
    assert [row["real_length"] for row in (pure, other)] == [28.0, 24.0]
    assert pure["real_return"] == pytest.approx(1.7)
    assert pure["real_dead_allies"] == 3.0
    # three points with deviations of -0.7, 0.3 and 0.05, of weights 1, 1 and 8; t(2) = 4.303
    expected = 4.303 * ((0.7**2 + 0.3**2 + 0.4**2) * 3 / 2) ** 0.5 / 10
    assert pure["real_return_interval"] == pytest.approx(expected, rel=1e-3)
    assert other["real_return_interval"] == pytest.approx(0.196)


def record(folder, map, *more):
    arguments = ["record", "--map", map, "--backend", "simulator", "--output", str(folder), *more]
    assert main(arguments) == 0


def test_what_is_recorded_of_the_simulator_is_predicted_as_well_as_it_can_be(tmp_path, capsys):
    for episodes, seed in (("9", "5"), ("11", "9"), ("9", "0")):  # the same ones are there once
        record(tmp_path, "3m", "--episodes", episodes, "--n-envs", "8", "--seed", seed)
    record(tmp_path, "3m", "--episodes", "20", "--n-envs", "1")  # written in two parts
    steps = pd.read_csv(tmp_path / "3m_transitions.csv")
    assert sorted(steps["sequence"].unique()) == list(range(20))
    row = pd.read_csv(tmp_path / "random_play.csv").iloc[0]
    assert row["episodes"] == 20
    assert row["ep_length"] == len(steps) / 20
    played = play(make("3m", 4), NearRandom(1.0, 0), 20)  # the same policy and other batches
    assert abs(played["length"].mean() - row["ep_length"]) < 8

    found = transitions.compare(steps, "3m", 64)
    assert found["steps"] == len(steps)
    for horizon in ("one", "five"):
        for name in ("agents", "enemies", "alive"):
            here, ceiling = found[horizon][name]
            assert abs(here - ceiling) < 0.04, (horizon, name)
    folder = tmp_path / "compared"
    arguments = ["validate", "--evidence", str(tmp_path), "--maps", "3m", "--battles", "16"]
    assert main([*arguments, "--output", str(folder), "--figures", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "## Recorded steps of 3m" in said
    assert "Recorded on the simulator: a test of this program, not the game" in said
    assert pd.read_csv(folder / "random_play.csv")["real_battles"].item() == 20
    assert (folder / "simulator_and_game.png").stat().st_size > 10_000


def test_a_wrong_rule_shows_in_recorded_steps(tmp_path):
    record(tmp_path, "3m", "--episodes", "10")
    steps = pd.read_csv(tmp_path / "3m_transitions.csv")
    late = [name for name in steps if name.startswith("a") and name.endswith("hp_next")]
    steps[late] = steps[[name.removesuffix("_next") for name in late]].to_numpy()  # nobody is hurt
    here, ceiling = transitions.compare(steps, "3m", 32)["one"]["agents"]
    assert here < ceiling - 0.1


@pytest.mark.parametrize("name", ["MMM2", "protoss_5_vs_5", "terran_5_vs_5", "corridor"])
def test_any_map_can_be_recorded(tmp_path, name):
    record(tmp_path, name, "--episodes", "2")
    found = transitions.compare(pd.read_csv(tmp_path / f"{name}_transitions.csv"), name, 16)
    assert found["one"]["alive"][0] > 0.8
    assert found["one"]["agents_off"][0] < 0.3
    assert found["one"]["enemies"][0] > 0.5


def test_in_particles_of_drawn_teams_enemies_have_the_orders_of_the_recorded_types():
    """Or a marine would wait as the medivac that had been drawn in its place does."""
    env, shown = make("terran_5_vs_5", 64), make("terran_5_vs_5")
    env.reset(np.arange(64, dtype=np.uint64))
    shown.reset(np.array([1], np.uint64))
    assert (shown.units()["type"][0, 5:] == TYPE_ID["medivac"]).any()
    expected = shown._world.units[0]
    seen = np.zeros(len(expected), [(field, "f8") for field in transitions.FIELDS.values()])
    for field in transitions.FIELDS.values():
        seen[field] = expected[field]
    transitions._begin(env, seen)
    assert (env._world.units["order"] == expected["order"]).all()
    assert (env._world.units["type"] == expected["type"]).all()


def test_a_run_is_recorded_and_compared(tmp_path):
    learner = make_learner(
        config := resolve_run(map="3m", algorithm="qmix", seed=3), RandomStreams(3), "cpu",
        make("3m").spec,
    )  # fmt: skip
    torch.save(
        {"config": config.resolved(), "policy": learner.policy_state()}, tmp_path / "policy.pt"
    )
    record(tmp_path / "out", "3m", "--policy", str(tmp_path / "policy.pt"), "--episodes", "4")
    (row,) = policies.compare(Evidence(tmp_path / "out"), ["3m"], open_player, 16)
    assert re.fullmatch("3m_qmix_default_3_[0-9a-f]{8}.pt", row["file"])
    assert row["source"].startswith("simulator@")
    assert abs(row["win"] - row["real_win"]) < 0.2


def test_a_recording_is_refused_before_it_is_played(tmp_path, capsys, monkeypatch):
    """Tests must not pass for the game, nor may an hour of battles end at a table that is none."""
    monkeypatch.setattr("benchmark.envs.validation.record.play", None)
    arguments = ["record", "--map", "3m", "--backend", "simulator", "--output", str(tmp_path)]
    for text, message in (
        ("map,condition\n3m,starcraft2 4.10\n", "holds recordings of starcraft2; give"),
        ("map,condition\n3m,real eps=1.0\n", "holds recordings of starcraft2; give"),
        ("map,condition\n3m,standin 4.10\n", "holds recordings of standin; give"),
        ("", "random_play.csv is no table"),
    ):
        (tmp_path / "random_play.csv").write_text(text)
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "random_play.csv").unlink()
    (tmp_path / "file").touch()
    assert main([*arguments[:-1], str(tmp_path / "file")]) == 2
    assert "File exists; choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "message"),
    [("nowhere.npz", "no such file"), ("nowhere", "cannot read|no such|holds no")],
)
def test_a_policy_that_is_not_there_is_explained(tmp_path, capsys, policy, message):
    arguments = ["record", "--map", "3m", "--backend", "simulator", "--output", str(tmp_path)]
    assert main([*arguments, "--policy", str(tmp_path / policy)]) == 2
    assert any(part in capsys.readouterr().err.lower() for part in message.split("|"))


def study(folder, final):
    """A study's table: QMIX wins nothing, and in the last 200,000 steps a share."""
    rows = [
        ("qmix", "default", "training", name, seed, step, win > 0 and step >= 300_000 and k < win)
        for name, win in final.items()
        for seed in (0, 1)
        for step in range(0, 500_001, 10_000)
        for k in np.arange(0, 1, 0.1)
    ]
    names = ["algorithm", "variant", "phase", "map", "seed", "step", "battle_won"]
    folder.mkdir()
    pd.DataFrame(rows, columns=names).to_parquet(folder / "evaluations.parquet")
    files.write_sealed({"runs": [{"backend_version": "7"}]}, folder / "runs.json")


def test_learning_curves_are_compared_over_the_maps_that_are_there(tmp_path):
    study(tmp_path / "study", {"3m": 0.8, "2s3z": 0.5, "5m_vs_6m": 0.1})
    real, sources = learning.real_curves(Evidence(tmp_path))
    assert set(sources["map"]) == set(real["map"])
    found = learning.compare(real, tmp_path / "study", list(MAPS))
    assert found["versions"] == ["7"]
    assert found["spearman"] == pytest.approx(1.0)
    assert "3s5z" in found["missing"]
    finals = {row["map"]: row for row in found["finals"]}
    assert finals["3m"]["win"] == pytest.approx(0.8)
    assert finals["3m"]["runs"] == 2
    real_2s3z = real[(real["map"] == "2s3z") & real["step"].between(300_000, 499_999)]
    assert finals["2s3z"]["real_win"] == pytest.approx(real_2s3z["win"].mean())
    gaps = [abs(row["win"] - row["real_win"]) for row in finals.values()]
    assert found["difference"] == pytest.approx(np.mean(gaps))
    assert len(figures.learning_curves(found).axes) == len(finals) + len(found["missing"])
    text = report.as_markdown(
        {"policies": [], "untrained": [], "random_play": [], "steps": [], "learning": found}
        | {"skipped": [], "tests": []}
    )
    assert "Not finished here: 8m" in text


def test_a_report_says_how_far_the_simulator_is():
    maps = ["3m", "2s3z", "zerg_5_vs_5"]
    table = pd.read_csv(files.ROOT / "results" / "real" / "policies.csv")
    (version,) = set(table["simulator"].astype(str))
    text = distance.sentence(maps, version)
    by_map = policies.difference(table.to_dict("records"))
    assert "not measured" not in text
    assert distance.sentence(maps, "1") == text.replace(
        " No policy", " These runs are of simulator 1, which was not measured. No policy"
    )
    assert f"{np.mean([by_map['3m'], by_map['2s3z']]):.2f} of all battles" in text
    assert "is known of zerg_5_vs_5" in text
    assert distance.sentence(["zerg_5_vs_5"], version).startswith("No policy")


def test_an_absent_folder_is_explained(tmp_path, capsys):
    assert main(["validate", "--evidence", str(tmp_path / "nowhere")]) == 2
    assert "--evidence names the folder" in capsys.readouterr().err


def test_absent_files_are_skipped_with_a_reason(tmp_path, capsys):
    empty = ["--evidence", str(tmp_path), "--runs", str(tmp_path)]
    assert main(["validate", *empty, "--maps", "3m", "zerg_5_vs_5"]) == 0
    out = capsys.readouterr().out
    for name in ("policies.csv", "random_play.csv", "<map>_transitions.csv"):
        assert f"no {name}" in out
    assert f"no finished run in {tmp_path}" in out
    assert "no evidence on zerg_5_vs_5 (learning curves alone)" in out
    assert "| 3m | 53 |" in out  # untrained policies need no folder


def test_runs_that_were_only_begun_do_not_hide_the_kept_ones(tmp_path, monkeypatch, capsys):
    kept = files.ROOT / "results" / "reference"
    (tmp_path / "results" / "validity" / "runs").mkdir(parents=True)
    (tmp_path / "results" / "reference").symlink_to(kept)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    assert main(["validate", "--evidence", str(tmp_path), "--maps", "3m"]) == 0
    assert "## Learning curves of QMIX" in capsys.readouterr().out


@needs_evidence
def test_policies_win_about_as_often_as_in_the_game():
    """The bound of this commit, not the goal; see docs."""
    maps = ["2s3z", "3s5z_vs_3s6z", "corridor"]
    rows = policies.compare(Evidence(FOLDER), maps, open_player, 128)
    assert np.mean(list(policies.difference(rows).values())) < 0.12


@needs_evidence
def test_near_random_battles_are_about_as_long_as_in_the_game():
    """Within 7 % or the game's own interval, which is wide on 8m (71 battles); the goal is 3 %."""
    maps = ["8m", "2s3z", "3s5z", "MMM2", "6h_vs_8z"]
    rows = random_play.compare(Evidence(FOLDER), maps)
    pure = [row for row in rows if row["epsilon"] == random_play.PURE]
    assert [row["map"] for row in pure] == maps
    for row in pure:
        bound = max(0.07 * row["real_length"], row["real_length_interval"])
        assert abs(row["length"] - row["real_length"]) < bound, row["map"]


@needs_evidence
def test_recorded_steps_are_predicted():
    table = Evidence(FOLDER).table("3m_transitions.csv")
    found = transitions.compare(table, "3m", 64, 60)
    assert found["one"]["agents"][0] > 0.5
    assert found["one"]["enemies"][0] > 0.95
    assert found["one"]["enemies_off"][0] < 0.04
    steps, predicted, *_ = found["targets"]["all"]
    assert steps > 50
    assert predicted > 0.8
