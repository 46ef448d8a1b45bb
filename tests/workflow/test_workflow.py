"""What Snakemake plans and does.

Most tests use a study that Snakemake has made with a stand-in for ``python -m benchmark``, a
package of that name in its working directory, which writes empty files in an instant.
"""

import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import yaml

from algorithms import ALGORITHMS
from benchmark import commands, files
from benchmark.analysis import ablations, figures, made_from, statistics, tables
from benchmark.published import compare
from benchmark.training import lock, progress, provenance, run_state
from benchmark.training.config import hash_of
from benchmark.training.evaluations import read_evaluations
from benchmark.training.study import load_study
from benchmark.training.study_folder import find
from tests.training import small

ROOT = Path(__file__).parent.parent.parent
AFTER_TRAINING = {"aggregate", "statistics", "tables", "figures", "compare", "report", "all"}
COMMANDS = {"compare": "published"}  #: of rules that are not called like their command
PROFILES = ROOT / "profiles"
STUDY = small.STUDY | {"maps": ["3m", "terran_3_vs_3"]}
STAND_IN = """
import hashlib, json, os, pathlib, sys
pathlib.Path("pythonpath").write_text(os.environ["PYTHONPATH"])
def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()
command, arguments = sys.argv[1], sys.argv[2:]
with open("jobs", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if command == "train":
    options = dict(zip(arguments[::2], arguments[1::2]))
    study = json.loads(pathlib.Path(options["--study"], "study.json").read_text())
    wanted = [options[f"--{name}"] for name in ("map", "algorithm", "variant", "seed")]
    (run,) = [run for run in study["runs"] if list(map(str, run.values()))[4:8] == wanted]
    folder = pathlib.Path(options["--output"])
    (folder / "evaluations.parquet").write_text("PAR1")
    record = json.loads(pathlib.Path("record.json").read_text()) | {"config": run}
    record |= dict(list(run.items())[1:8])  # its identity
    record["config_hash"] = sha256(json.dumps(run, sort_keys=True))[:16]
    record["evaluations_sha256"] = sha256("PAR1")
    record["checksum"] = sha256(json.dumps(record, sort_keys=True))
    (folder / "run.json").write_text(json.dumps(record))
else:
    for path in map(pathlib.Path, json.loads(pathlib.Path("outputs.json").read_text())[command]):
        runs = {"runs": []}
        of = path.parent / ("study.json" if command == "aggregate" else "none")
        for run in json.loads(of.read_text())["runs"] if of.exists() else []:
            parts = [str(run[part]) for part in ("backend", "map", "algorithm", "variant", "seed")]
            record = path.parent.joinpath("runs", *parts, "run.json")
            runs["runs"].append(json.loads(record.read_text()))
        sealed = runs | {"checksum": sha256(json.dumps(runs, sort_keys=True))}
        path.write_text(json.dumps(sealed) if path.name == "runs.json" else "")
"""


class Done(NamedTuple):
    """How a call of Snakemake ended."""

    code: int
    output: str  #: what it printed, to both streams


def snakemake(folder: Path, *arguments: str, study: Path | None = None, **environment: str) -> Done:
    """Calls Snakemake in a fork of a process that has imported everything, to save seconds."""
    log = folder / "snakemake.log"
    command = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--quiet", "reason", "--cores", "2", *arguments]
    command += ["--configfile", str(study or folder / "study.yaml")]
    context = multiprocessing.get_context("forkserver")
    methods = [f"algorithms.{name}" for name in ALGORITHMS]  # with torch and numba
    context.set_forkserver_preload(["snakemake.cli", "benchmark.analysis.figures", *methods])
    process = context.Process(target=_snakemake, args=(command, log, environment))
    process.start()
    process.join()
    return Done(process.exitcode, log.read_text())


