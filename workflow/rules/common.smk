"""The study, and where its files are. Every rule's work is done by the package ``benchmark``."""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)  # finds the package also where it is not installed

from benchmark.errors import BenchmarkError

# Jobs call the python that runs Snakemake, whether or not its environment is activated. With
# --sdm conda, conda puts its own before it.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))

RAW = config.pop("published", None)  # the folder with the raw files of published results

try:
    from benchmark.analysis import ablations, figures, statistics, tables
    from benchmark.training import lock
    from benchmark.training.config import load_yaml
    from benchmark.training.study import parse_study
    from benchmark.published import claims, compare, facts, sources

    for path in workflow.configfiles:  # Snakemake itself lets a key stand twice in a file
        load_yaml(path)
    STUDY = parse_study(config, " ".join(map(str, workflow.configfiles)))
except BenchmarkError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

RESULTS = f"results/{STUDY.name}"
RUN = f"{RESULTS}/runs/{{backend}}/{{map}}/{{algorithm}}/{{variant}}/{{seed}}"
RUNS = {f"results/{run.path.as_posix()}": run for run in STUDY.runs()}
STATISTICS = [f"{RESULTS}/statistics/{name}" for name in statistics.outputs()]
TABLES = [f"{RESULTS}/tables/{name}" for name in tables.outputs(STUDY.maps)]
FIGURES = [f"{RESULTS}/figures/{name}" for name in figures.outputs(STUDY.maps)]
# The study as jobs get it, whatever files and options it comes from; the grid alone decides what the
# table of evaluations should hold. Parameters with its text are functions: in a plain string Snakemake
# would take {x} for a wildcard.
WHOLE = STUDY.model_dump_json()
GRID = STUDY.model_dump_json(exclude={"ablations", "roles", "statistics"})
DECLARED = json.dumps([ablation.model_dump() for ablation in STUDY.ablations])
ABLATIONS = [
    *(f"{RESULTS}/figures/{name}" for name in ablations.figure_files(STUDY.ablations)),
    *(f"{RESULTS}/tables/{name}" for name in ablations.table_files(STUDY.ablations)),
]
COMPARED = [f"{RESULTS}/published/{name}" for name in compare.NAMES]
RELEASES = ["r3dm_release", "acorm_release"]  # claims are tested on the first one
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


onstart:
    # Two workflows on one folder would take each other's files for broken ones. Unlike Snakemake's
    # own lock, which profiles/default switches off, this one does not outlive a killed workflow.
    try:
        lock.hold(Path(RESULTS))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


wildcard_constraints:
    backend=STUDY.backend,
    map="|".join(STUDY.maps),
    algorithm="|".join({run.algorithm: None for run in RUNS.values()}),
    variant="|".join({run.variant: None for run in RUNS.values()}),
    seed=r"\d+",


def resolved_run(wildcards):
    """A run's whole configuration as JSON; Snakemake repeats exactly the runs whose text changes."""
    folder = RUN.format(**wildcards)
    if folder not in RUNS:
        raise WorkflowError(f"{folder} is not a run of the study {STUDY.name}")
    return json.dumps(RUNS[folder].resolved(), sort_keys=True)


def raw_files(wildcards):
    """The folder with the raw files of a release."""
    if RAW is None or not Path(RAW, wildcards.release).is_dir():
        raise WorkflowError(
            f"published results need their raw files: {RAW or 'nowhere'} holds no folder"
            f" {wildcards.release}; --config published=FOLDER names the folder that holds"
            f" {' and '.join(RELEASES)}"
        )
    return f"{RAW}/{wildcards.release}"


def run_records(wildcards):
    """The records of all runs."""
    return [f"{folder}/{name}" for folder in RUNS for name in ("evaluations.parquet", "run.json")]


def without_runs():
    """Whether the study came as its aggregated table; then it is not trained again."""
    return Path(RESULTS, "evaluations.parquet").exists() and not Path(RESULTS, "runs").exists()


def role_files(wildcards):
    """The figure of roles; it needs the policies of its runs."""
    return [] if without_runs() and not all(map(os.path.exists, ROLES)) else ROLES


def whole_study(wildcards):
    """All that a study ends with.

    The report also needs the provenance that comes with the aggregated table.
    """
    results = [*TABLES, *FIGURES, *ABLATIONS, *role_files(wildcards)]
    if without_runs():
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
