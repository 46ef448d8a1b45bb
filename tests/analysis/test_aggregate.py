"""Many runs become one table; what is missing, damaged, mixed or doubled is said in one line."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmark import commands, files
from benchmark.analysis.aggregate import aggregate, find_runs
from benchmark.errors import BenchmarkError
from benchmark.training.config import resolve_run
from benchmark.training.evaluations import EVALUATION_SCHEMA, read_evaluations, write_evaluations
from tests.analysis import synthetic

RUNS = [("3m", "qmix", 0), ("3m", "qmix", 1), ("8m", "qmix", 0)]


def save(table: pd.DataFrame, folder):
    """Writes one run as training does; returns its folder."""
    write_evaluations(table, folder / "evaluations.parquet")
    files.write_json(synthetic.provenance(table)[0], folder / "run.json")
    return folder


@pytest.fixture
def study(tmp_path):
    """A study folder with three runs."""
    for map, algorithm, seed in RUNS:
        run = synthetic.run(map, algorithm, seed, budget=20_000, absolute=8)
        save(run, tmp_path / "runs" / "simulator" / map / algorithm / "default" / str(seed))
    return tmp_path


def identity(map, algorithm, seed, **rest):
    return {
        "study": "synthetic",
        "backend": "simulator",
        "protocol": "unified",
        "map": map,
        "algorithm": algorithm,
        "variant": "default",
        "seed": seed,
        "config_hash": "c0ffee",
        **rest,
    }


def test_table_holds_every_row_of_every_run(study):
    summary = aggregate(find_runs(study / "runs"), study)
    table = read_evaluations(study / "evaluations.parquet")
    parts = [synthetic.run(*run, budget=20_000, absolute=8) for run in RUNS]
    pd.testing.assert_frame_equal(table, pd.concat(parts, ignore_index=True))
    assert pq.read_schema(study / "evaluations.parquet").equals(EVALUATION_SCHEMA)
    assert summary == json.loads((study / "runs.json").read_text())
    found = {(run["map"], run["seed"]) for run in summary["runs"]}
    assert found == {("3m", 0), ("3m", 1), ("8m", 0)}


def test_expected_runs_that_are_missing_or_changed_are_listed(study):
    expected = [
        identity("3m", "qmix", 0),
        identity("3m", "qmix", 1, config_hash="other"),
        identity("3m", "qmix", 2, state="failed", step=7, note="why"),
    ]
    summary = aggregate(find_runs(study / "runs"), study, expected)
    assert [run["seed"] for run in summary["changed"]] == [1]
    assert [(run["seed"], run["note"]) for run in summary["missing"]] == [(2, "why")]


def test_truncated_run_stops_with_its_name(study):
    broken = study / "runs" / "simulator" / "3m" / "qmix" / "default" / "1" / "evaluations.parquet"
    broken.write_bytes(broken.read_bytes()[:-50])
    with pytest.raises(BenchmarkError) as caught:
        aggregate(find_runs(study / "runs"), study)
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (study / "evaluations.parquet").exists()


def test_truncated_run_can_be_skipped_and_is_recorded(study):
    broken = study / "runs" / "simulator" / "3m" / "qmix" / "default" / "1" / "evaluations.parquet"
    broken.write_bytes(b"")
    summary = aggregate(find_runs(study / "runs"), study, [identity("3m", "qmix", 1)], True)
    assert [item["file"] for item in summary["broken"]] == [str(broken)]
    assert [run["seed"] for run in summary["missing"]] == [1]
    assert len(summary["runs"]) == 2


def test_failure_keeps_the_table_of_before(study):
    aggregate(find_runs(study / "runs"), study)
    before = (study / "evaluations.parquet").read_bytes()
    other = save(synthetic.run("3m", "qmix", 5, backend="starcraft2"), study / "other")
    with pytest.raises(BenchmarkError):
        aggregate([*find_runs(study / "runs"), other], study)
    assert (study / "evaluations.parquet").read_bytes() == before
    assert not list(study.glob(".*"))


@pytest.mark.parametrize("column", ["backend", "protocol"])
def test_mixed_sources_are_an_error(study, column):
    other = save(synthetic.run("3m", "qmix", 5, **{column: "other"}), study / "other")
    with pytest.raises(BenchmarkError, match="never averaged or ranked together"):
        aggregate([*find_runs(study / "runs"), other], study)


def test_same_run_twice_is_an_error_that_names_both(study):
    copy = save(synthetic.run("3m", "qmix", 0, budget=20_000, study="b"), study / "copy")
    with pytest.raises(BenchmarkError, match="hold the same run") as caught:
        aggregate([*find_runs(study / "runs"), copy], study)
    assert str(copy) in str(caught.value)
    assert str(find_runs(study / "runs")[0]) in str(caught.value)


def test_empty_run_is_an_error(study):
    empty = save(synthetic.run("3m", "emc", 0), study / "empty")
    write_evaluations(synthetic.run("3m", "emc", 0).iloc[:0], empty / "evaluations.parquet")
    with pytest.raises(BenchmarkError, match="empty"):
        aggregate([empty], study)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(BenchmarkError, match="no finished run"):
        aggregate(find_runs(tmp_path / "runs"), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_record_of_something_else_is_an_error(study):
    folder = save(synthetic.run("3m", "emc", 0), study / "other")
    (folder / "run.json").write_text("[]")
    with pytest.raises(BenchmarkError, match=r"run\.json lacks 'study'"):
        aggregate([folder], study)


def test_studies_can_be_joined(study, tmp_path):
    aggregate(find_runs(study / "runs"), study)
    more = save(synthetic.run("3m", "emc", 0, study="mine"), tmp_path / "more")
    summary = aggregate([study, more], tmp_path / "joined")
    assert {run["study"] for run in summary["runs"]} == {"synthetic", "mine"}
    table = read_evaluations(tmp_path / "joined" / "evaluations.parquet")
    assert set(table["algorithm"]) == {"qmix", "emc"}


def test_command_of_a_study_takes_its_runs_only(tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "{version: 2, name: tiny, backend: simulator, protocol: unified, seeds: [0, 1],"
        " maps: [3m], algorithms: [qmix]}"
    )
    folder = tmp_path / "tiny" / "runs" / "simulator"
    save(synthetic.run("3m", "qmix", 0, study="tiny"), folder / "3m" / "qmix" / "default" / "0")
    save(synthetic.run("8m", "qmix", 0, study="tiny"), folder / "8m" / "qmix" / "default" / "0")
    assert commands.main(["aggregate", str(tmp_path / "tiny"), "--study", str(file)]) == 0
    summary = json.loads((tmp_path / "tiny" / "runs.json").read_text())
    assert [run["map"] for run in summary["runs"]] == ["3m"]
    assert [(run["seed"], run["state"]) for run in summary["missing"]] == [(1, "missing")]
    assert [run["seed"] for run in summary["changed"]] == [0]  # its hash is made up
    assert "1 of 2 runs missing" in capsys.readouterr().err


def test_command_takes_a_study_as_json(study, capsys):
    """As the workflow gives it, where options may have changed what stands in the study's file."""
    folder = study.rename(study.parent / "tiny")
    wanted = dict(version=2, name="tiny", backend="simulator", protocol="unified")
    wanted |= dict(seeds=[0, 2], maps=["3m"], algorithms=["qmix"])
    runs = map(str, find_runs(folder / "runs"))
    assert commands.main(["aggregate", str(folder), *runs, "--study", json.dumps(wanted)]) == 0
    summary = json.loads((folder / "runs.json").read_text())
    assert [run["seed"] for run in summary["missing"]] == [2]
    assert commands.main(["aggregate", str(folder), "--study", "{"]) == 2
    assert commands.main(["aggregate", str(folder), "--study", '{"version": 2, "sed": 1}']) == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first.startswith("error: study: not valid JSON")
    assert second.startswith("error: study: unknown key 'sed'")


