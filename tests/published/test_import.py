"""Releases in every format become one table; what cannot be read is named, the rest is imported."""

import json
import shutil
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmark import commands
from benchmark.errors import BenchmarkError
from benchmark.published import archive, formats, intake, sources, table
from benchmark.published.table import Cell
from tests.analysis import synthetic
from tests.published import releases
from tests.published.releases import INTERVAL, POINTS


@pytest.fixture
def folder(tmp_path):
    """A release of two maps and both metrics, one TensorBoard file per run."""
    return releases.save(releases.clean(seeds=2), tmp_path / "release")


def imported(path, **changes):
    source = releases.SOURCE.model_copy(update=changes)
    return intake.import_release(path, source)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_every_value_is_kept(folder):
    found = imported(folder)
    assert found.problems == []
    assert len(found.evaluations) == 16 * POINTS
    one = releases.run("MMM2", "r3dm", 1, skill=0.8)
    rows = found.evaluations[found.evaluations["file"] == one.file]
    assert rows["value"].tolist() == one.value.tolist()
    assert rows["step"].tolist() == one.steps.tolist()
    assert rows["wall_time"].tolist() == one.wall.tolist()
    assert rows["row"].tolist() == list(range(POINTS))
    about = rows.iloc[0]
    assert (about["map"], about["algorithm"], about["variant"]) == ("MMM2", "r3dm", "default")
    assert (about["metric"], about["seed"], about["kind"]) == ("win_rate", 1, "run")
    assert (about["source"], about["backend"]) == ("made_up", "starcraft2")
    assert about["protocol"] == "released"


def test_the_table_on_disk_is_the_table(folder, tmp_path):
    found = imported(folder)
    intake.write(found, tmp_path / "out", folder)
    assert pq.read_schema(tmp_path / "out" / "evaluations.parquet").equals(table.SCHEMA)
    again = intake.read_import(tmp_path / "out")
    same(again.evaluations, found.evaluations)
    assert again.source == found.source
    assert again.files["sha256"].tolist() == found.files["sha256"].tolist()
    kept = {each.cell: each for each in table.series(again.evaluations)}
    assert len(kept[Cell("corridor", "qmix", "default", "return")].value) == POINTS


def test_a_damaged_member_of_a_zip_is_named_and_the_rest_read(folder, tmp_path):
    file = tmp_path / "release.zip"
    whole = sorted(path for path in folder.rglob("*.csv"))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archived:
        for path in whole:
            archived.write(path, path.relative_to(folder))
        damaged = archived.infolist()[0]
    data = bytearray(file.read_bytes())
    begin = damaged.header_offset + 30 + len(damaged.filename)
    data[begin : begin + damaged.compress_size] = b"\xff" * damaged.compress_size
    file.write_bytes(data)
    found = imported(file)
    assert [problem.file for problem in found.problems] == [damaged.filename]
    assert "damaged" in str(found.problems[0])
    assert found.files["file"].nunique() == len(whole) - 1


def test_a_zip_and_a_clone_hold_the_same(folder, tmp_path):
    whole = imported(folder).evaluations
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archived:
        for path in sorted(folder.rglob("*.csv")):
            archived.write(path, f"R3DM-main/{path.relative_to(folder).as_posix()}")
    zipped = imported(tmp_path / "release.zip").evaluations
    same(zipped.drop(columns="file"), whole.drop(columns="file"))
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "results"], check=True)
    same(imported(folder).evaluations, whole)  # .git is passed over
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(folder), str(bare)], check=True)
    same(imported(bare).evaluations, whole)
    assert archive.commit(folder) == archive.commit(bare)
    assert archive.commit(tmp_path / "release.zip") is None


def test_runs_in_columns(tmp_path):
    """wandb: empty cells are no values, extremes are kept beside the run."""
    path = tmp_path / "win" / "corridor" / "acorm_seed.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        '"Step","seed3_x - win_rate","seed3_x - win_rate__MIN","seed3_x - win_rate__MAX",'
        '"seed4_x - win_rate","seed4_x - win_rate__MIN","seed4_x - win_rate__MAX"\n'
        '"0","0.5","0.4","0.6","","",""\n"10000","","","","0.25","0.25","0.25"\n'
    )
    rule = {"match": r"win/(?P<map>\w+)/(?P<algorithm>\w+)_seed\.csv", "metric": "win_rate"}
    source = sources.Source(**releases.SOURCE.model_dump(exclude={"files"}), files=[rule])
    first, second = table.series(intake.import_release(tmp_path, source).evaluations)
    assert (first.seed, first.kind, first.tag) == (3, "run", "win_rate")
    assert (first.value[0], first.low[0], first.high[0]) == (0.5, 0.4, 0.6)
    assert (second.seed, second.steps.tolist(), second.rows.tolist()) == (4, [10_000], [1])


