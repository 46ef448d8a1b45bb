"""Releases in every format become one table; what cannot be read is named, the rest is imported."""

import io
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmark import commands
from benchmark.errors import BenchmarkError
from benchmark.published import audit, formats, release, sources
from benchmark.published.release import Cell
from tests.published import releases
from tests.published.releases import INTERVAL, POINTS

RUN = "win/corridor/qmix_seed9.csv"  #: one more run of ``folder``


@pytest.fixture
def folder(tmp_path):
    """A release of two maps and both metrics, one TensorBoard file per run."""
    return releases.save(releases.clean(seeds=2), tmp_path / "release")


def imported(path, **changes) -> release.Imported:
    return release.import_release(path, releases.SOURCE.model_copy(update=changes))


def table(found: release.Imported, file: str = "") -> pd.DataFrame:
    """The rows of one file, or of all."""
    rows = found.evaluations.to_pandas()
    return rows[rows["file"] == file] if file else rows


def read(tmp_path, rule: dict, **files: str | bytes | np.ndarray) -> release.Imported:
    """Imports files that one rule is about."""
    for name, content in files.items():
        path = tmp_path / "files" / name.replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    values = releases.SOURCE.model_dump(exclude={"files", "ends"})
    return release.import_release(path.parent, sources.Source(**values, files=[rule]))


def test_every_value_is_kept(folder):
    found = imported(folder)
    assert found.problems == []
    assert len(found.evaluations) == 16 * POINTS
    one = releases.run("MMM2", "r3dm", 1, skill=0.8)
    rows = table(found, one.file)
    assert rows["value"].tolist() == one.value.tolist()
    assert rows["step"].tolist() == one.steps.tolist()
    assert rows["wall_time"].tolist() == one.wall.tolist()
    assert rows["row"].tolist() == list(range(POINTS))
    about = rows.iloc[0]
    assert (about["map"], about["algorithm"], about["variant"]) == ("MMM2", "r3dm", "default")
    assert (about["metric"], about["seed"], about["kind"]) == ("win_rate", 1, "run")
    assert (about["source"], about["backend"]) == ("made_up", "starcraft2")
    assert about["protocol"] == "released"


def test_what_is_written_is_read_back(folder, tmp_path):
    (folder / RUN).write_text("")
    found = imported(folder)
    release.write(found, tmp_path / "out", folder)
    assert pq.read_schema(tmp_path / "out" / "evaluations.parquet").equals(release.SCHEMA)
    read = release.read_import(tmp_path / "out")
    assert (read.source, read.problems) == (found.source, found.problems)
    assert read.digests == {file["file"]: file["sha256"] for file in found.files}
    (curve,) = [c for c in read.curves if c.cell[:2] == ("MMM2", "r3dm") and c.seed == 1][:1]
    assert len(curve.value) == POINTS
    path = tmp_path / "out" / "evaluations.parquet"
    data = bytearray(path.read_bytes())
    for content in (data[:-1] + bytes([data[-1] ^ 1]), b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(BenchmarkError, match=r"evaluations\.parquet"):
            release.read_import(tmp_path / "out")


def test_a_zip_holds_the_same_and_its_damaged_members_are_named(folder, tmp_path):
    whole, file = imported(folder), tmp_path / "release.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.csv")):
            archive.write(path, f"R3DM-main/{path.relative_to(folder).as_posix()}")
        damaged = archive.infolist()[0]
    rows = table(imported(file)).drop(columns="file")
    pd.testing.assert_frame_equal(rows, table(whole).drop(columns="file"))
    data = bytearray(file.read_bytes())
    begin = damaged.header_offset + 30 + len(damaged.filename)
    data[begin : begin + damaged.compress_size] = b"\xff" * damaged.compress_size
    file.write_bytes(data)
    found = imported(file)
    assert [problem.file for problem in found.problems] == [damaged.filename]
    assert "damaged" in str(found.problems[0])
    assert len(found.files) == len(whole.files) - 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_of_one_name_in_a_zip_are_left_out(folder, tmp_path):
    file = tmp_path / "release.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for text in ("Wall time,Step,Value\n1,0,0.5\n", "Wall time,Step,Value\n1,0,0.25\n"):
            archive.writestr(RUN, text)
        archive.write(folder / "win/corridor/qmix_seed0.csv", "win/corridor/qmix_seed0.csv")
    found = imported(file)
    assert {problem.file for problem in found.problems} == {RUN}
    assert [known["file"] for known in found.files] == ["win/corridor/qmix_seed0.csv"]


