"""The report needs no other file, and says what is missing, damaged or stale."""

import base64
import gzip
import hashlib
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmark import commands, files
from benchmark.analysis import figures, made_from, report, statistics, tables
from benchmark.analysis.roles import MEASURES
from benchmark.analysis.scores import evaluations_to_points
from benchmark.envs.simulator.env import VERSION
from benchmark.errors import BenchmarkError
from benchmark.published import claims, compare, facts
from benchmark.published.report import section
from benchmark.training import study_folder
from benchmark.training.config import IDENTITY, run_path
from benchmark.training.evaluations import read_evaluations, write_evaluations
from benchmark.training.run_record import DIGEST
from benchmark.training.study import load_study, parse_study
from tests.analysis import synthetic

MAPS = ["3m", "terran_3_vs_3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study folder with statistics and figures, and its provenance."""
    folder = tmp_path_factory.mktemp("study")
    table = synthetic.study(MAPS, ["qmix"], seeds=2)
    write_evaluations(table, folder / "evaluations.parquet")
    results = statistics.compute(table, replications=50)
    statistics.write(results, folder / "statistics")
    for name, figure in figures.draw(results):  # PNG only: half the time
        (folder / "figures").mkdir(exist_ok=True)
        figure.savefig(folder / "figures" / f"{name}.png", dpi=50)
    published, about = facts.read()
    found = compare.compare(table, published, about, claims.load(claims.PAPER))
    compare.write(found, folder / "published")
    for part in ("statistics", "published", "figures"):
        made_from.note(made_from.digest(folder), folder / part)
    return folder, synthetic.provenance(table)


@pytest.fixture
def written(finished, tmp_path):
    """A function that writes the report of changed provenance and reads it."""
    folder, runs = finished

    def write(runs=runs, missing=(), changed=(), broken=(), study=None) -> str:
        summary = {"runs": runs, "missing": missing, "changed": changed, "broken": broken}
        summary[DIGEST] = files.sha256((folder / "evaluations.parquet").read_bytes())
        files.write_sealed(summary, folder / "runs.json")
        report.write(folder, tmp_path / "report.html", section, study)
        return (tmp_path / "report.html").read_text()

    write.runs, write.folder = runs, folder
    return write


@pytest.fixture
def with_roles(finished, tmp_path):
    """The figure of roles and its numbers in the study's folder, as long as the test runs."""
    folder = finished[0] / "roles"
    folder.mkdir()
    numbers = pd.DataFrame({name: 0.5 for name in ("agreement", *MEASURES)}, index=range(4))
    numbers = numbers.assign(**{f"living_{name}": 0.25 for name in MEASURES})
    identity = dict(zip(IDENTITY, ("s", "simulator", "unified", "3m", "r3dm"), strict=False))
    identity |= {"variant": "default", "seed": 0, "battle": 0, "t": [1, 1, 2, 2]}
    numbers.assign(**identity).to_csv(folder / "roles_3m.csv", index=False)
    shutil.copy(finished[0] / "figures" / "aggregate_all.png", folder / "roles_3m.png")
    yield folder
    shutil.rmtree(folder)


def test_report_shows_roles_where_a_study_has_them(written, with_roles):
    text = written()
    assert 'href="#roles"' in text
    assert 'id="figure_roles_3m"' in text
    assert 'id="roles_3m"' in text
    assert "R3DM, seed 0: t = 1 (1 battle)" in text
    assert "0.2500" in text  # the divergence
    assert text.count('<figure id="figure_roles_') == 1
    (with_roles / "roles_3m.png").unlink()
    with pytest.raises(BenchmarkError, match=r"roles_3m\.png"):
        written()
    (with_roles / "roles_3m.csv").write_text("cut")
    with pytest.raises(BenchmarkError, match=r"roles_3m\.csv is damaged; draw it again"):
        written()


def test_roles_in_the_simulator_are_not_shown_of_the_game(with_roles):
    study = load_study(files.ROOT / "config" / "smoke.yaml")
    assert len(report._roles(with_roles, study)) == 1
    of_the_game = study.model_copy(update={"backend": "starcraft2"})
    assert report._roles(with_roles, of_the_game) == []


def test_report_leaves_out_roles_of_an_earlier_study_file(written, with_roles):
    study = load_study(files.ROOT / "config" / "smoke.yaml").model_copy(
        update={"roles": None, "ablations": []}
    )
    assert "#roles" not in written(study=study)


def test_report_of_a_study_without_roles_has_no_such_part(written):
    assert "#roles" not in written()


def test_report_loads_nothing(written):
    """Script, style and figures stand in it; links are to its parts or to the study's files."""
    text = written()
    assert "<link" not in text
    assert "url(" not in text
    assert "default-src 'none'; img-src data:" in text
    sources = re.findall(r'<(?:img|script|source|iframe)[^>]* src="([^"]{0,30})', text)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    links = re.findall(r'href="([^"]{0,30})', text)
    assert links
    assert not any("//" in link and not link.startswith("data:") for link in links)


def test_only_the_reports_own_script_runs(written):
    text = written()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_report_holds_every_figure_and_table_with_its_source(written):
    text = written()
    ours, published = text.split('<h2 id="published">')
    captions = re.findall(r'<figure id="\w+"><img[^>]*><figcaption>(.*?)</figcaption>', ours)
    assert len(captions) == ours.count("data:image/png") == len(figures.captions(MAPS))
    assert all("battle simulator (not StarCraft II), unified protocol" in c for c in captions)
    assert published.count("data:image/png") == 1  # nothing was published of these maps
    for target in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{target}"' in text
    assert 'id="win_rate_smac_final"' in text
    assert 'id="improvement_all_absolute"' in text


def test_tables_can_be_downloaded(written):
    """As they are written into the study's folder."""
    text = written()
    made = {
        table.name: table for table in tables.make(statistics.read(written.folder / "statistics"))
    }
    found = re.findall(r'download="(\w+)\.(\w+)" href="data:[\w/-]+;base64,([^"]+)"', text)
    assert {name for name, *_ in found} == set(made)
    for name, suffix, encoded in found:
        of_suffix = {"csv": "csv", "tex": "latex", "md": "markdown"}
        expected = getattr(made[name], of_suffix[suffix])()
        assert base64.b64decode(encoded).decode() == expected


def test_page_data_hold_every_value(written):
    """To the rounding of whole numbers: curves, runs, their settings and the ends of their logs."""
    runs = [{**run, "config": {"version": 2, "training": {"n_envs": 8}}} for run in written.runs]
    log = written.folder / run_path(runs[0]) / "train.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"line {number}\n" for number in range(400)))
    data = page_data(written(runs))
    shutil.rmtree(written.folder / "runs")
    curves = statistics.read(written.folder / "statistics")["curves"]
    of_cell = curves.query("map == '3m' and metric == 'return'")
    cell = data["curves"]["3m/qmix/default"]
    for name, values in zip(("value", "low", "high"), cell["return"], strict=True):
        assert np.array(values) / 100 == pytest.approx(of_cell[name].to_numpy(), abs=0.006)
    assert data["grids"][cell["grid"]] == of_cell["step"].tolist()
    assert cell["n"] == 2
    points = evaluations_to_points(read_evaluations(written.folder / "evaluations.parquet"))
    run = data["runs"][1]
    assert (run["cell"], run["seed"]) == ("3m/qmix/default", 1)
    of_run = points.query("map == '3m' and seed == 1 and phase == 'training'")["win_rate"]
    assert np.array(run["win_rate"]) / 1000 == pytest.approx(of_run.to_numpy(), abs=0.0006)
    assert data["settings"] == [{"training": {"n_envs": 8}}]
    assert data["runs"][0]["log"].endswith("line 398\nline 399")
    assert not run["log"]


def test_every_run_of_a_variant_too_has_its_final_win_rate():
    table = pd.concat([synthetic.run("3m", "qmix", 0, variant=v) for v in ("default", "slow")])
    finals = report._finals(evaluations_to_points(table))
    ends = table[(table["phase"] == "training") & (table["step"] == 40_000)]
    expected = ends.groupby("variant")["battle_won"].mean()
    assert finals == {("3m", "qmix", v, 0): expected[v] for v in ("default", "slow")}


def page_data(text: str) -> dict:
    """What the report's script reads."""
    (encoded,) = re.findall(r'<script type="application/gzip" id="data">(.*?)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(encoded)))


def verdicts(seeds: int, **skills: float) -> list[str]:
    """The sentences of a study on MAPS whose methods have these win rates."""
    runs = [
        synthetic.run(map, name, seed, skill=skill)
        for name, skill in skills.items()
        for map in MAPS
        for seed in range(seeds)
    ]
    results = statistics.compute(pd.concat(runs, ignore_index=True), replications=50)
    return list(report._verdicts(results, MAPS, list(skills)))


def test_verdicts_are_sentences_with_their_numbers():
    results = statistics.compute(synthetic.study(MAPS, ["r3dm", "qmix"]), replications=50)
    sentences = list(report._verdicts(results, MAPS, ["r3dm", "qmix"]))
    assert "on SMAC and SMACv2 (2 maps): R3DM 0." in sentences[0]
    row = results["improvement"].query(
        "suite == 'all' and phase == 'training' and algorithm_x == 'r3dm'"
    )
    value, low, high = row.iloc[0][["value", "low", "high"]]
    assert sentences[1] == (
        "R3DM ends higher than QMIX: probability of improvement"
        f" {value:.2f}\N{NO-BREAK SPACE}[{low:.2f},\N{NO-BREAK SPACE}{high:.2f}], p = 0.005."
    )
    assert "exact permutation test of the runs within each map" in sentences[2]
    assert "too narrow" in sentences[2]
    results["improvement"]["p"] = 0.06  # the interval is the same
    sentences = list(report._verdicts(results, MAPS, ["r3dm", "qmix"]))
    assert sentences[1].startswith("No difference between R3DM and QMIX is shown")


def test_verdicts_are_the_tests_for_all_comparisons_together():
    """Two runs on two maps, all apart, have p = 2 / 36; three have 2 / 400, which six may share."""
    assert verdicts(2, r3dm=1.0, qmix=0.0)[1].startswith(
        "Too few runs to say whether R3DM and QMIX"
    )
    assert verdicts(1, r3dm=1.0, qmix=0.0)[1] == (
        "Too few runs to say whether R3DM and QMIX differ: probability of improvement 1.00,"
        " p = 0.500."
    )
    lower = verdicts(3, r3dm=0.0, qmix=1.0, acorm=0.0)
    assert lower[1].startswith("R3DM ends lower than QMIX")
    assert lower[2].startswith("No difference between R3DM and ACORM is shown")
    names = ("r3dm", "qmix", "acorm", "cia", "gomarl", "cds", "emc")
    every = verdicts(3, **dict.fromkeys(names, 0.0) | {"r3dm": 1.0})
    assert all(sentence.startswith("R3DM ends higher than") for sentence in every[1:7])
    assert ", p = 0.030 (0.005 alone)." in every[1]


def test_report_compares_the_study_with_what_is_published(written):
    """Claims with their counts, findings, pictures; and no verdict across backends."""
    section = written().split('<h2 id="published">')[1].split('<h2 id="definitions">')[0]
    claimed = claims.load(claims.PAPER)
    for claim in claimed.claims:
        assert claim.says.replace("'", "&#39;") in section
    findings = facts.read()[0]["findings"]
    assert f"All {(findings['map'] == '').sum()} findings" in section  # of all maps alike
    assert not any(f"<td>{map}</td>" in section for map in set(findings["map"]) - {""})
    assert "this study is from: battle simulator (not StarCraft II), unified protocol" in section
    assert "reproduced</td>" not in section  # maps that nobody published


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("published", "python -m benchmark published compare"),
        ("figures/aggregate_all.png", r"aggregate_all\.png"),
    ],
)
def test_a_missing_part_is_an_error(written, finished, tmp_path, lost, message):
    kept = (finished[0] / lost).rename(tmp_path / "kept")
    with pytest.raises(BenchmarkError, match=message):
        written()
    kept.rename(finished[0] / lost)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("part", ["statistics", "published", "figures"])