def test_groups_keep_their_extremes_and_no_identity(tmp_path):
    runs = [releases.run(seed=seed) for seed in range(3)]
    releases.save([releases.group(runs)], tmp_path)
    (group,) = table.series(imported(tmp_path).evaluations)
    assert (group.kind, group.seed) == ("group", None)
    assert group.value == pytest.approx(releases.group(runs).value)
    assert group.high == pytest.approx(releases.group(runs).high)


def test_arrays_get_their_steps_from_the_interval(tmp_path):
    one = replace(releases.run(), file="win/corridor/qmix_seed0.npy")
    releases.save([one], tmp_path)
    np.save(tmp_path / "win/corridor/emc_seed0.npy", np.ones((2, 5), np.float32))
    rules = [{"match": r"win/(?P<map>\w+)/(?P<algorithm>\w+)_seed\d\.npy", "metric": "win_rate"}]
    source = sources.Source(**releases.SOURCE.model_dump(exclude={"files"}), files=rules)
    first, second, third = table.series(intake.import_release(tmp_path, source).evaluations)
    assert {first.column, second.column} == {"array[0]", "array[1]"}
    assert third.steps.tolist() == [INTERVAL * index for index in range(POINTS)]
    assert third.value.tolist() == one.value.tolist()


def test_marl_eval(tmp_path):
    """Every episode's value is kept; metrics that nobody compares are passed over."""
    evaluations = {
        "step_0": {"step_count": 0, "win_rate": [0, 1, 1, 0], "length": [3, 4, 5, 6]},
        "step_1": {"step_count": 10_000, "win_rate": [1, 1, 1, 0]},
        "absolute_metrics": {"win_rate": [1, 1]},
    }
    tree = {"smac": {"corridor": {"qmix": {"seed_7": evaluations}}}}
    (tmp_path / "results.json").write_text(json.dumps(tree))
    source = sources.Source(
        **releases.SOURCE.model_dump(exclude={"files"}), files=[{"match": r"results\.json"}]
    )
    rows = intake.import_release(tmp_path, source).evaluations
    assert len(rows) == 10
    assert rows["episode"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    (curve,) = table.series(rows)  # the absolute phase is no point of the curve
    assert (curve.cell, curve.seed) == (Cell("corridor", "qmix", "default", "win_rate"), 7)
    assert curve.steps.tolist() == [0, 10_000]
    assert curve.value.tolist() == [0.5, 0.75]


def test_our_own_runs_come_to_the_same_table():
    evaluations = synthetic.run("3m", "qmix", 0, episodes=8)
    won, earned = table.own_runs(evaluations)
    at_end = evaluations.query("phase == 'training' and step == 40000")
    assert won.cell == Cell("3m", "qmix", "default", "win_rate")
    assert won.value[-1] == at_end["battle_won"].mean()
    assert earned.value[-1] == pytest.approx(at_end["return"].mean())
    assert won.steps.tolist() == [0, 10_000, 20_000, 30_000, 40_000]


GOOD = "Wall time,Step,Value\n1,0,0.5\n2,10000,0.5\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["the file is empty"]),
        (b" \n", ["the file is empty"]),
        (b"Wall time,Step,Value\n", ["a header without rows"]),
        (b"Wall time,Step\n1,0\n", ["column 'Value'", "missing"]),
        (b"Wall time,Value\n1,0\n", ["column 'Step'", "missing"]),
        (b"a,b\n1,2\n", ["column 'a'", "neither TensorBoard's columns"]),
        (b'"Step","x - win_rate"\n"0",""\n', ["column 'x - win_rate'", "holds no number"]),
        (b'a,"b\n1,2', ["not a table of comma-separated values"]),
        (b"\x00\x01\x02\x03", ["qmix_seed9.csv"]),
    ],
)
def test_a_bad_file_is_named_and_the_rest_is_imported(folder, content, words):
    (folder / "win/corridor/qmix_seed9.csv").write_bytes(content)
    found = imported(folder)
    assert len(found.evaluations) == 16 * POINTS
    (problem,) = found.problems
    for word in ["win/corridor/qmix_seed9.csv", *words]:
        assert word in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04"])