WANDB = {"match": r"(?P<map>3m)_(?P<algorithm>\w+)\.csv", "metric": "win_rate"}


def test_runs_in_columns(tmp_path):
    """wandb: empty cells are no values, extremes are kept with the run."""
    content = (
        '"Step","seed3_x - win_rate","seed3_x - win_rate__MIN","seed3_x - win_rate__MAX",'
        '"seed4_x - win_rate","seed4_x - win_rate__MIN","seed4_x - win_rate__MAX",'
        '"seed4_x - _step"\n'
        '"0","0.5","0.4","0.6","","","",""\n"10000","","","","0.25","0.25","0.25","7"\n'
    )
    found = read(tmp_path, WANDB, **{"3m_acorm__csv": content})
    first, second = release.curves(table(found))  # wandb's own counter is no run
    assert (first.seed, first.kind, first.tag) == (3, "run", "win_rate")
    assert (first.value[0], first.low[0], first.high[0]) == (0.5, 0.4, 0.6)
    assert (second.seed, second.steps.tolist(), second.rows.tolist()) == (4, [10_000], [1])
    assert found.problems == []


def test_runs_of_one_name_keep_their_own_extremes(tmp_path):
    columns = ["x - win_rate", "x - win_rate__MIN", "x - win_rate__MAX"] * 3
    values = ["0.2", "0.1", "0.3", "0.5", "0.4", "0.6", "0.8", "0.7", "0.9"]
    content = f"Step,{','.join(columns)}\n0,{','.join(values)}\n"
    found = read(tmp_path, WANDB, **{"3m_qmix__csv": content})
    curves = release.curves(table(found))
    assert [float(c.value[0]) for c in curves] == [0.2, 0.5, 0.8]
    assert [(float(c.low[0]), float(c.high[0])) for c in curves] == [
        (0.1, 0.3), (0.4, 0.6), (0.7, 0.9),
    ]  # fmt: skip
    assert "3 columns have this name" in str(found.problems[0])
    content = content.replace("x - win_rate__MIN", "y - other", 1)  # which one is whose is lost
    found = read(tmp_path, WANDB, **{"3m_qmix__csv": content})
    assert table(found)["column"].tolist() == ["y - other"]
    assert "differ in number" in str(found.problems[0])


def test_groups_keep_their_extremes_and_no_identity(tmp_path):
    runs = [releases.run(seed=seed) for seed in range(3)]
    releases.save([releases.group(runs)], tmp_path)
    (group,) = release.curves(table(imported(tmp_path)))
    assert (group.kind, group.seed) == ("group", None)
    assert group.value == pytest.approx(releases.group(runs).value)
    assert group.high == pytest.approx(releases.group(runs).high)


def test_arrays_get_their_steps_from_the_interval(tmp_path):
    one = releases.run()
    rule = {"match": r"(?P<map>3m)_(?P<algorithm>\w+)\.npy", "metric": "win_rate"}
    files = {"3m_emc__npy": np.ones((2, 5), np.float32), "3m_qmix__npy": one.value}
    first, second, third = release.curves(table(read(tmp_path, rule, **files)))
    assert {first.column, second.column} == {"array[0]", "array[1]"}
    assert third.steps.tolist() == [INTERVAL * index for index in range(POINTS)]
    assert third.value.tolist() == one.value.tolist()


MARL_EVAL = {
    "step_1": {"step_count": 10_000, "win_rate": [1, 1, 1, 0], "elapsed_time": 1.5},
    "step_0": {"step_count": 0, "win_rate": [0, 1, 1, 0], "length": [3, 4, 5, 6], "note": None},
    "absolute_metrics": {"win_rate": [1, 1]},
}