def _snakemake(command: list[str], log: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from snakemake.cli import main

    main(command)


def planned(folder: Path, *arguments: str, study: Path | None = None) -> dict[str, int]:
    """Number of jobs per rule in a dry run."""
    done = snakemake(folder, "--dry-run", *arguments, study=study)
    assert done.code == 0, done.output
    return jobs_of(done)


def jobs_of(done: Done) -> dict[str, int]:
    """Number of jobs per rule, from Snakemake's table."""
    jobs = re.findall(r"^(\w+) +(\d+)$", done.output, re.MULTILINE)
    return {rule: int(count) for rule, count in jobs if rule != "total"}


def write_study(folder: Path, **changes) -> None:
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A study that the workflow has made from beginning to end."""
    folder = tmp_path_factory.mktemp("made")
    write_study(folder)
    maps = load_study(folder / "study.yaml").maps
    outputs = {
        "aggregate": ["evaluations.parquet", "runs.json"],
        "statistics": [f"statistics/{name}" for name in statistics.outputs()],
        "tables": [f"tables/{name}" for name in tables.outputs(maps)],
        "figures": [f"figures/{name}" for name in figures.outputs(maps)],
        "published": [f"published/{name}" for name in (*compare.NAMES, made_from.NAME)],
        "report": ["report.html"],
    }
    paths = {
        command: [f"results/made_up/{name}" for name in names] for command, names in outputs.items()
    }
    (folder / "outputs.json").write_text(json.dumps(paths))
    record = dict.fromkeys(provenance.RUN_KEYS)
    record |= {"algorithm": "qmix", "backend": "simulator", "end_reason": run_state.END}
    record |= {"hardware": {"device": "cpu"}}
    record |= {"source_hash": provenance.source_hash("qmix", "simulator"), "attempts": [{}]}
    files.write_json(record, folder / "record.json")
    (folder / "benchmark").mkdir()
    (folder / "benchmark" / "__init__.py").touch()  # else an installed package would come first
    (folder / "benchmark" / "__main__.py").write_text(STAND_IN)
    done = snakemake(folder, "all")
    assert done.code == 0, done.output
    calls = [json.loads(line) for line in (folder / "jobs").read_text().splitlines()]
    for call in calls:  # the stand-in takes any option
        assert commands._parser(call).parse_args(call).command == call[0]
    jobs = [command for command, *_ in calls]
    after = [COMMANDS.get(rule, rule) for rule in AFTER_TRAINING - {"all"}]
    assert sorted(jobs) == sorted(["train"] * 4 + after)
    return folder


@pytest.fixture
def study(made, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "study")


def run_folder(study: Path, map: str, seed: int, algorithm: str = "qmix") -> Path:
    return study / "results/made_up/runs/simulator" / map / algorithm / "default" / str(seed)


def test_the_full_study_lists_every_run(tmp_path):
    paper = ROOT / "config" / "paper.yaml"
    runs = load_study(paper).runs()
    assert len(runs) >= 60
    jobs = planned(tmp_path, study=paper)
    assert jobs == dict.fromkeys(AFTER_TRAINING | {"roles", "ablations"}, 1) | {"train": len(runs)}


def test_a_finished_study_has_nothing_to_do(study):
    assert planned(study, "all") == {}


def test_jobs_run_the_code_of_the_workflow(study):
    """In a folder of one's own too, whatever is installed."""
    assert (study / "pythonpath").read_text().split(os.pathsep)[0] == str(ROOT)


def test_only_missing_runs_are_trained(study):
    shutil.rmtree(run_folder(study, "3m", 1))
    (run_folder(study, "terran_3_vs_3", 0) / "evaluations.parquet").unlink()
    assert planned(study, "all") == dict.fromkeys(AFTER_TRAINING, 1) | {"train": 2}


def test_a_changed_hyperparameter_repeats_exactly_the_runs_it_touches(study):
    write_study(study, per_map={"3m": {"learning_rate": 0.001}})
    done = snakemake(study, "--dry-run")
    trained = re.findall(r"train qmix on (\w+), seed (\d+)", done.output)
    assert set(trained) == {("3m", "0"), ("3m", "1")}
    said = "2 run(s) have other options than the study now says"
    assert re.search(rf"{re.escape(said)}.*learning_rate \(0.0005 there, 0.001 here\)", done.output)
    write_study(study)
    assert said not in snakemake(study, "--dry-run").output


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LOG", "tensorbord"), ("DEVICE", "gpu"), ("CHECKPOINT_SECONDS", "abc")],
)
def test_what_every_run_would_refuse_is_said_before_the_first(study, variable, value):
    done = snakemake(study, "--dry-run", "runs", **{f"BENCHMARK_{variable}": value})
    assert done.code != 0
    assert re.search(rf"^error: BENCHMARK_{variable}.*{value}", done.output, re.M)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_logger_that_is_not_installed_is_said_before_the_first_run(study):
    said = "error: BENCHMARK_LOG=wandb: the package is not installed; pip install"
    command = ("--dry-run", "runs")
    assert said in snakemake(study, *command, BENCHMARK_LOG="wandb").output
    # A container, or conda's environment, may have it.
    apart = snakemake(study, *command, "--sdm", "apptainer", BENCHMARK_LOG="wandb")
    assert said not in apart.output


