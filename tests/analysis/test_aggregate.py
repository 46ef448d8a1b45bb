"""Many runs become one table; what is missing, damaged, mixed or doubled is said in one line."""

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmark import commands, files
from benchmark.analysis.aggregate import aggregate, find_runs
from benchmark.errors import BenchmarkError
from benchmark.training import study_folder
from benchmark.training.config import VERSION, hash_of, resolve_run
from benchmark.training.evaluations import EVALUATION_SCHEMA, read_evaluations
from benchmark.training.run_record import DIGEST
from benchmark.training.study import Study, parse_study
from tests.analysis import synthetic

RUNS = [("3m", "qmix", 0), ("3m", "qmix", 1), ("8m", "qmix", 0)]
GAME = "4.10 (Base75689)"


def change(run, **changes) -> None:
    """Changes the record of a saved run."""
    about = files.read_sealed(run / "run.json") | changes
    files.write_sealed(about | {"config_hash": hash_of(about["config"])}, run / "run.json")


@pytest.fixture
def study(tmp_path):
    """The folder of a study ``tiny`` with three runs."""
    folder = tmp_path / "tiny"
    for map, algorithm, seed in RUNS:
        run = synthetic.run(map, algorithm, seed, budget=20_000, absolute=8)
        synthetic.save(run, folder / "runs" / "simulator" / map / algorithm / "default" / str(seed))
    return folder


def declared(**changes) -> Study:
    """The study as its file has it: with two of those runs and another one."""
    values = {"version": VERSION, "name": "tiny", "backend": "simulator", "protocol": "unified"}
    values |= {"seeds": [0, 1, 2], "maps": ["3m"], "algorithms": ["qmix"]}
    return parse_study(values | changes, "test")


def test_table_holds_every_row_of_every_run(study):
    summary = aggregate(find_runs(study), study)
    table = read_evaluations(study / "evaluations.parquet")
    parts = [synthetic.run(*run, budget=20_000, absolute=8) for run in RUNS]
    pd.testing.assert_frame_equal(table, pd.concat(parts, ignore_index=True))
    assert pq.read_schema(study / "evaluations.parquet").equals(EVALUATION_SCHEMA)
    assert summary == files.read_sealed(study / "runs.json")
    found = {(run["map"], run["seed"]) for run in summary["runs"]}
    assert found == {("3m", 0), ("3m", 1), ("8m", 0)}


def test_runs_that_only_the_table_holds_are_not_lost(study):
    wanted = declared(name="synthetic", set={"budget": 20_000, "absolute_episodes": 8})
    study = study.rename(study.parent / "synthetic")
    aggregate(find_runs(study, wanted), study, wanted)
    before = (study / "evaluations.parquet").read_bytes()
    shutil.rmtree(study / "runs" / "simulator" / "3m" / "qmix" / "default" / "1")
    with pytest.raises(BenchmarkError, match=r"1 finished run.s. that have no folder, e.g. runs/"):
        aggregate(find_runs(study, wanted), study, wanted)
    assert (study / "evaluations.parquet").read_bytes() == before
    (study / "runs.json").unlink()
    assert len(aggregate(find_runs(study, wanted), study, wanted)["runs"]) == 1


def test_a_table_that_came_alone_is_not_replaced(study, tmp_path, capsys):
    """Nor by other runs of the same names; its study may not be known."""
    kept = tmp_path / "kept"
    aggregate(find_runs(study), kept)
    before = (kept / "evaluations.parquet").read_bytes()
    others = tmp_path / "others"
    for map, algorithm, seed in RUNS:
        run = synthetic.run(map, algorithm, seed, budget=20_000, absolute=8, skill=0.9)
        synthetic.save(run, others / "runs" / "simulator" / map / algorithm / "default" / str(seed))
    aggregate(find_runs(others), others)
    for given in (others, others / "runs" / "simulator" / "8m" / "qmix" / "default" / "0"):
        assert commands.main(["aggregate", str(kept), str(given)]) == 2
        assert "3 finished run(s) that have no folder" in capsys.readouterr().err
        assert (kept / "evaluations.parquet").read_bytes() == before
    again = [str(run) for run in find_runs(study)]
    assert commands.main(["aggregate", str(kept), *again]) == 0
    assert (kept / "evaluations.parquet").read_bytes() == before