def test_marl_eval(tmp_path):
    """Every episode's value is kept; other metrics, single numbers and key order do not matter."""
    tree = {"smac": {"corridor": {"qmix": {"seed_7": MARL_EVAL}}}}
    rows = table(read(tmp_path, {"match": r"r\.json"}, r__json=json.dumps(tree)))
    assert len(rows) == 10
    assert rows["episode"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    (curve,) = release.curves(rows)  # the absolute phase is no point of the curve
    assert (curve.cell, curve.seed) == (Cell("corridor", "qmix", "default", "win_rate"), 7)
    assert curve.steps.tolist() == [0, 10_000]
    assert curve.value.tolist() == [0.5, 0.75]


LAST = 10_000_000_000  #: env steps
GOOD = "Wall time,Step,Value\n1,0,0.5\n2,10000,0.5\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["the file is empty"]),
        (b" \n", ["the file is empty"]),
        (b"Wall time,Step,Value\n", ["no rows"]),
        (b"Wall time,Step\n1,0\n", ["'Value'", "missing"]),
        (b"Wall time,Value\n1,0\n", ["'Step'", "missing"]),
        (b"Step,Value,Value\n0,1,2\n", ["'Value'", "stands 2 times"]),
        (b"a,b\n1,2\n", ["a, b", "neither TensorBoard's"]),
        (b'"Step","x - win_rate"\n"0",""\n', ["column 'x - win_rate'", "holds no finite number"]),
        (b"Step,Value\n0,nan\n1,inf\n", ["holds no finite number"]),
        (b'a,"b\n1,2', ["not a table of comma-separated values"]),
        (b"\x00\x01\x02\x03", ["NUL"]),
        (b"Wall time,Step,Value \xe9\n", ["not UTF-8"]),
    ],
)
def test_a_bad_file_is_named_and_the_rest_is_imported(folder, content, words):
    (folder / RUN).write_bytes(content)
    found = imported(folder)
    assert len(found.evaluations) == 16 * POINTS
    (problem,) = found.problems
    for word in [RUN, *words]:
        assert word in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2,10000,0.25,", "line 3 does not have the header's 3 fields"),  # never shifted
        ("2,10000", "line 3 does not have the header's 3 fields"),
        ("2,10000,oops", "column 'Value': 'oops' in line 3 is no number"),
        ("2,1e30,0.5", "column 'Value': '1e30' in line 3 is no number of env steps"),
        ("2,9007199254740993,0.5", "column 'Value': '9007199254740993' in line 3 is no number"),
        ("2,-1,0.5", "column 'Value': '-1' in line 3 is no number"),
        ("2,x,0.5", "column 'Value': 'x' in line 3 is no number"),
        ("2,10000,1_0", "'1_0' in line 3 is no number"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_and_said(folder, row, words):
    (folder / RUN).write_text(f"Wall time,Step,Value\n1,0,0.5\n{row}\n3,20000,NaN\n4,30000,\n")
    found = imported(folder)
    rows = table(found, RUN)
    assert rows["step"].tolist() == [0, 20_000]  # a written NaN is a value that somebody wrote
    assert rows["value"].isna().tolist() == [False, True]
    assert words in str(found.problems[0])
    assert "left out" in str(found.problems[0])


def test_a_byte_order_mark_is_no_part_of_the_header(folder):
    (folder / RUN).write_bytes(GOOD.encode("utf-8-sig"))
    assert table(imported(folder), RUN)["value"].tolist() == [0.5, 0.5]


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a/b.npy", b""),
        ("a/b.npy", b"\x93NUMPY"),
        ("a/b.npy", b"PK\x03\x04"),
        ("a/b.npy", npy(np.array([{"a": 1}], dtype=object))),  # never unpickled
        ("a/b.npy", npy(np.ones((2, 2, 2)))),
        ("a/b.npy", npy(np.array(["a"]))),
        ("a/b.npy", npy(np.array([]))),
        ("a.json", b"{"),
        ("a.json", b"[1]"),
        ("a.json", b'{"smac": 1}'),
        ("a.json", b'{"e": {"t": {"a": {"r": {"s": {"x": [1]}}}}}}'),
        ("a.json", b'{"e": {"t": {"a": {"r": {"s": {"step_count": 1e30, "x": [1]}}}}}}'),
        ("a.json", b'{"e": {"t": {"a": {"r": {"s": {"step_count": 10000000001, "x": [1]}}}}}}'),
        ("a.json", b'{"e": {"t": {"a": {"r": {}}}}, "f": {"t": {"a": {"r": {}}}}}'),
        ("a.json", b'{"e": {"t": {"a": {"r": {}, "r": {}}}}}'),
        ("a.json", b"[" * 100_000),
    ],
)
def test_a_bad_array_or_marl_eval_file_is_named(path, content):
    found = formats.read(path, content, LAST)
    assert found.columns == []
    assert found.problems[0].file == path


