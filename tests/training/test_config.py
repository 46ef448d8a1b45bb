"""Study files: what they mean, and that every mistake in one is a single clear line."""

from pathlib import Path

import pytest
import yaml

from algorithms.qmix import QMIX
from benchmark.envs.maps import MAPS
from benchmark.errors import BenchmarkError
from benchmark.training.config import RunConfig, resolve_run
from benchmark.training.protocol import MAP_RULES, RULES
from benchmark.training.study import load_study, parse_study
from benchmark.training.study_folder import find
from tests.training.small import STUDY

ROOT = Path(__file__).parent.parent.parent
CURVE = {"algorithm": "qmix", "label": "QMIX"}
VARIANT = {"algorithm": "qmix", "name": "slow", "maps": ["3m"], "set": {"learning_rate": 1e-4}}


def test_the_full_study():
    study = load_study(ROOT / "config" / "paper.yaml")
    runs = study.runs()
    assert study.protocol == "unified"
    assert len(study.maps) == 12
    assert study.seeds == [0, 1, 2, 3, 4]
    assert len(runs) == len({run.path for run in runs}) == len({run.hash for run in runs})
    assert len(runs) >= 12 * 5 * len(study.algorithms)
    budgets = {run.map: run.training.budget for run in runs}
    long = ["3s5z_vs_3s6z", "6h_vs_8z", "protoss_10_vs_11", "zerg_10_vs_11"]
    expected = dict.fromkeys(study.maps, 2_000_000) | dict.fromkeys(long, 3_000_000)
    expected["terran_10_vs_11"] = 2_500_000
    assert budgets == expected


def test_the_smoke_study_is_small():
    study = load_study(ROOT / "config" / "smoke.yaml")
    assert all(run.training.budget <= 10_000 for run in study.runs())
    families = {MAPS[map].generated for map in study.maps}
    assert families == {True, False}


def test_later_tables_win():
    study = STUDY | {
        "set": {"learning_rate": 0.1, "gamma": 0.5},
        "per_map": {"3m": {"learning_rate": 0.01, "td_lambda": 0.3}},
        "per_algorithm": {"qmix": {"td_lambda": 0.6}},
        "variants": [VARIANT],
    }
    found = {
        (run.map, run.variant): run.hyperparameters for run in parse_study(study, "study").runs()
    }
    assert found["8m", "default"].learning_rate == 0.1
    assert found["3m", "default"].learning_rate == 0.01
    assert found["3m", "slow"].learning_rate == 1e-4
    assert {each.gamma for each in found.values()} == {0.5}
    assert {each.td_lambda for each in found.values()} == {0.6}  # a method's beats a map's
    assert ("8m", "slow") not in found


def test_rules_of_the_map_beat_those_of_the_protocol():
    for map in MAP_RULES:
        run = resolve_run(map=map, algorithm="qmix", seed=0)
        expected = RULES["unified"] | MAP_RULES[map]
        assert run.training.model_dump() == expected


def test_a_run_survives_json():
    run = resolve_run(map="3m", algorithm="qmix", seed=3, overrides=[{"reward_scale_rate": 2}])
    again = RunConfig.model_validate(run.resolved())
    assert again == run
    assert again.hash == run.hash
    assert type(again.hyperparameters) is type(run.hyperparameters)


def test_numbers_that_yaml_takes_for_text():
    """YAML 1.1 reads 5e-4 as a string."""
    run = resolve_run(map="3m", algorithm="qmix", seed=0, overrides=[{"learning_rate": "3e-4"}])
    assert run.hyperparameters.learning_rate == 3e-4