def test_runs_of_another_study_do_not_become_its_table(study):
    other = synthetic.run("3m", "acorm", 0, budget=20_000, absolute=8)
    folder = synthetic.save(other, study.parent / "other")
    with pytest.raises(BenchmarkError, match="other holds no run of study tiny"):
        aggregate([folder], study, declared())
    with pytest.raises(BenchmarkError, match=r"tiny holds no finished run and no table"):
        aggregate([study], study)
    assert not (study / "evaluations.parquet").exists()


def test_a_study_takes_its_own_runs_and_names_those_it_lacks(study, capsys):
    """The command finds the study that the workflow has written into the folder."""
    wanted = declared(
        name="synthetic", set={"budget": 20_000, "absolute_episodes": 8, "gamma": 0.9}
    )
    configured(study, 0, gamma=0.9)
    study = study.rename(study.parent / "synthetic")
    study_folder.save(wanted, study)
    assert commands.main(["aggregate", str(study)]) == 0
    summary = json.loads((study / "runs.json").read_text())
    assert [(run["map"], run["seed"]) for run in summary["runs"]] == [("3m", 0), ("3m", 1)]
    assert [run["seed"] for run in summary["changed"]] == [1]
    missing = [(run["seed"], run["state"], run["step"]) for run in summary["missing"]]
    assert missing == [(2, "missing", 0)]
    assert capsys.readouterr().err == "1 of 3 runs missing\n1 of 3 runs changed\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "study.json is damaged"),
        ('{"study": {"version": 2, "sed": 1}}', "study.json: unknown key 'sed'"),
        (json.dumps({"study": declared(name="other").model_dump()}), "is not the folder of study"),
    ],
)
def test_mistakes_in_the_study_of_the_command(study, capsys, text, message):
    (study / "study.json").write_text(text)
    assert commands.main(["aggregate", str(study)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_truncated_run_stops_with_its_name_or_is_skipped(study):
    broken = study / "runs" / "simulator" / "3m" / "qmix" / "default" / "1" / "evaluations.parquet"
    broken.write_bytes(broken.read_bytes()[:-50])
    with pytest.raises(BenchmarkError) as caught:
        aggregate(find_runs(study), study)
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (study / "evaluations.parquet").exists()
    summary = aggregate(find_runs(study), study, declared(), skip_broken=True)
    assert [item["file"] for item in summary["broken"]] == [str(broken)]
    assert [run["seed"] for run in summary["missing"]] == [1, 2]
    assert len(summary["runs"]) == 2


@pytest.mark.parametrize("column", ["backend", "protocol"])
def test_mixed_sources_are_an_error_that_keeps_the_table_of_before(study, column):
    aggregate(find_runs(study), study)
    before = (study / "evaluations.parquet").read_bytes()
    other = synthetic.save(synthetic.run("3m", "qmix", 5, **{column: "other"}), study / "other")
    with pytest.raises(BenchmarkError, match="never averaged or ranked together"):
        aggregate([*find_runs(study), other], study)
    assert (study / "evaluations.parquet").read_bytes() == before
    assert not list(study.glob(".*"))


def test_same_run_twice_is_an_error_that_names_both(study):
    copy = synthetic.save(synthetic.run("3m", "qmix", 0, budget=20_000, study="b"), study / "copy")
    with pytest.raises(BenchmarkError, match="hold the same run") as caught:
        aggregate([*find_runs(study), copy], study)
    assert str(copy) in str(caught.value)
    assert str(find_runs(study)[0]) in str(caught.value)


@pytest.mark.parametrize(
    ("change_of", "words"),
    [
        (lambda t: t.assign(seed=7), ["holds the run", "/qmix/default/7", "record is of"]),
        (lambda t: t[t.step != 10_000], ["has 0 rows", "at step 10000 (training) instead of 32"]),
        (lambda t: t.iloc[1:], ["has 31 rows", "at step 0 (training) instead of 32"]),
        (lambda t: t[t.phase == "training"], ["has 0 rows", "(absolute) instead of 8"]),
        (lambda t: pd.concat([t, t.tail(1)]), ["has 9 rows", "(absolute) instead of 8"]),
        (lambda t: t.assign(step=t.step + (t.step == 20_000)), ["at step 20000 (training)"]),
    ],
)
def test_a_table_that_is_not_that_of_its_record(tmp_path, change_of, words):
    table = synthetic.run("3m", "qmix", 0, budget=20_000, absolute=8)
    about = synthetic.provenance(table)[0]
    folder = synthetic.save(change_of(table), tmp_path / "run", **about)
    with pytest.raises(BenchmarkError) as caught:
        aggregate([folder], tmp_path / "study")
    for word in [str(folder), *words]:
        assert word in str(caught.value)
    summary = {"runs": [about], "missing": [], "changed": [], "broken": []}
    digest = files.sha256((folder / "evaluations.parquet").read_bytes())
    files.write_sealed(summary | {DIGEST: digest}, folder / "runs.json")
    with pytest.raises(BenchmarkError, match=r"evaluations\.parquet|no record of"):
        aggregate([folder], tmp_path / "study")


@pytest.mark.parametrize("key", ["seed", "config_hash", "config"])
def test_a_record_that_was_edited(study, key):
    run = find_runs(study)[0]
    about = json.loads((run / "run.json").read_text())
    about[key] = {"seed": 3, "config_hash": "c0ffee", "config": {}}[key]
    files.write_json(about, run / "run.json")
    with pytest.raises(BenchmarkError, match=r"run\.json is damaged or was edited"):
        aggregate(find_runs(study), study)
    del about["checksum"]
    files.write_sealed(about, run / "run.json")  # with care
    with pytest.raises(BenchmarkError, match="config_hash is not that of the configuration"):
        aggregate(find_runs(study), study)


def test_empty_run_is_an_error(study):
    table = synthetic.run("3m", "emc", 0)
    about = synthetic.provenance(table)[0]
    empty = synthetic.save(table.iloc[:0], study / "empty", **about)
    with pytest.raises(BenchmarkError, match=r"empty.* has 0 rows"):
        aggregate([empty], study)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(BenchmarkError, match="no finished run"):
        aggregate(find_runs(tmp_path), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_record_of_something_else_is_an_error(study):
    folder = synthetic.save(synthetic.run("3m", "emc", 0), study / "other")
    (folder / "run.json").write_text("[]")
    with pytest.raises(BenchmarkError, match=r"run\.json lacks 'study'"):
        aggregate([folder], study)


def test_studies_can_be_joined(study, tmp_path):
    aggregate(find_runs(study), study)
    more = synthetic.save(synthetic.run("3m", "emc", 0, study="mine"), tmp_path / "more")
    summary = aggregate([study, more], tmp_path / "joined")
    assert {run["study"] for run in summary["runs"]} == {"synthetic", "mine"}
    table = read_evaluations(tmp_path / "joined" / "evaluations.parquet")
    assert set(table["algorithm"]) == {"qmix", "emc"}


def on_the_game(folder, seed: int, version: str = GAME, played_by: str = "starcraft2", **changes):
    """A run as the StarCraft II backend leaves it; the rows of the stand-in name the stand-in."""
    table = synthetic.run("3m", "qmix", seed, budget=20_000, backend=played_by)
    return synthetic.save(table, folder, backend="starcraft2", backend_version=version, **changes)


def test_versions_of_the_game_are_never_mixed(tmp_path):
    versions = (GAME, GAME, "4.6.2 (Base69232)")
    runs = [on_the_game(tmp_path / str(k), k, version) for k, version in enumerate(versions)]
    aggregate(runs[:2], tmp_path / "same")
    both = r"different versions of StarCraft II \(4\.10 \(Base75689\), 4\.6\.2 \(Base69232\)\)"
    with pytest.raises(BenchmarkError, match=both):
        aggregate(runs, tmp_path / "mixed")
    with pytest.raises(BenchmarkError, match=both):
        aggregate([tmp_path / "same", runs[2]], tmp_path / "mixed")


@pytest.mark.parametrize(
    ("key", "what"), [("map_sha256", "the map file"), ("client_sha256", "the client")]
)
def test_maps_and_clients_of_one_name_are_told_apart(tmp_path, key, what):
    runs = [
        on_the_game(tmp_path / digest, seed, attempts=[{"backend": {key: digest * 64}}])
        for seed, digest in enumerate("ab")
    ]
    aggregate(runs[:1], tmp_path / "one")
    with pytest.raises(BenchmarkError, match=f"{what} of 3m .a{{12}}, b{{12}}.,"):
        aggregate(runs, tmp_path / "mixed")


def test_versions_of_the_simulator_are_never_mixed(study):
    *_, last = find_runs(study)
    change(last, backend_version="2")
    with pytest.raises(BenchmarkError, match=r"different versions of the simulator \(1, 2\)"):
        aggregate(find_runs(study), study)


def test_the_stand_in_is_never_mixed_with_the_game(tmp_path):
    """Its rows carry another backend, though the run was configured for the game."""
    runs = [
        on_the_game(tmp_path / "0", 0, f"{GAME[:-1]}, stand-in)", played_by="standin"),
        on_the_game(tmp_path / "1", 1),
    ]
    wanted = declared(backend="starcraft2", seeds=[0])
    assert aggregate(runs[:1], tmp_path / "tiny", wanted)["missing"] == []
    with pytest.raises(BenchmarkError, match=r"starcraft2/unified but .* is standin/unified"):
        aggregate(runs, tmp_path / "mixed")


def configured(study, seed: int, **overrides) -> None:
    """Makes a run of the study on 3m again, under these rules."""
    rules = {"budget": 20_000, "absolute_episodes": 8} | overrides
    run = resolve_run(map="3m", algorithm="qmix", seed=seed, study="synthetic", overrides=[rules])
    table = synthetic.run("3m", "qmix", seed, budget=run.training.budget, absolute=8)
    folder = study / f"runs/simulator/3m/qmix/default/{seed}"
    synthetic.save(table, folder, config=run.resolved())


@pytest.mark.parametrize(
    ("key", "value", "usual"),
    [
        ("budget", 30_000, 20_000),
        ("learning_rate", 0.001, 0.0005),
        ("reward_scale_rate", 2.0, 20.0),
    ],
)
def test_runs_under_different_rules_are_never_averaged(study, key, value, usual):
    configured(study, 0)
    configured(study, 1)
    aggregate(find_runs(study), study)  # another seed is no other rule
    before = (study / "evaluations.parquet").read_bytes()
    configured(study, 1, **{key: value})
    with pytest.raises(BenchmarkError) as caught:
        aggregate(find_runs(study), study)
    names = [f"synthetic/3m/qmix/default/{seed} has {key} = " for seed in (0, 1)]
    assert f"{names[0]}{usual} and {names[1]}{value}: runs under different" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (study / "evaluations.parquet").read_bytes() == before


def test_a_rule_that_a_run_is_older_than_is_no_other_rule(study):
    configured(study, 0)
    configured(study, 1)
    older = study / "runs/simulator/3m/qmix/default/0"
    config = files.read_json(older / "run.json")["config"]
    del config["training"]["burn_in_episodes"]
    change(older, config=config)
    assert len(aggregate(find_runs(study), study)["runs"]) == 3


def test_the_saved_reference_is_still_one_table(tmp_path):
    """Its runs are from two commits."""
    reference = files.ROOT / "results" / "reference" / "learning"
    saved = files.read_json(reference / "runs.json")["runs"]
    assert aggregate([reference], tmp_path)["runs"] == saved
