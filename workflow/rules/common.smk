"""The study, and where its files are. Every rule's work is done by the package ``benchmark``."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from snakemake.logging import logger

sys.path.insert(0, workflow.basedir)  # finds the package also where it is not installed

from benchmark.errors import BenchmarkError

# Jobs call the python that runs Snakemake, whether or not its environment is activated. With
# --sdm conda, conda puts its own before it.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
# And they run this checkout's package, wherever they are called and whatever is installed.
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")]))
)

# What --config takes besides keys of a study: the folder with the raw files of published results, and
# which finished runs are trained again.
RAW, RERUN = config.pop("published", None), config.pop("rerun", None)
RELEASES = ["r3dm_release", "acorm_release"]  # claims are tested on the first one


def stop(mistake):
    """Ends the workflow with one line, where an exception would become Snakemake's traceback."""
    print(f"error: {mistake}", file=sys.stderr)
    sys.exit(2)


def no_raw_files(releases):
    """Ends the workflow: the raw files of releases are not there."""
    stop(
        f"published results need their raw files: {RAW or 'nowhere'} holds no folder"
        f" {' or '.join(releases)}; --config published=FOLDER names the folder that holds"
        f" {' and '.join(RELEASES)}"
    )


if RAW and not any(Path(str(RAW), release).is_dir() for release in RELEASES):
    no_raw_files(RELEASES)

try:
    from benchmark import files, strict_yaml
    from benchmark.analysis import ablations, figures, made_from, statistics, tables
    from benchmark.commands.train import check_environment
    from benchmark.training import lock, run_state, study_folder
    from benchmark.training.config import hash_of, run_path
    from benchmark.training.monitor import Monitor
    from benchmark.training.study import parse_study
    from benchmark.published import claims, compare, facts, sources

    here = next(path for path in (Path(".snakemake"), Path()) if path.exists())
    if not os.access(here, os.W_OK):
        raise BenchmarkError(
            f"{here.absolute()} is read-only; call Snakemake in a folder of your own, with"
            f" --snakefile {workflow.main_snakefile} --configfile STUDY.yaml --cores 8 all"
        )
    if RERUN not in (None, "stale"):
        raise BenchmarkError(f"--config rerun={RERUN}: only rerun=stale is known")
    for path in workflow.configfiles:  # Snakemake itself lets a key stand twice in a file
        strict_yaml.load(path)
    STUDY = parse_study(config, " ".join(map(str, workflow.configfiles)))
    study_folder.check_name(STUDY.name)
    RESULTS = f"results/{STUDY.name}"
    RUNS = {f"results/{run.path.as_posix()}": run for run in STUDY.runs()}
    # Runs that are not as they are now wanted, as `python -m benchmark status` sees them. Those with
    # another configuration are always repeated, those by other code with --config rerun=stale.
    NOT_AS_WANTED = {"changed": {}, "stale": {}, "missing": {}}  # each run's note by its folder
    if workflow.is_main_process:  # not in the jobs of a cluster
        check_environment(here=not workflow.deployment_settings.deployment_method)
        for run in run_state.read([run.resolved() for run in RUNS.values()], Path(RESULTS)):
            if run.state in NOT_AS_WANTED:
                NOT_AS_WANTED[run.state][run.folder] = run.note
except BenchmarkError as error:
    stop(error)

RUN = f"{RESULTS}/runs/{{backend}}/{{map}}/{{algorithm}}/{{variant}}/{{seed}}"
# A study that came as its aggregated table is not trained again.
WITHOUT_RUNS = run_state.without_runs(Path(RESULTS))
CHANGED = {} if WITHOUT_RUNS else NOT_AS_WANTED["changed"]
STALE = {} if RERUN and not WITHOUT_RUNS else NOT_AS_WANTED["stale"]  # and not repeated
REPEATED = [*CHANGED, *(NOT_AS_WANTED["stale"].keys() - STALE)]
if WITHOUT_RUNS and NOT_AS_WANTED["changed"] | NOT_AS_WANTED["missing"]:
    print(
        f"{STUDY.name} came as its table, {RESULTS}/evaluations.parquet: {len(NOT_AS_WANTED['missing'])} of its runs are"
        f" missing there, {len(NOT_AS_WANTED['changed'])} are of another configuration. Nothing is trained; move the"
        " table away to train the study.",
        file=sys.stderr,
    )
if CHANGED:
    folder, note = next(iter(CHANGED.items()))
    print(
        f"{len(CHANGED)} run(s) have other options than the study now says: {folder} was {note}."
        " What they were is lost then: to keep it, give the study another name.",
        file=sys.stderr,
    )
if STALE:
    print(
        f"{len(STALE)} run(s) are stale: code that decides their numbers has changed since."
        f" `python -m benchmark status {STUDY.name}` names them"
        + ("." if WITHOUT_RUNS else ", --config rerun=stale repeats them."),
        file=sys.stderr,
    )