def test_results_of_another_table_are_refused(written, part):
    path = written.folder / part / made_from.NAME
    kept = path.read_bytes()
    made_from.note("0" * 64, path.parent)
    with pytest.raises(BenchmarkError, match=f"{part} was computed from another table"):
        written()
    path.write_bytes(kept)
    written()


def test_complete_study_says_so_every_time_in_the_same_words(written):
    text = written()
    assert "Nothing is missing, damaged or stale." in text
    assert text == written()


def test_missing_damaged_and_changed_runs_are_listed(written):
    text = written(
        missing=[{**written.runs[0], "seed": 7, "state": "failed", "step": 12345, "note": "<oom>"}],
        changed=written.runs[:2],
        broken=[{"file": "runs/x.parquet", "reason": "magic bytes"}],
    )
    assert "1 expected run missing" in text
    assert "12,345" in text
    assert "&lt;oom&gt;" in text
    assert "<oom>" not in text
    assert "2 runs made with another configuration" in text
    assert "1 damaged run left out" in text
    assert "runs/x.parquet" in text


def test_a_table_that_came_alone_is_compared_with_the_study(written, finished, tmp_path):
    """Its runs.json knows nothing of what this study file wants."""
    written()
    folder, _ = finished
    wanted = dict(version=2, name="synthetic", backend="simulator", protocol="unified")
    wanted |= dict(seeds=[0, 1, 2], maps=MAPS, algorithms=["qmix"])
    study_folder.save(parse_study(wanted, "test"), folder)
    output = tmp_path / "report.html"
    assert commands.main(["report", str(folder), "-o", str(output)]) == 0
    text = output.read_text()
    assert "2 expected runs missing" in text
    assert "<td>terran_3_vs_3</td><td>QMIX</td><td>2</td><td>missing</td>" in text
    assert "4 runs made with another configuration" in text  # their hashes are made up