def test_a_bad_array_is_named(tmp_path, content):
    assert formats.read("a/b.npy", content).problems[0].file == "a/b.npy"
    assert formats.read("a/b.npy", content).curves == []


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object))
    content = formats.read("evil.npy", (tmp_path / "evil.npy").read_bytes())
    assert content.curves == []
    assert "not a whole NumPy array of numbers" in str(content.problems[0])


def test_arrays_of_other_shapes_and_types(tmp_path):
    for array in (np.ones((2, 2, 2)), np.array(["a", "b"]), np.array([])):
        np.save(tmp_path / "a.npy", array)
        content = formats.read("a.npy", (tmp_path / "a.npy").read_bytes())
        assert content.curves == []
        assert content.problems


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"smac": 1}', '{"e": {"t": {"a": {"r": {"s": {"x": [1]}}}}}}']
)
def test_bad_marl_eval(content):
    found = formats.read("a.json", content.encode())
    assert found.curves == []
    assert "a.json" in str(found.problems[0])


def test_words_among_numbers(folder):
    """The row is left out and said; a written NaN is a value that somebody wrote."""
    path = folder / "win/corridor/qmix_seed9.csv"
    path.write_text("Wall time,Step,Value\n1,0,0.5\n2,10000,oops\n3,20000,NaN\n4,x,0.5\n5,30000,\n")
    found = imported(folder)
    rows = found.evaluations[found.evaluations["file"].str.endswith("seed9.csv")]
    assert rows["step"].tolist() == [0, 20_000]
    assert rows["value"].isna().tolist() == [False, True]
    assert [problem.column for problem in found.problems] == ["Step", "Value"]
    assert "'oops' in row 3 is not a number" in str(found.problems[1])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(folder, encoding):
    text = GOOD if encoding != "cp1252" else GOOD.replace("Wall time", "Wall time é")
    (folder / "win/corridor/qmix_seed9.csv").write_bytes(text.encode(encoding))
    found = imported(folder)
    rows = found.evaluations[found.evaluations["file"].str.endswith("seed9.csv")]
    assert rows["value"].tolist() == [0.5, 0.5]
    assert [problem.reason.split(";")[-1] for problem in found.problems] == (
        [" read as Windows-1252"] if encoding == "cp1252" else []
    )


def test_huge_files_are_left_out(folder):
    large = folder / "win/corridor/qmix_seed9.csv"
    large.write_text("Wall time,Step,Value\n" + "1,1,1\n" * 20_000)
    found = intake.import_release(folder, releases.SOURCE, megabytes=0.1)
    assert len(found.evaluations) == 16 * POINTS
    assert "is more than --max-megabytes 0.1; left out" in str(found.problems[0])


def test_a_map_that_nothing_names_is_a_problem(folder):
    rule = {"match": r"win/[^/]+/(?P<algorithm>[a-z0-9]+)_seed\d\.csv", "metric": "win_rate"}
    with pytest.raises(BenchmarkError, match="nothing tells the map"):
        imported(folder, files=[sources.FileRule(**rule)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interval": 0}, ["interval", "greater than 0"]),
        ({"files": []}, ["files"]),
        ({"files": [{"match": "("}]}, ["not a regular expression"]),
        ({"files": [{"match": "(?P<seeds>x)"}]}, ["the group 'seeds' has no meaning"]),
        ({"sources": 1}, ["sources", "not permitted"]),
        ({"version": 2}, ["version"]),
    ],
)
def test_a_mistake_in_a_mapping(tmp_path, change, words, capsys):
    path = releases.mapping(tmp_path, **change)
    command = ["published", "import", str(tmp_path), "--source", str(path)]
    assert commands.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in ["mapping.yaml", *words]:
        assert word in line