STATISTICS = [f"{RESULTS}/statistics/{name}" for name in statistics.outputs()]
TABLES = [f"{RESULTS}/tables/{name}" for name in tables.outputs(STUDY.maps)]
FIGURES = [f"{RESULTS}/figures/{name}" for name in figures.outputs(STUDY.maps)]
# Jobs read the study in its folder (study.json). Of its text they get a hash, as a parameter, so that
# they run when it changes; the grid alone decides what the table of evaluations should hold.
WHOLE = hash_of(STUDY.model_dump(mode="json"))
GRID = hash_of(STUDY.model_dump(mode="json", exclude={"ablations", "roles", "statistics"}))
ABLATIONS = [
    *(f"{RESULTS}/figures/{name}" for name in ablations.figure_files(STUDY.ablations)),
    *(f"{RESULTS}/tables/{name}" for name in ablations.table_files(STUDY.ablations)),
]
COMPARED = [f"{RESULTS}/published/{name}" for name in (*compare.NAMES, made_from.NAME)]
IMPORTED = [f"results/imported/{release}/findings.csv" for release in RELEASES]
FACTS_HASH = facts.content_hash()
ROLE_RUNS = [f"results/{run.path.as_posix()}" for run in STUDY.role_runs()]
ROLES = [
    f"{RESULTS}/roles/roles_{STUDY.roles.map}.{suffix}"
    for suffix in (*figures.FORMATS, *tables.FORMATS)
    if ROLE_RUNS
]


report: "../report/workflow.rst"


# A job's command takes the place of its shell. A shell would die of SIGTERM at once, and its job be
# over before the run has saved a checkpoint.
shell.prefix("set -euo pipefail; exec env ")

if "SLURM_JOB_ID" in os.environ and "slurm-jobstep" not in sys.argv:
    # Where Slurm tracks processes by control groups, only its task gets SIGTERM: Snakemake, which waits
    # for its jobs and tells them nothing (its issue 3241). They are told here, and save. Around it is
    # another Snakemake, of executor slurm-jobstep; it must not tell srun, which would kill the task.
    import psutil
    from snakemake.scheduling.job_scheduler import JobScheduler

    def told(scheduler, *received, note=JobScheduler.exit_gracefully):
        note(scheduler, *received)
        for job in psutil.Process().children():
            with suppress(psutil.Error):  # it ends by itself
                job.terminate()

    JobScheduler.exit_gracefully = told


onstart:
    # Two workflows on one folder would take each other's files for broken ones. Unlike Snakemake's
    # own lock, which profiles/default switches off, this one does not outlive a killed workflow.
    global MONITOR
    try:
        lock.hold(Path(RESULTS))
        study_folder.save(STUDY, Path(RESULTS))
    except BenchmarkError as error:
        stop(error)
    MONITOR = Monitor([run.resolved() for run in RUNS.values()], Path(RESULTS), logger)


onerror:
    MONITOR.end()


wildcard_constraints:
    backend=STUDY.backend,
    map="|".join(STUDY.maps),
    algorithm="|".join({run.algorithm: None for run in RUNS.values()}),
    variant="|".join({run.variant: None for run in RUNS.values()}),
    seed=r"\d+",


def no_files(wildcards):
    """Has a finished run repeated that is not as it is now wanted; a run needs no input files."""
    folder = RUN.format(**wildcards)
    if folder not in RUNS:
        stop(f"{folder} is not a run of the study {STUDY.name}")
    if folder in REPEATED:
        workflow.dag.forcefiles.add(f"{folder}/run.json")
    return []


def raw_files(wildcards):
    """The folder with the raw files of a release."""
    if not RAW or not Path(str(RAW), wildcards.release).is_dir():
        no_raw_files([wildcards.release])
    return f"{RAW}/{wildcards.release}"


def is_of_other_runs(table):
    """Whether an aggregated table is of more or fewer runs than the study's. Snakemake itself does
    not see it where ``benchmark aggregate`` made the table, or where .snakemake was not copied."""
    if not table.exists():
        return False
    try:
        records = files.read_sealed(table, ["runs"])["runs"]
    except BenchmarkError:
        return True
    return {f"{RESULTS}/{run_path(record).as_posix()}" for record in records} != set(RUNS)


def run_records(wildcards):
    """The records of all runs; has them aggregated again where the table is of others."""
    if WITHOUT_RUNS:
        stop(f"{RESULTS} came as its table, without runs; move the table away to train the study")
    if is_of_other_runs(Path(RESULTS, "runs.json")):
        workflow.dag.forcefiles.add(f"{RESULTS}/runs.json")
    return [f"{folder}/{name}" for folder in RUNS for name in ("evaluations.parquet", "run.json")]


def role_files(wildcards):
    """The figure of roles; it needs the policies of its runs."""
    return [] if WITHOUT_RUNS and not all(map(os.path.exists, ROLES)) else ROLES


def whole_study(wildcards):
    """All that a study ends with.

    The report also needs the provenance that comes with the aggregated table.
    """
    results = [*TABLES, *FIGURES, *ABLATIONS, *role_files(wildcards)]
    if WITHOUT_RUNS:
        return results + [f"{RESULTS}/report.html"] * Path(RESULTS, "runs.json").exists()
    # Named although the tables are made from it: Snakemake deletes it when aggregating fails, and
    # would call what was made from an older one up to date.
    table = [f"{RESULTS}/evaluations.parquet", f"{RESULTS}/runs.json"]
    return [*table, *results, f"{RESULTS}/report.html", *run_records(wildcards)]


def marked(path, category):
    """An output file that ``snakemake --report`` shows, with the caption of its kind if it has one."""
    name = Path(path).stem
    caption = f"../report/{name.split('_')[0]}.rst"
    if not Path(workflow.basedir, "workflow", "rules", caption).exists():
        caption = None
    return report(path, category=category, caption=caption, labels={"name": name.replace("_", " ")})