@pytest.mark.parametrize(
    "changes",
    [
        {"source_hash": "old"},
        {"attempts": [{"source_hash": "old"}, {}]},
    ],
    ids=["source", "source of the first attempt"],
)
def test_a_run_of_other_code_is_stale(written, changes):
    text = written([{**written.runs[0], **changes}, *written.runs[1:]])
    assert "1 stale run:" in text
    assert "Nothing is missing" not in text


def test_run_of_an_algorithm_that_is_gone_is_stale(written):
    runs = [{**run, "algorithm": "gone"} for run in written.runs]
    assert "4 stale runs:" in written(runs)


def test_the_distance_from_the_game_is_that_of_the_runs_version(written):
    assert "These runs are of simulator 1, which was not measured." in written()
    assert "not measured" not in written([{**r, "backend_version": VERSION} for r in written.runs])


def test_env_steps_are_those_played(written):
    assert '<th scope="row">Env steps</th><td>160,140</td>' in written()  # 4 runs of 40,035


def test_provenance_tells_apart_what_differs(written):
    other = {**written.runs[0], "commit": "f" * 40, "dirty": True}
    outside_git = {**written.runs[1], "commit": None, "dirty": None}
    text = written([other, outside_git, *written.runs[2:]])
    assert '<td class="wrap">unknown</td>' in text
    assert "ffffffffffff with local changes" in text
    assert "0123456789ab" in text
    assert "torch 2.13.0" in text
    assert "Some CPU, 2 cores, 8.0 GB" in text


def test_command_writes_into_the_study(written, finished, capsys):
    written()
    folder, _ = finished
    assert commands.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    (folder / "runs.json").unlink()
    assert commands.main(["report", str(folder)]) == 2
    assert "runs.json" in capsys.readouterr().err


def test_faults_of_the_game_are_counted(written):
    assert "Faults of StarCraft II" not in written()
    runs = [
        {**run, "attempts": [{"backend": {"faults": {"crashed in step": k, "hung in step": 1}}}]}
        for k, run in enumerate(written.runs[:3])
    ]
    text = written(runs + written.runs[3:])
    assert "Faults of StarCraft II, each one battle aborted" in text
    assert "3 crashed in step, 3 hung in step" in text


def test_a_claim_on_all_maps_does_not_hold_by_some_of_them():
    counts = dict.fromkeys(claims.OUTCOMES, 0)
    assert report._outcome(counts) == ""
    assert report._outcome(counts | {"holds": 2}) == "holds"
    assert report._outcome(counts | {"holds": 2, "partial": 4}) == "partial"
    assert report._outcome(counts | {"holds": 2, "fails": 1, "partial": 4}) == "fails"