def test_an_unfinished_run_with_other_options_is_named_before_it_starts_over(study):
    folder = run_folder(study, "3m", 1)
    config = files.read_sealed(folder / "run.json")["config"]
    for name in run_state.RECORDS:
        (folder / name).unlink()
    config["hyperparameters"]["gamma"] = 0.5
    about = dict.fromkeys(progress.KEYS, "") | {"state": "interrupted", "step": 9, "win_rate": None}
    files.write_sealed(about | {"config": config}, folder / "progress.json")
    done = snakemake(study, "--dry-run", "runs")
    assert "1 run(s) have other options than the study now says" in done.output
    said = r"3m/qmix/default/1 was begun with gamma \(0.5 there, 0.99 here\)"
    assert re.search(said, done.output)


@pytest.mark.parametrize("options", [[], ["--profile", str(PROFILES / "slurm")]])
def test_an_update_of_the_workflow_repeats_nothing(study, tmp_path, options):
    """A rule may be worded anew in the middle of a study."""
    updated = tmp_path / "updated"
    updated.mkdir()
    shutil.copy(ROOT / "Snakefile", updated)
    for folder in ("profiles", "workflow"):
        shutil.copytree(ROOT / folder, updated / folder)
    for path in (updated / "workflow" / "rules").glob("*.smk"):
        path.write_text(path.read_text().replace("python -m benchmark", "python  -m benchmark"))
    assert planned(study, "all", *options, "--snakefile", str(updated / "Snakefile")) == {}


def test_a_run_with_another_configuration_is_repeated(study):
    """By its own record: Snakemake's are not asked."""
    shutil.rmtree(study / ".snakemake")
    write_study(study, per_map={"3m": {"gamma": 0.9}})
    done = snakemake(study, "all")
    assert done.code == 0, done.output
    trained = re.findall(r"train qmix on (\w+), seed (\d+)", done.output)
    assert set(trained) == {("3m", "0"), ("3m", "1")}
    assert planned(study, "all") == {}


def test_a_key_that_is_younger_than_a_run_repeats_nothing(study):
    path = run_folder(study, "3m", 0) / "run.json"
    record = files.read_sealed(path)
    del record["config"]["training"]["burn_in_episodes"]
    files.write_sealed(record | {"config_hash": hash_of(record["config"])}, path)
    assert "train" not in planned(study, "runs")
    write_study(study, set={"burn_in_episodes": 7})
    assert planned(study, "runs")["train"] == 4


def test_stale_runs_are_named_and_repeated_where_that_is_asked_for(study):
    path = run_folder(study, "3m", 1) / "run.json"
    files.write_sealed(files.read_sealed(path) | {"source_hash": "of other code"}, path)
    done = snakemake(study, "--dry-run", "all")
    assert "1 run(s) are stale" in done.output
    assert jobs_of(done) == dict.fromkeys(AFTER_TRAINING, 1)  # the report will name them
    done = snakemake(study, "all", "--config", "rerun=stale")
    assert done.code == 0, done.output
    assert re.findall(r"train qmix on (\w+), seed (\d+)", done.output) == [("3m", "1")]
    assert planned(study, "all", "--config", "rerun=stale") == {}
    assert "only rerun=stale" in snakemake(study, "all", "--config", "rerun=all").output