def test_command_refuses_the_folder_of_another_study(tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "{version: 2, name: tiny, backend: simulator, protocol: unified, seeds: [0],"
        " maps: [3m], algorithms: [qmix]}"
    )
    assert commands.main(["aggregate", str(tmp_path / "other"), "--study", str(file)]) == 2
    assert "is not the folder of study tiny" in capsys.readouterr().err


def of_the_game(table, version):
    """A run's table and provenance as the StarCraft II backend leaves them."""
    table = table.assign(backend="starcraft2")
    return table, synthetic.provenance(table, backend_version=version)[0]


def save_game(folder, seed, version, played_by="starcraft2"):
    table, about = of_the_game(synthetic.run("3m", "qmix", seed, budget=20_000), version)
    write_evaluations(table.assign(backend=played_by), folder / "evaluations.parquet")
    files.write_json(about, folder / "run.json")
    return folder


def test_versions_of_the_game_are_never_mixed(tmp_path):
    runs = [
        save_game(tmp_path / str(seed), seed, version)
        for seed, version in enumerate(
            ("4.10 (Base75689)", "4.10 (Base75689)", "4.6.2 (Base69232)")
        )
    ]
    aggregate(runs[:2], tmp_path / "same")
    both = r"different versions of StarCraft II \(4\.10 \(Base75689\), 4\.6\.2 \(Base69232\)\)"
    with pytest.raises(BenchmarkError, match=both):
        aggregate(runs, tmp_path / "mixed")
    with pytest.raises(BenchmarkError, match=both):
        aggregate([tmp_path / "same", runs[2]], tmp_path / "mixed")


