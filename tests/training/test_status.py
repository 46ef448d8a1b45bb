"""What ``status`` says about run folders in every condition."""

import io
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from benchmark import files
from benchmark.amounts import duration
from benchmark.commands import main, status
from benchmark.training import provenance, study_folder
from benchmark.training.config import hash_of
from benchmark.training.run_state import DIVERGED
from benchmark.training.study import load_study
from tests.analysis import synthetic
from tests.training import small

STUDY = small.STUDY | {"seeds": [0, 1, 2], "set": {"budget": 1000}}
DEAD = 2**22 + 1  #: above Linux's largest process id


@pytest.fixture
def folders(tmp_path, monkeypatch) -> dict:
    """The run folders of a study by (map, seed); none exists yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    runs = load_study("study.yaml").runs()
    return {(run.map, run.seed): (run, tmp_path / "results" / run.path) for run in runs}


def finish(run, folder, **changes) -> None:
    table = synthetic.run(run.map, "qmix", 0)
    source = changes.get("source_hash", provenance.source_hash(run.algorithm, run.backend))
    about = {
        **run.identity,
        "config": run.resolved(),
        "steps_per_second": 10.0,
        "attempts": [{"source_hash": source}],
    }
    synthetic.save(table, folder, **about | changes)


def report(folder, **changes) -> None:
    about = {
        "state": "running",
        "step": 400,
        "budget": 1000,
        "steps_per_second": 20.0,
        "win_rate": 0.25,
        "host": platform.node(),
        "pid": os.getpid(),
        "updated": provenance.now(),
        "error": "",
    }
    files.write_sealed(about | changes, folder / "progress.json")


def seen(capsys) -> dict:
    assert main(["status", "study.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["counts"].values()) == len(found["runs"]) == 6
    return found | {"runs": {(run["map"], run["seed"]): run for run in found["runs"]}}


def test_nothing_has_begun(folders, capsys):
    found = seen(capsys)
    assert found["counts"]["missing"] == 6
    assert all(run["seconds_left"] is None for run in found["runs"].values())
    assert main(["status", "study.yaml"]) == 0
    assert "python -m benchmark plan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        ({"budget": 1000}, "interrupted"),
        ({"budget": 2000}, "interrupted"),  # only its end was moved
        ({"budget": 300}, "changed"),  # it is beyond that already
        ({"budget": 1000, "learning_rate": 1e-3}, "changed"),
    ],
)
def test_an_unfinished_run_that_would_start_over_is_called_changed(folders, capsys, rules, state):
    Path("study.yaml").write_text(yaml.safe_dump(STUDY | {"set": {"budget": 1000}}))
    run = next(run for run in load_study("study.yaml").runs() if (run.map, run.seed) == ("3m", 0))
    report(folders["3m", 0][1], state="interrupted", saved_step=400, config=run.resolved())
    Path("study.yaml").write_text(yaml.safe_dump(STUDY | {"set": rules}))
    found = seen(capsys)["runs"]["3m", 0]
    assert found["state"] == state
    assert ("starts it over" in found["note"]) == (state == "changed")
    if "learning_rate" in rules:
        assert "begun with learning_rate (0.0005 there, 0.001 here)" in found["note"]
    assert found["step"] == (0 if state == "changed" else 400)


def test_runs_are_resolved_once(folders, capsys, monkeypatch):
    """It takes seconds; what comes of it is kept until the study or the code changes."""
    resolved = []

    def checked_runs(study, source):
        resolved.append(study)
        return study.runs()

    monkeypatch.setattr(study_folder, "checked_runs", checked_runs)
    assert seen(capsys)["counts"]["missing"] == 6
    finish(*folders["3m", 0])
    for _ in range(2):
        assert seen(capsys)["counts"]["done"] == 1
    assert len(resolved) == 1
    Path("study.yaml").write_text(yaml.safe_dump(STUDY | {"set": {"budget": 2000}}))
    assert seen(capsys)["counts"]["changed"] == 1
    monkeypatch.setattr(study_folder, "_code", lambda study: "of other code")
    assert seen(capsys)["counts"]["changed"] == 1
    assert len(resolved) == 3


def test_torch_is_not_imported_for_runs_that_are_known(tmp_path):
    """It takes seconds, so only the first call does."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    code = (
        "import sys; from benchmark.commands import main; main(['status', 'study.yaml'])\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    place = {"PYTHONPATH": str(files.ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for imported in ("True", "False"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | place,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "missing" in done.stdout
        assert done.stderr == f"{imported}\n"