def test_stale_runs_of_a_table_that_came_alone_are_named_and_not_repeated(study):
    folder = study / "results/made_up"
    runs = [files.read_sealed(path) for path in folder.glob("runs/**/run.json")]
    stale = [run | {"source_hash": "of other code"} for run in runs]
    files.write_sealed({"runs": stale}, folder / "runs.json")
    shutil.rmtree(study / ".snakemake")
    shutil.rmtree(folder / "runs")
    done = snakemake(study, "--dry-run", "all", "--config", "rerun=stale")
    assert "4 run(s) are stale" in done.output
    assert "repeats them" not in done.output
    assert "train" not in jobs_of(done)
    write_study(study, set={"learning_rate": 1e-4})  # another configuration than the table's
    done = snakemake(study, "--dry-run", "all")
    assert "4 are of another configuration. Nothing is trained" in done.output
    assert "train" not in jobs_of(done)


def test_a_study_that_came_as_its_table_is_never_trained(study, capsys, monkeypatch):
    """Its runs could not be told from missing ones, and the table would be made of the new ones."""
    shutil.rmtree(study / "results/made_up/runs")
    write_study(study, seeds=[0, 1, 2])
    assert {"train", "aggregate"}.isdisjoint(planned(study, "all"))
    done = snakemake(study, "--dry-run", "runs")
    assert re.search(r"evaluations\.parquet: [1-9]\d* of its runs are missing there", done.output)
    monkeypatch.chdir(study)
    one = ["train", "--study", "study.yaml", "--map", "3m", "--algorithm", "qmix", "--seed", "2"]
    assert commands.main(one) == 2
    assert "came as its table" in capsys.readouterr().err
    assert commands.main(["status", "study.yaml"]) == 0
    said = capsys.readouterr().out
    assert "nothing is trained as long as the table is there" in said
    assert "repeats it" not in said
    assert not Path("results/made_up/runs").exists()


def test_more_seeds_and_variants_add_only_their_runs(study):
    variant = {"algorithm": "qmix", "name": "slow", "maps": ["3m"], "set": {"learning_rate": 1e-4}}
    write_study(study, seeds=[0, 1, 2], variants=[variant])
    assert planned(study, "all")["train"] == 2 + 3


def test_a_table_of_other_runs_is_made_again(study):
    """As aggregate leaves it by hand, where Snakemake has no record of what it was made from."""
    shutil.rmtree(study / ".snakemake")
    assert planned(study, "all") == {}
    table = study / "results/made_up/runs.json"
    write_study(study, seeds=[1])
    assert set(planned(study, "all")) == AFTER_TRAINING
    write_study(study, seeds=[0, 1])
    record = json.loads(table.read_text())
    files.write_sealed({"runs": record["runs"][:-1]}, table)
    later = time.time() - 5
    for path in table.parent.rglob("*"):
        os.utime(path, (later, later))
    assert set(planned(study, "all")) == AFTER_TRAINING


def test_a_changed_bootstrap_trains_nothing(study):
    write_study(study, statistics={"replications": 500})
    assert set(planned(study, "all")) == AFTER_TRAINING - {"aggregate", "compare"}


def test_aggregate_and_report_know_the_study_as_the_options_have_it(study):
    """Also where no file holds it; otherwise they could not say what is missing."""
    curves = [{"algorithm": "qmix", "label": label} for label in ("it's", '$(touch hacked) "{x}"')]
    write_study(study, ablations=[{"name": "odd", "title": "; touch hacked", "curves": curves}])
    wanted = load_study(study / "study.yaml").model_copy(update={"seeds": [0, 1, 2]})
    paths = json.loads((study / "outputs.json").read_text())
    paths["ablations"] = [
        *(f"results/made_up/figures/{name}" for name in ablations.figure_files(wanted.ablations)),
        *(f"results/made_up/tables/{name}" for name in ablations.table_files(wanted.ablations)),
    ]
    (study / "outputs.json").write_text(json.dumps(paths))
    done = snakemake(study, "all", "--config", "seeds=[0,1,2]")
    assert done.code == 0, done.output
    found = find(str(study / "results/made_up"))
    assert found.study == wanted
    assert found.runs == [run.resolved() for run in wanted.runs()]
    assert not (study / "hacked").exists()