def test_huge_files_are_left_out(folder, monkeypatch):
    monkeypatch.setattr(release, "_BYTES", 10_000)
    (folder / RUN).write_text("Wall time,Step,Value\n" + "1,1,1\n" * 20_000)
    found = imported(folder)
    assert len(found.evaluations) == 16 * POINTS
    assert "is larger than" in str(found.problems[0])


def test_a_map_that_nothing_names_is_a_problem(folder):
    rule = {"match": r"win/[^/]+/(?P<algorithm>[a-z0-9]+)_seed\d\.csv", "metric": "win_rate"}
    with pytest.raises(BenchmarkError, match="nothing tells the map"):
        imported(folder, files=[sources.FileRule(**rule)])


def assert_refused(capsys, path, source, words):
    """One line, with these words."""
    assert commands.main(["published", "import", str(path), "--source", str(source)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line


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
    assert_refused(capsys, tmp_path, path, ["mapping.yaml", *words])


@pytest.mark.parametrize(
    ("path", "source", "words"),
    [
        ("none", "mapping.yaml", ["does not exist", "folder or zip"]),
        ("mapping.yaml", "mapping.yaml", ["is neither a folder nor a zip"]),
        ("empty", "mapping.yaml", ["none of 0 files", "another mapping"]),
        ("empty", "r3dm", ["no release 'r3dm': known are acorm_release, r3dm_release"]),
    ],
)
def test_wrong_folders_and_sources(tmp_path, monkeypatch, capsys, path, source, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    releases.mapping(tmp_path)
    assert_refused(capsys, path, source, words)


def test_the_command_imports_and_audits_with_any_mapping(folder, tmp_path, capsys):
    (folder / RUN).write_text("")
    path, out = str(releases.mapping(tmp_path)), tmp_path / "out"
    command = ["published", "import", str(folder), "--source", path, "-o", str(out)]
    assert commands.main(command) == 0
    said = capsys.readouterr()
    assert said.err == f"problem: {RUN}: the file is empty\n"
    assert "976 values in 16 curves of 17 files" in said.out
    assert "1 warnings; 0 of 16 curves excluded" in said.out  # the file that cannot be read
    assert RUN in (out / "findings.csv").read_text()
    shutil.copy(folder / "win/corridor/qmix_seed0.csv", folder / "win/corridor/qmix_seed0 copy.csv")
    assert commands.main(command) == 0
    assert "1 of 17 curves excluded" in capsys.readouterr().out
    assert (out / "audit_made_up.png").exists()
    assert commands.main(["published", "audit", str(out), "--keep", "counted_twice"]) == 0
    assert "0 of 17 curves excluded" in capsys.readouterr().out
    assert commands.main(["published", "audit", str(out), "--keep", "nothing"]) == 2
    assert "--keep nothing: neither a rule" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["win_rate", "return"])
@pytest.mark.parametrize("change", [[np.nan], [np.nan, np.inf], [20.0] * 15, [7.5] * 40])
def test_odd_values_never_end_an_audit(tmp_path, metric, change):
    rule = {"match": r"(?P<map>3m)_(?P<algorithm>\w+)_(?P<seed>\d)\.npy", "metric": metric}
    values = [np.linspace(0.1, 0.9, 40) ** (1 + seed) for seed in range(2)]
    values[0][: len(change)] = change
    files = {f"3m_qmix_{seed}__npy": value for seed, value in enumerate(values)}
    found = read(tmp_path, rule, **files, **{"3m_qmix_3__npy": np.array(change)})
    release.write(found, tmp_path / "out", tmp_path)
    audited = audit.audit(release.read_import(tmp_path / "out"))
    assert not audited.table().empty


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
        ("acorm_release", "ACORM_MAPPO/result/sacred/acorm/MMM2_seed3.npy", None),
    ],
)
def test_names_in_the_releases(name, path, known):
    source = sources.load(name)
    matched = source.match(path)
    if known is None:  # another base method
        assert matched is None
        return
    column = formats.Column("Value", "run", "", {"value": np.zeros(2)})
    found = sources.identify(source, *matched, column)
    names = ("map", "algorithm", "variant", "metric", "panel", "seed")
    assert tuple(found[name] for name in names) == known
