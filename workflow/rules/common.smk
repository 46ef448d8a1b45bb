"""The study, and where its files lie. Every rule's logic is in the package ``benchmark``."""

import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)  # also where the project is not installed

from benchmark import statistics
from benchmark.config import parse_study
from benchmark.errors import BenchmarkError

# With --sdm conda, jobs run the environment's python; otherwise the one that runs Snakemake, which
# need not be on the PATH.
PYTHON = "python" if workflow.deployment_settings.deployment_method else sys.executable

STUDY_FILE = " ".join(map(str, workflow.overwrite_configfiles)) or "config/paper.yaml"
try:
    STUDY = parse_study(config, STUDY_FILE)
    RUNS = {f"results/{run.path.as_posix()}": run for run in STUDY.runs()}
except BenchmarkError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{STUDY.name}"
RUN = "results/{study}/runs/{backend}/{map}/{algorithm}/{variant}/{seed}"


wildcard_constraints:
    study=STUDY.name,
    backend=STUDY.backend,
    map="|".join({run.map for run in RUNS.values()}),
    algorithm="|".join({run.algorithm for run in RUNS.values()}),
    variant="|".join({run.variant for run in RUNS.values()}),
    seed=r"\d+",


def resolved_run(wildcards):
    """The run's whole configuration as JSON: Snakemake repeats exactly the runs where it changes."""
    run = RUNS[RUN.format(**wildcards)]
    return json.dumps(run.resolved(), sort_keys=True)


def run_files(wildcards=None):
    """The records of all runs."""
    return [f"{folder}/{name}" for folder in RUNS for name in ("evaluations.parquet", "run.json")]


def everything(wildcards):
    """All that a study ends with.

    A study whose runs were not kept, only their aggregated table, is not trained again.
    """
    files = ["report.html"]
    outcome = [f"{RESULTS}/{name}" for name in files]
    if Path(RESULTS, "evaluations.parquet").exists() and not Path(RESULTS, "runs").exists():
        return outcome
    return outcome + run_files()