def test_every_setting_changes_the_hash():
    base = resolve_run(map="3m", algorithm="qmix", seed=0)
    changes = [{"learning_rate": 1e-4}, {"budget": 1}, {"missile_flight": False}]
    hashes = {resolve_run(map="3m", algorithm="qmix", seed=0, overrides=[c]).hash for c in changes}
    assert len(hashes | {base.hash}) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"maps": ["3n"]}, ["unknown map '3n'", "3m"]),
        ({"algorithms": ["qmx"]}, ["unknown algorithm 'qmx'", "did you mean qmix"]),
        ({"backend": "simulater"}, ["unknown backend 'simulater'", "simulator"]),
        ({"protocol": "fair"}, ["unknown protocol 'fair'", "unified"]),
        ({"seed": [0]}, ["unknown key 'seed'", "did you mean seeds"]),
        ({"set": {"learning_rat": 0.1}}, ["unknown key 'learning_rat'", "learning_rate"]),
        ({"set": {"learning_rate": "fast"}}, ["learning_rate", "number", "'fast'"]),
        ({"set": {"learning_rate": -1}}, ["learning_rate", "greater than 0", "-1"]),
        ({"set": {"budget": 0}}, ["budget", "greater than 0"]),
        ({"set": {"truncation": "never"}}, ["truncation", "'terminal' or 'bootstrap'", "'never'"]),
        ({"set": {"n_envs": 3, "updates_per_episode": 0.5}}, ["whole number of updates"]),
        ({"set": {"replay_episodes": 8}}, ["batch_size 32 exceeds replay_episodes 8"]),
        (
            {"set": {"burn_in_episodes": 64, "replay_episodes": 32}},
            ["burn_in_episodes 64 exceeds replay_episodes 32"],
        ),
        ({"set": {"reward_scale_rate": 0}}, ["reward_scale_rate", "positive"]),
        ({"set": {"max_reward": "most"}}, ["max_reward", "expected"]),
        ({"set": {"missile_flight": 3}}, ["missile_flight"]),
        ({"set": {"protocol": "released"}}, ["one protocol", "second study file"]),
        ({"protocol": ["unified", "released"]}, ["one protocol", "second study file"]),
        ({"backend": ["simulator", "starcraft2"]}, ["one backend", "second study file"]),
        ({"seeds": [0, 1, 0]}, ["seeds", "0 is listed twice"]),
        ({"seeds": []}, ["seeds", "must not be empty"]),
        ({"seeds": [0, "one"]}, ["seeds.1", "integer", "'one'"]),
        ({"seeds": [True]}, ["seeds.0", "must be an integer", "True"]),
        ({"seeds": [1.0]}, ["seeds.0", "must be an integer", "1.0"]),
        ({"seeds": [-1]}, ["seed", "greater than or equal to 0"]),
        ({"maps": ["3m", "3m"]}, ["maps", "'3m' is listed twice"]),
        ({"maps": "3m"}, ["maps", "list"]),
        ({"name": "../elsewhere"}, ["names a folder"]),
        ({"name": "two words"}, ["names a folder"]),
        ({"name": "a" * 101}, ["names a folder", "100 at most"]),
        ({"name": "adhoc"}, ["another folder", "choose another name"]),
        (
            {"ablations": [{"name": "a", "title": "A", "curves": [CURVE, CURVE]}]},
            ["ablations.0.curves", "'QMIX' is listed twice"],
        ),
        ({"per_map": {"2s3z": {}}}, ["per_map", "'2s3z'", "not among the study's maps"]),
        ({"variants": [VARIANT, VARIANT]}, ["qmix/slow", "two different runs"]),
        ({"variants": [VARIANT | {"name": "default"}]}, ["qmix/default"]),
        ({"variants": [VARIANT | {"nam": "x"}]}, ["variants.0.nam"]),
        (
            {"variants": [VARIANT | {"maps": ["3m", "2s3z"]}]},
            ["qmix/slow", "'2s3z'", "not among the study's maps"],
        ),
        ({"version": 3}, ["version 3 is newer", "update"]),
        ({"version": 0}, ["version must be 2"]),
        ({"set": {"learning_rate": float("nan")}}, ["learning_rate: nan"]),
        ({"set": {"alpha": 0.1}}, ["'alpha'", "of r3dm", "not of qmix", "per_algorithm"]),
        ({"set": {"seed": 3}}, ["'seed'", "which run it is"]),
        ({"variants": [VARIANT | {"maps": []}]}, ["variants.0.maps", "must not be empty"]),
        ({"variants": [VARIANT | {"maps": ["3m", "3m"]}]}, ["'3m' is listed twice"]),
        ({"algorithms": ["vdn"]}, ["unknown algorithm 'vdn'", "R3DM_METHODS"]),
        ({"statistics": {"replications": 0}}, ["statistics.replications", "greater than 0"]),
    ],
)
def test_a_mistake_is_one_line_that_says_where(change, words):
    with pytest.raises(BenchmarkError) as error:
        parse_study(STUDY | change, "config/mine.yaml")
    message = str(error.value)
    assert message.startswith("config/mine.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_all_keys_that_are_missing_are_named_at_once():
    study = {key: value for key, value in STUDY.items() if key not in ("backend", "seeds")}
    with pytest.raises(
        BenchmarkError, match=r"mine.yaml: backend, seeds: Field required; and 1 mo"
    ):
        parse_study(study | {"maps": []}, "mine.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("maps: [3m", ["line 1", "not valid YAML"]),
        ("- 3m\n", ["a study is a table of keys"]),
        ("", ["a study is a table of keys"]),
        ("!!python/object/apply:os.system ['true']\n", ["not valid YAML"]),
        ("\x00\xff", ["not valid YAML"]),
        ("name: a\nset:\n  gamma: 0.9\n  gamma: 0.5\n", ["line 4", "'gamma' stands there twice"]),
    ],
)
def test_a_file_that_is_no_study(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BenchmarkError) as error:
        load_study(path)
    assert "\n" not in str(error.value)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(BenchmarkError, match=r"cannot read .*No such file"):
        load_study(tmp_path / "mine.yaml")


def test_studies_are_found_by_name_or_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert find("paper").study == find("config/paper.yaml").study
    with pytest.raises(BenchmarkError, match="unknown study 'papr'; did you mean paper"):
        find("papr")


def test_two_files_of_one_name_are_told_apart(tmp_path, monkeypatch):
    """A copy that keeps the name is how a study of one's own begins."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/one.yaml").write_text(yaml.safe_dump(STUDY))
    (tmp_path / "config/half_typed.yaml").write_text("name: [")
    name = STUDY["name"]
    assert find(name).source == "config/one.yaml"
    (tmp_path / "config/copy.yaml").write_text(yaml.safe_dump(STUDY | {"seeds": [0]}))
    with pytest.raises(BenchmarkError, match=r"copy.yaml and config/one.yaml have the name"):
        find(name)
    with pytest.raises(BenchmarkError, match=r"half_typed.yaml"):
        find("half_typed")


ROLES = {"map": "8m", "algorithms": ["r3dm", "acorm"], "seed": 1}


def with_roles(**changes) -> dict:
    return STUDY | {"algorithms": ["r3dm", "qmix", "acorm"], "roles": ROLES | changes}


def test_the_runs_whose_roles_are_shown():
    variant = VARIANT | {"algorithm": "r3dm", "maps": ["8m"]}
    study = parse_study(with_roles() | {"variants": [variant]}, "study")
    paths = [run.path.as_posix() for run in study.role_runs()]
    folder = "made_up/runs/simulator/8m"
    assert paths == [f"{folder}/r3dm/default/1", f"{folder}/acorm/default/1"]
    assert parse_study(STUDY, "study").role_runs() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"map": "2s3z"}, "'2s3z' is not among the study's maps"),
        ({"seed": 2}, "2 is not among the study's seeds"),
        ({"algorithms": ["cia"]}, "'cia' is not among the study's algorithms"),
        ({"algorithms": ["r3dm", "qmix"]}, "qmix is not built on ACORM"),
        ({"algorithms": []}, "roles.algorithms"),
        ({"battles": 0}, "roles.battles"),
        ({"steps": [1]}, "roles.steps"),
        ({"algorithms": ["r3dm", "r3dm"]}, "'r3dm' is listed twice"),
    ],
)
def test_mistakes_in_roles_are_one_line(changes, words):
    with pytest.raises(BenchmarkError, match=r"study: .*roles") as error:
        parse_study(with_roles(**changes), "study")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("table", ["MAP_HYPERPARAMETERS", "RELEASED_MAPS"])
def test_a_method_with_values_for_a_map_that_there_is_not_is_refused(table, monkeypatch):
    monkeypatch.setattr(QMIX, table, {"3mm": {"learning_rate": 0.1}})
    with pytest.raises(BenchmarkError, match="tables of qmix: unknown map '3mm'; did you mean 3m"):
        resolve_run(map="8m", algorithm="qmix", seed=0)


def test_roles_are_shown_on_the_simulator_only():
    study = parse_study(with_roles() | {"backend": "starcraft2"}, "study")
    assert study.role_runs() == []


def test_the_full_study_needs_one_other_word_on_the_game():
    text = (ROOT / "config" / "paper.yaml").read_text()
    study = parse_study(yaml.safe_load(text) | {"backend": "starcraft2"}, "study")
    assert {run.backend for run in study.runs()} == {"starcraft2"}


@pytest.mark.parametrize("value", ["inf", "1e999", "nan", float("inf"), float("nan"), True])
@pytest.mark.parametrize("key", ["learning_rate", "gradient_clip", "epsilon_end"])
def test_settings_are_finite_after_conversion_too(key, value):
    with pytest.raises(BenchmarkError, match=key):
        resolve_run(map="3m", algorithm="qmix", seed=0, overrides=[{key: value}])