def test_the_command_imports_with_any_mapping(folder, tmp_path, capsys):
    (folder / "win/corridor/qmix_seed9.csv").write_text("")
    path = releases.mapping(tmp_path)
    out = tmp_path / "out"
    assert (
        commands.main(["published", "import", str(folder), "--source", str(path), "-o", str(out)])
        == 0
    )
    said = capsys.readouterr()
    assert said.err == "left out: win/corridor/qmix_seed9.csv: the file is empty\n"
    assert "976 values in 16 curves of 17 files" in said.out
    assert "nothing found; 0 of 16 curves excluded" in said.out
    assert {each.name for each in out.iterdir()} == {
        "evaluations.parquet", "import.json", "findings.csv",
    }  # fmt: skip


def test_the_audit_can_be_repeated_and_overruled(folder, tmp_path, capsys):
    copy = folder / "win/corridor/qmix_seed0 copy.csv"
    shutil.copy(folder / "win/corridor/qmix_seed0.csv", copy)
    path, out = releases.mapping(tmp_path), str(tmp_path / "out")
    assert (
        commands.main(["published", "import", str(folder), "--source", str(path), "-o", out]) == 0
    )
    assert "1 of 17 curves excluded" in capsys.readouterr().out
    assert (tmp_path / "out" / "audit_made_up.png").exists()
    assert commands.main(["published", "audit", out, "--keep", "counted_twice"]) == 0
    assert "0 of 17 curves excluded" in capsys.readouterr().out
    assert commands.main(["published", "audit", out, "--keep", "nothing"]) == 2
    assert "--keep nothing: neither a rule" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none", ["does not exist", "folder, clone or zip"]),
        ("mapping.yaml", ["is neither a folder nor a zip"]),
        ("empty", ["none of 0 files", "another mapping"]),
    ],
)
def test_wrong_folders(tmp_path, capsys, path, words):
    (tmp_path / "empty").mkdir()
    source = releases.mapping(tmp_path)
    command = ["published", "import", str(tmp_path / path), "--source", str(source)]
    assert commands.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line


def test_an_unknown_source(tmp_path, capsys):
    assert commands.main(["published", "import", str(tmp_path), "--source", "r3dm"]) == 2
    line = capsys.readouterr().err
    assert "no release 'r3dm': known are acorm_release, r3dm_release" in line


@pytest.mark.parametrize("name", sources.built_in())
def test_the_mappings_that_come_along_are_whole(name):
    source = sources.load(name)
    assert source.name == name
    assert len(source.commit) == 40


@pytest.mark.parametrize(
    ("name", "path", "known"),
    [
        (
            "r3dm_release",
            "R3DM-main/exp_results_wm/Corridor/run-ACORMWM_corridor_wandb_allseeds_x.csv",
            ("corridor", "r3dm", "default", "win_rate", "main", None),
        ),
        (
            "r3dm_release",
            "exp_results_wm/5m_vs_6m/EMC-5m_vs_6m_seed4_2025-01-16-tag-test_battle_won_mean.csv",
            ("5m_vs_6m", "emc", "default", "win_rate", "main", 4),
        ),
        (
            "r3dm_release",
            "exp_results_reward/zerg_5_vs_5/run-CIA_zerg_5_vs_5_seed2_x-tag-test_return_mean.csv",
            ("zerg_5_vs_5", "cia", "default", "return", "main", 2),
        ),
        (
            "r3dm_release",
            "exp_results_ablation/3s5z_vs_3s6z/rewardhorizon/ACORMWMIm10_3s5z_x.csv",
            ("3s5z_vs_3s6z", "r3dm", "horizon_10", "win_rate", "rewardhorizon", None),
        ),
        (
            "r3dm_release",
            "exp_results_ablation/3s5z_vs_3s6z/roles/ACORMWMRo3_3s5z_x.csv",
            ("3s5z_vs_3s6z", "r3dm", "default", "win_rate", "roles", None),
        ),
        (
            "acorm_release",
            "ACORM_QMIX/result/sacred/acorm/MMM2_seed3.npy",
            ("MMM2", "acorm", "default", "win_rate", "main", 3),
        ),
    ],
)
def test_names_in_the_releases(name, path, known):
    source = sources.load(name)
    curve = formats.Curve("Value", "run", "", np.arange(2), None, np.zeros(2))
    found = sources.identify(source, source.rule_of(path), path, curve)
    assert (
        found.map,
        found.algorithm,
        found.variant,
        found.metric,
        found.panel,
        found.seed,
    ) == known


def test_another_base_method_is_passed_over():
    source = sources.load("acorm_release")
    assert source.rule_of("ACORM_MAPPO/result/sacred/acorm/MMM2_seed3.npy") is None