def test_what_a_run_cannot_use_is_said_before_a_study_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for key, value in (("gamma", math.nan), ("gama", 0.9)):
        Path("study.yaml").write_text(yaml.safe_dump(STUDY | {"set": {key: value}}))
        assert main(["status", "study.yaml"]) == 2
        assert re.search(rf"study\.yaml: .*{key}", capsys.readouterr().err)


def test_a_copy_next_to_a_run_is_no_run(folders, capsys):
    finish(*folders["3m", 0])
    folder = folders["3m", 0][1]
    shutil.copytree(folder, folder.with_name("0_old"))
    Path("study.yaml").unlink()
    assert main(["status", str(folder.parents[5]), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1


def test_every_state(folders, capsys):
    finish(*folders["3m", 0])
    other = load_study("study.yaml").model_copy(update={"set": {"budget": 2000}}).runs()[1]
    finish(other, folders["3m", 1][1])
    finish(*folders["3m", 2], source_hash="of older source")
    report(folders["8m", 0][1])
    report(folders["8m", 1][1], state="failed", error="it broke\nin many lines", pid=DEAD)
    report(folders["8m", 2][1], state="running", step=800, saved_step=700, pid=DEAD)  # killed
    found = seen(capsys)
    states = {key: run["state"] for key, run in found["runs"].items()}
    assert states == {
        ("3m", 0): "done",
        ("3m", 1): "changed",
        ("3m", 2): "stale",
        ("8m", 0): "running",
        ("8m", 1): "failed",
        ("8m", 2): "interrupted",
    }
    left = {key: run["seconds_left"] for key, run in found["runs"].items()}
    assert left["3m", 0] == 0
    assert left["3m", 1] == 1000 / 10  # will be repeated
    assert left["3m", 2] == 0  # will not, unless it is deleted
    assert left["8m", 0] == (1000 - 400) / 20
    assert left["8m", 2] == (1000 - 700) / 20
    assert main(["status", "study.yaml"]) == 0
    text = capsys.readouterr().out
    assert "running 8m/qmix/default/0: 40% of 1,000 steps, 20 steps/s, won 25%, 30 s left" in text
    assert "failed 8m/qmix/default/1: it broke\n" in text
    assert "changed 3m/qmix/default/1: made with budget (2000 there, 1000 here);" in text
    assert "stale 3m/qmix/default/2: code that decides its numbers has changed" in text


def test_watching_needs_an_interval(folders, capsys):
    for seconds in ("-1", "0", "nan"):
        assert main(["status", "study.yaml", f"--watch={seconds}"]) == 2
        assert "above 0" in capsys.readouterr().err


def test_the_forecast_names_the_device_whose_speed_it_takes(folders, capsys):
    card = {"device": "NVIDIA H100", "cpu": "Some CPU", "cores": 2, "memory_gb": 8.0}
    finish(*folders["3m", 0], hardware=card)
    assert main(["status", "study.yaml"]) == 0
    assert "with 1 run(s) at a time, at the speed of NVIDIA H100" in capsys.readouterr().out
    report(folders["8m", 0][1])  # one that runs now says how fast it is
    assert main(["status", "study.yaml"]) == 0
    assert "at the speed" not in capsys.readouterr().out


@pytest.mark.parametrize(("height", "with_table"), [(30, True), (8, False)])
def test_watching_leaves_out_a_table_that_is_too_long(folders, monkeypatch, height, with_table):
    shown = io.StringIO()
    screen = Console(
        file=shown, force_terminal=True, color_system=None, highlight=False, width=90, height=height
    )

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    status._watch("study.yaml", 5.0, screen)
    assert ("8m" in shown.getvalue()) == with_table
    assert "6 missing" in shown.getvalue()
    assert "time left" in shown.getvalue()


def test_watching_needs_a_terminal(folders, capsys):
    assert main(["status", "study.yaml", "--watch"]) == 2
    assert "--watch needs a terminal" in capsys.readouterr().err


def test_a_run_is_stale_if_any_attempt_was_made_by_other_code(folders, capsys):
    run, folder = folders["3m", 0]
    source = provenance.source_hash(run.algorithm, run.backend)
    finish(run, folder, attempts=[{"source_hash": "of older source"}, {"source_hash": source}])
    assert seen(capsys)["runs"]["3m", 0]["state"] == "stale"


@pytest.mark.parametrize(
    ("attempt", "state"),
    [
        ({"commit": "same", "dirty": False}, "done"),
        ({"commit": "same", "dirty": True}, "stale"),
        ({"commit": "older", "dirty": False}, "stale"),
        ({"commit": None, "dirty": None}, "stale"),
    ],
)
def test_the_commit_decides_where_a_hash_was_made_otherwise(
    folders, capsys, monkeypatch, attempt, state
):
    hashes = {None: "of today", "same": "of today", "older": "of older code"}
    monkeypatch.setattr(provenance, "source_hash", lambda *of: hashes[(*of, None)[2]])
    finish(*folders["3m", 0], attempts=[attempt | {"source_hash": "made otherwise"}])
    assert seen(capsys)["runs"]["3m", 0]["state"] == state


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "running"),
        ({"pid": DEAD}, "interrupted"),  # killed: it could not say so
        ({"host": "elsewhere", "pid": DEAD}, "running"),  # only its reports can tell
        ({"host": "elsewhere", "updated": "2020-01-01T00:00:00+00:00"}, "interrupted"),
        ({"updated": (datetime.now(UTC) - timedelta(days=1)).isoformat()}, "interrupted"),
    ],
)
def test_whether_a_run_is_alive(folders, capsys, changes, state):
    report(folders["3m", 0][1], **changes)
    assert seen(capsys)["runs"]["3m", 0]["state"] == state