@pytest.mark.parametrize("memory", ["with Snakemake's records", "a copy of the results alone"])
def test_figures_need_the_aggregated_table_alone(study, memory):
    if "alone" in memory:
        shutil.rmtree(study / ".snakemake")
        assert planned(study, "all") == {}
    shutil.rmtree(study / "results/made_up/runs")
    assert planned(study, "all") == {}
    shutil.rmtree(study / "results/made_up/figures")
    assert planned(study, "figures") == {"figures": 1}
    assert set(planned(study, "all")) == {"figures", "report", "all"}


def test_every_rule_runs_one_plain_command():
    """It takes the place of its shell (see ``shell.prefix``), which two commands could not."""
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    commands = re.findall(r"^ +shell:\n((?: +[f\"].*\n)+)", rules, re.MULTILINE)
    assert len(commands) == len(re.findall(r"^ +shell:", rules, re.MULTILINE)) >= 11
    for command in commands:
        text = "".join(line.strip().strip('"') for line in command.splitlines())
        assert re.match(r"(\w+=\S+ )*python -m benchmark ", text)
        assert not re.search(r"&&|;|\|", text)


def test_a_copy_that_kept_its_name_does_not_repeat_the_study(study):
    (study / "config").mkdir()
    shutil.move(study / "study.yaml", study / "config/one.yaml")
    assert planned(study, "all", study=study / "config/one.yaml") == {}
    copy = study / "config/copy.yaml"
    copy.write_text(yaml.safe_dump(STUDY | {"set": {"learning_rate": 1e-4}}))
    done = snakemake(study, "--dry-run", "all", study=copy)
    assert done.code == 2
    assert "config/copy.yaml and config/one.yaml have the name made_up alike" in done.output


def test_published_results_need_their_raw_files(study):
    missing = ("error: published results need their raw files: ", "--config published=FOLDER")
    for options, where in (
        (["published"], "nowhere holds no folder r3dm_release; "),
        (["all", "--config", "published=nowhere"], "nowhere holds no folder r3dm_release or acorm"),
    ):
        done = snakemake(study, "--dry-run", *options)
        (line,) = [line for line in done.output.splitlines() if "raw files" in line]
        assert done.code == 2
        assert all(part in line for part in (*missing, where))
        assert "Traceback" not in done.output
    for name in ("r3dm_release", "acorm_release"):
        (study / "raw" / name).mkdir(parents=True)
    assert planned(study, "published", "--config", "published=raw") == {
        "import_release": 2,
        "facts": 1,
        "published": 1,
    }
    assert planned(study, "all", "--config", "published=raw") == {}  # it is no key of a study


def test_other_margins_judge_the_study_again(study):
    """As if config/claims.yaml had changed: the Snakefile takes another file for it."""
    (study / "Snakefile").write_text(
        "import pathlib\n"
        "from benchmark.published import claims\n"
        "claims.PAPER = pathlib.Path('claims.yaml')\n"
        f"include: {str(ROOT / 'Snakefile')!r}\n"
    )
    known = (ROOT / "config" / "claims.yaml").read_text()
    (study / "claims.yaml").write_text(known)
    snakefile = ("--snakefile", str(study / "Snakefile"))
    assert planned(study, "all", *snakefile) == {}
    (study / "claims.yaml").write_text(known.replace("win_rate: 0.10", "win_rate: 0.05"))
    assert set(planned(study, "all", *snakefile)) == {"compare", "report", "all"}