def test_versions_of_the_simulator_are_never_mixed(study):
    *_, last = find_runs(study / "runs")
    about = files.read_json(last / "run.json")
    files.write_json(about | {"backend_version": "2"}, last / "run.json")
    with pytest.raises(BenchmarkError, match=r"different versions of the simulator \(1, 2\)"):
        aggregate(find_runs(study / "runs"), study)


def configured(study, seed: int, **overrides) -> None:
    """Gives a run of the study on 3m the configuration that these rules make."""
    run = resolve_run(map="3m", algorithm="qmix", seed=seed, overrides=[overrides])
    path = study / f"runs/simulator/3m/qmix/default/{seed}/run.json"
    files.write_json(files.read_json(path) | {"config": run.resolved()}, path)


@pytest.mark.parametrize(
    ("key", "value", "usual"),
    [("budget", 30_000, 20_000), ("learning_rate", 0.001, 0.0005), ("reward_scale_rate", 2, 20)],
)
def test_runs_under_different_rules_are_never_averaged(study, key, value, usual):
    configured(study, 0, budget=20_000)
    configured(study, 1, budget=20_000)
    aggregate(find_runs(study / "runs"), study)  # another seed is no other rule
    before = (study / "evaluations.parquet").read_bytes()
    configured(study, 1, **{"budget": 20_000, key: value})
    with pytest.raises(BenchmarkError) as caught:
        aggregate(find_runs(study / "runs"), study)
    names = [f"synthetic/3m/qmix/default/{seed} has {key} = " for seed in (0, 1)]
    assert f"{names[0]}{usual} and {names[1]}{value}: runs under different" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (study / "evaluations.parquet").read_bytes() == before


def test_a_rule_that_a_run_is_older_than_is_no_other_rule(study):
    configured(study, 0, budget=20_000)
    configured(study, 1, budget=20_000)
    path = study / "runs/simulator/3m/qmix/default/0/run.json"
    about = files.read_json(path)
    del about["config"]["training"]["burn_in_episodes"]
    files.write_json(about, path)
    assert len(aggregate(find_runs(study / "runs"), study)["runs"]) == 3


def test_the_saved_reference_is_still_one_table(tmp_path):
    """Its runs are from two commits."""
    reference = files.ROOT / "results" / "reference" / "learning"
    assert (
        aggregate([reference], tmp_path)["runs"] == files.read_json(reference / "runs.json")["runs"]
    )


@pytest.mark.parametrize(
    ("key", "what"), [("map_sha256", "the map file"), ("client_sha256", "the client")]
)
def test_maps_and_clients_of_one_name_are_told_apart(tmp_path, key, what):
    runs = [save_game(tmp_path / str(seed), seed, "4.10 (Base75689)") for seed in range(2)]
    for digest, folder in zip(("a" * 64, "b" * 64), runs, strict=True):
        about = files.read_json(folder / "run.json")
        about["attempts"][0]["backend"] = {key: digest}
        files.write_json(about, folder / "run.json")
    aggregate(runs[:1], tmp_path / "one")
    with pytest.raises(BenchmarkError, match=f"{what} of 3m .a{{12}}, b{{12}}.,"):
        aggregate(runs, tmp_path / "mixed")


def test_the_stand_in_is_never_mixed_with_the_game(tmp_path):
    """Its rows carry another backend, though the run was configured for the game."""
    version = "4.10 (Base75689, stand-in)"
    runs = [
        save_game(tmp_path / "0", 0, version, played_by="standin"),
        save_game(tmp_path / "1", 1, "4.10 (Base75689)"),
    ]
    expected = [identity("3m", "qmix", 0, backend="starcraft2")]
    assert aggregate(runs[:1], tmp_path / "one", expected)["missing"] == []
    with pytest.raises(BenchmarkError, match=r"starcraft2/unified but .* is standin/unified"):
        aggregate(runs, tmp_path / "mixed")