def test_damaged_records_are_named(folders, capsys):
    for seed in (0, 1):
        finish(*folders["3m", seed])
    (folders["3m", 0][1] / "run.json").write_text('{"config')
    table = folders["3m", 1][1] / "evaluations.parquet"
    table.write_bytes(table.read_bytes()[:100])
    report(folders["3m", 2][1])
    (folders["3m", 2][1] / "progress.json").write_text("")
    finish(*folders["8m", 0])
    files.write_sealed({}, folders["8m", 0][1] / "run.json")
    report(folders["8m", 1][1])
    files.write_sealed({"state": "running"}, folders["8m", 1][1] / "progress.json")
    found = seen(capsys)
    assert found["counts"]["failed"] == 5
    assert "run.json lacks 'study'" in found["runs"]["8m", 0]["note"]
    assert "progress.json lacks 'step'" in found["runs"]["8m", 1]["note"]
    for seed, name in enumerate(["run.json", "evaluations.parquet", "progress.json"]):
        assert name in found["runs"]["3m", seed]["note"]


def test_a_run_that_diverged_is_done_and_named(folders, capsys):
    finish(*folders["3m", 0], end_reason=DIVERGED)
    assert seen(capsys)["runs"]["3m", 0]["state"] == "done"
    assert main(["status", "study.yaml"]) == 0
    assert f"done 3m/qmix/default/0: {DIVERGED}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("attempts", "state", "expected"),
    [
        (["older", "today's"], "interrupted", "stale"),
        (["today's"], "interrupted", "interrupted"),
        (["older"], "failed", "failed"),  # why it failed is more
        (["older"], "running", "running"),  # by that code, still
    ],
)
def test_an_interrupted_run_that_other_code_goes_on_with_is_stale(
    folders, capsys, attempts, state, expected
):
    run, folder = folders["3m", 0]
    hashes = {"older": "of older source", "today's": provenance.source_hash("qmix", "simulator")}
    begun = [{"source_hash": hashes[code], "commit": None, "dirty": None} for code in attempts]
    report(folder, state=state, saved_step=300, config=run.resolved(), attempts=begun, error="it")
    found = seen(capsys)["runs"]["3m", 0]
    assert found["state"] == expected
    assert found["step"] == (400 if expected == "running" else 300)
    assert ("the new code goes on at step 300" in found["note"]) == (expected == "stale")


def test_a_run_of_a_method_that_is_not_named_here_says_so(folders, capsys):
    run, folder = folders["3m", 0]
    finish(run, folder)
    about = files.read_sealed(folder / "run.json")
    about["algorithm"] = about["config"]["algorithm"] = "mine"
    own = folder.parents[2] / "mine" / "default" / "0"
    shutil.copytree(folder, own)
    files.write_sealed(about | {"config_hash": hash_of(about["config"])}, own / "run.json")
    Path("study.yaml").unlink()
    assert main(["status", str(folder.parents[5])]) == 0
    assert "stale 3m/mine/default/0: its method is not known here; if it is your own, name its" in (
        capsys.readouterr().out
    )


def test_deleted_records_are_missing(folders, capsys):
    report(folders["3m", 0][1], state="done")
    assert seen(capsys)["runs"]["3m", 0]["state"] == "missing"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (600, "10 min"), (3600 * 3.25, "3.2 h"), (86_400 * 2.5, "2.5 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