def test_the_figure_of_roles_needs_the_runs_it_shows_and_no_others(study):
    shown = {"map": "3m", "algorithms": ["acorm"], "seed": 0}
    write_study(study, algorithms=["qmix", "acorm"], roles=shown)
    assert planned(study, "all")["roles"] == 1
    done = snakemake(study, "--dry-run", *figure_of_roles("3m"))
    assert re.findall(r"train (\w+) on (\w+), seed (\d+)", done.output) == [("acorm", "3m", "0")]


def test_a_copy_without_runs_has_no_figure_of_roles_or_keeps_the_one_it_came_with(study):
    shown = {"map": "3m", "algorithms": ["acorm"], "seed": 0}
    write_study(study, algorithms=["qmix", "acorm"], roles=shown)
    shutil.rmtree(study / ".snakemake")
    shutil.rmtree(study / "results/made_up/runs")
    assert planned(study, "all") == {}
    for path in figure_of_roles("3m"):
        (study / path).parent.mkdir(exist_ok=True)
        (study / path).touch()
    assert set(planned(study, "all")) <= {"report", "all"}


def figure_of_roles(map: str) -> list[str]:
    return [f"results/made_up/roles/roles_{map}.{suffix}" for suffix in ("png", "csv")]


def test_another_study_takes_nothing_from_the_default_one(study):
    (study / "config").mkdir()
    (study / "config" / "paper.yaml").write_text("no_such_key: 1\nset: {no_such_rule: 1}\n")
    assert planned(study, "all") == {}


def test_a_study_file_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    """Snakemake reads it before its Snakefile, but after the profile, which looks for it."""
    wanted = ["--configfile", "nowhere.yaml"]
    monkeypatch.setattr(sys, "argv", ["snakemake", *wanted])
    done = snakemake(tmp_path, study=tmp_path / "nowhere.yaml")
    assert done.code == 2
    error = "error: cannot read the study nowhere.yaml: No such file or directory"
    assert done.output.splitlines()[1:] == [error]  # the first names the profile


@pytest.mark.parametrize("name", ["slurm", "slurm-no-accounting"])
def test_a_profile_for_slurm_without_the_plugin_is_one_line(name, monkeypatch, capsys):
    """Snakemake itself would only list the executors that it knows."""
    profile = str(PROFILES / name)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--profile", profile, "all"])
    looks = yaml.safe_load((PROFILES / "default" / "profile.yaml").read_text())["__definitions__"]
    exec(looks[0], {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="2"):
        exec(looks[0], {})
    error = f"error: {profile} needs Snakemake's Slurm plugin: pip install -e '.[slurm]'\n"
    assert capsys.readouterr().err == error


def test_a_mistake_in_the_study_is_one_clear_line(study):
    write_study(study, maps=["3n"])
    done = snakemake(study, "--dry-run")
    assert done.code == 2
    message = f"error: {study}/study.yaml: unknown map '3n'; did you mean 3m"
    assert next(line for line in done.output.splitlines() if "3n" in line).startswith(message)
    assert "Traceback" not in done.output
    write_study(study)
    assert planned(study, "all") == {}  # nothing was lost


def test_text_of_the_study_never_reaches_a_shell(study):
    write_study(study, name="made_up; touch hacked")
    assert "names a folder" in snakemake(study, "all").output
    write_study(study, set={"optimizer": "$(touch hacked)'; touch hacked; '"})
    assert "optimizer" in snakemake(study, "all").output
    assert not (study / "hacked").exists()


def test_an_unwritable_run_folder_fails_alone(study):
    """A file stands where one run's folder should be: all other results stay."""
    blocked = run_folder(study, "3m", 1)
    shutil.rmtree(blocked)
    blocked.write_text("in the way")
    done = snakemake(study, "--retries", "0", "all")
    assert done.code != 0
    assert str(blocked.relative_to(study)) in done.output
    blocked.unlink()
    assert planned(study, "all") == dict.fromkeys(AFTER_TRAINING, 1) | {"train": 1}


def test_a_retry_finds_what_the_first_attempt_left(study):
    """The checkpoint is not an output, so a failing job does not take it along."""
    folder = run_folder(study, "3m", 0)
    (folder / "run.json").unlink()
    (folder / "checkpoint.pt").touch()
    failing_once = (
        "import pathlib, sys\n"
        "mark = pathlib.Path('tried')\n"
        "if not mark.exists() and sys.argv[1] == 'train':\n"
        "    folder = sys.argv[sys.argv.index('--output') + 1]\n"
        "    assert pathlib.Path(folder, 'checkpoint.pt').exists()\n"
        "    mark.touch()\n"
        "    sys.exit('killed')\n"
    )
    (study / "benchmark" / "__main__.py").write_text(failing_once + STAND_IN)
    done = snakemake(study, "all", "--retries", "3")
    assert done.code == 0, done.output
    assert (study / "tried").exists()
    assert (folder / "checkpoint.pt").exists()


def test_two_workflows_on_one_results_folder(study, tmp_path):
    """Snakemake's own lock is switched off, and would lie in another folder in the second case."""
    shutil.rmtree(study / "results/made_up/figures")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(study, elsewhere, ignore=shutil.ignore_patterns("results"))
    (elsewhere / "results").symlink_to(study / "results")
    jobs = (study / "jobs").read_text()
    with lock.exclusive(study / "results/made_up"):
        for folder in (study, elsewhere):
            done = snakemake(folder, "all")
            assert done.code == 2
            assert "error: results/made_up is in use by another process" in done.output
            assert "Traceback" not in done.output
            assert planned(folder, "figures") == {"figures": 1}  # looking is allowed
    assert (study / "jobs").read_text() == jobs
    done = snakemake(study, "all")  # no lock is left behind, Snakemake's neither
    assert done.code == 0, done.output


def test_a_killed_workflow_is_simply_started_again(study):
    """Snakemake alone would meet its own lock, and call whole files incomplete."""
    shutil.rmtree(study / "results/made_up/figures")
    killing_once = (
        "import os, pathlib, sys\n"
        "if sys.argv[1] == 'figures' and not pathlib.Path('killed').exists():\n"
        "    pathlib.Path('killed').touch()\n"
        "    os.kill(os.getppid(), 9)\n"
    )
    (study / "benchmark" / "__main__.py").write_text(STAND_IN + killing_once)
    assert snakemake(study, "all").code == -9
    assert (study / "killed").exists()
    done = snakemake(study, "all")
    assert done.code == 0, done.output


def test_a_failing_step_says_why_on_the_screen(study):
    shutil.rmtree(study / "results/made_up/figures")
    failing = "import sys\nif sys.argv[1] == 'figures':\n    sys.exit('error: mend this')\n"
    (study / "benchmark" / "__main__.py").write_text(failing + STAND_IN)
    done = snakemake(study, "all")
    assert done.code == 1
    assert "error: mend this" in done.output


def test_no_shell_stands_between_the_workflow_and_a_run(study):
    """A shell would die of SIGTERM at once, and the run be killed before it has saved."""
    shutil.rmtree(run_folder(study, "3m", 0))
    parent = (
        "import os, pathlib, sys\n"
        "if sys.argv[1] == 'train':\n"
        "    name = pathlib.Path('/proc', str(os.getppid()), 'cmdline').read_bytes()\n"
        "    pathlib.Path('parent').write_bytes(name)\n"
    )
    (study / "benchmark" / "__main__.py").write_text(parent + STAND_IN)
    done = snakemake(study, "runs")
    assert done.code == 0, done.output
    assert b"bash" not in (study / "parent").read_bytes()


def test_a_run_in_a_slurm_job_is_told_of_its_end(study):
    """Under control groups Slurm sends SIGTERM to Snakemake alone."""
    shutil.rmtree(run_folder(study, "3m", 0))
    saving = (
        "import os, pathlib, signal, sys, time\n"
        "def save(*_):\n"
        "    pathlib.Path('saved').touch()\n"
        "    sys.exit(1)\n"
        "if sys.argv[1] == 'train':\n"
        "    signal.signal(signal.SIGTERM, save)\n"
        "    os.kill(os.getppid(), signal.SIGTERM)\n"
        "    time.sleep(20)\n"
    )
    (study / "benchmark" / "__main__.py").write_text(saving + STAND_IN)
    done = snakemake(study, "runs", SLURM_JOB_ID="7")
    assert done.code == 1, done.output
    assert (study / "saved").exists()


def test_read_only_results_are_one_clear_line(study):
    shutil.rmtree(study / "results/made_up/figures")
    (study / "results/made_up/.lock").unlink()
    (study / "results/made_up/.lock").mkdir()  # root may write where others may not
    done = snakemake(study, "all")
    assert done.code == 2
    assert "error: cannot write to results/made_up: " in done.output
    assert "Traceback" not in done.output


def test_dates_of_runs_never_train(study):
    """Of a clock that jumped, a copy, a clone: at most what follows from the runs is made again."""
    for age in (-400, 400):
        date = time.time() - age * 86_400
        for path in (study / "results/made_up/runs").rglob("*.*"):
            os.utime(path, (date, date))
        assert "train" not in planned(study, "all")


@pytest.mark.parametrize("name", ["cpu", "gpu", "slurm", "slurm-no-accounting"])
def test_profiles_are_understood(study, name):
    shutil.rmtree(run_folder(study, "3m", 1))
    assert planned(study, "all", "--profile", str(PROFILES / name))["train"] == 1


def test_both_slurm_profiles_differ_in_accounting_only():
    with_it, without = (
        yaml.safe_load((PROFILES / name / "profile.yaml").read_text())
        for name in ("slurm", "slurm-no-accounting")
    )
    assert without == with_it | {"slurm-no-account": True}


@pytest.mark.parametrize("name", ["slurm", "slurm-no-accounting"])
def test_a_job_array_would_hold_every_run(name):
    """Of one that cannot the plugin drops runs without a word, and then waits for them for ever."""
    text = (PROFILES / name / "profile.yaml").read_text()
    values = yaml.safe_load(re.sub(r"^# (?=[\w-]+: )", "", text, flags=re.MULTILINE))
    runs = len(load_study(ROOT / "config" / "paper.yaml").runs())
    assert "slurm-array-jobs" not in values or values["jobs"] >= runs


def test_whatever_slurm_gets_has_resources():
    """All else runs where the workflow does, also what a study shows of its roles."""
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    parts = re.split(r"^ *rule (\w+):\n", rules, flags=re.MULTILINE)[1:]
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    sent = {
        name for name, text in texts.items() if "shell:" in text and "localrule: True" not in text
    }
    for name in ("slurm", "slurm-no-accounting"):
        values = yaml.safe_load((PROFILES / name / "profile.yaml").read_text())
        assert set(values["set-resources"]) == sent == {"train"}
        assert {"gres", "mem_mb", "runtime"} <= set(values["set-resources"]["train"])


@pytest.mark.slow  # `make smoke` does so too
def test_trains_and_shows_roles_for_real(tmp_path):
    short = {"budget": 100, "n_envs": 2, "batch_size": 2, "replay_episodes": 8}
    grid = {"evaluation_interval": 100, "evaluation_episodes": 2, "absolute_episodes": 2}
    shown = {"map": "3m", "algorithms": ["acorm"], "seed": 1, "battles": 1}
    write_study(tmp_path, maps=["3m"], algorithms=["acorm"], set=short | grid, roles=shown)
    table, *roles = "results/made_up/evaluations.parquet", *figure_of_roles("3m")
    done = snakemake(tmp_path, "--retries", "0", table, *roles)
    assert done.code == 0, done.output
    assert len(read_evaluations(tmp_path / table)) == 2 * 6
    assert set(pd.read_csv(tmp_path / roles[1])["seed"]) == {1}
    assert planned(tmp_path, table, *roles) == {}
    about = files.read_json(run_folder(tmp_path, "3m", 0, "acorm") / "run.json")
    assert about["hardware"]["threads"] == 1
    assert about["config_hash"] == load_study(tmp_path / "study.yaml").runs()[0].hash
