"""The workflow on a real Slurm: this machine as a cluster of one node with two fake GPUs.

Run by ``make test-slurm`` as root with Debian's packages slurm-wlm and munge; skipped with a reason
elsewhere. Takes minutes, because every Slurm job starts Snakemake twice.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from benchmark import files
from benchmark.training.evaluations import read_evaluations
from tests.training import small

ROOT = Path(__file__).parent.parent.parent
CLUSTER = ROOT / "tests" / "workflow" / "one_node_slurm.sh"
PROFILE = ROOT / "profiles" / "slurm-no-accounting" / "profile.yaml"
STUDY = small.STUDY | {
    "name": "tiny",
    "maps": ["3m"],
    "statistics": {"replications": 200},
    "set": {
        "budget": 400,
        "n_envs": 4,
        "batch_size": 4,
        "replay_episodes": 64,
        "hidden_size": 16,
        "epsilon_steps": 400,
        "evaluation_interval": 200,
        "evaluation_episodes": 4,
        "absolute_episodes": 4,
    },
}
pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory) -> Iterator[None]:
    """Starts the cluster, and stops it whatever happens."""
    for program in ("slurmctld", "slurmd", "munged", "sbatch"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("only root can start a Slurm cluster")
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -e '.[slurm]'")
    folder = tmp_path_factory.mktemp("cluster")
    begun = subprocess.run([CLUSTER, "up", folder], capture_output=True, text=True)
    if begun.returncode == 3:
        pytest.skip(begun.stderr.strip())
    try:
        assert begun.returncode == 0, begun.stderr
        yield
    finally:
        subprocess.run([CLUSTER, "down", folder], check=True)
    assert not Path("/etc/slurm/slurm.conf").exists()


@pytest.fixture
def workflow(tmp_path) -> Iterator[Callable]:
    """Starts Snakemake on a study with the shipped profile, some of its numbers made small."""
    started = []

    def start(target: str, study: dict, train: dict, **profile) -> subprocess.Popen:
        settings = yaml.safe_load(PROFILE.read_text())
        settings |= {"latency-wait": 5, "slurm-init-seconds-before-status-checks": 2} | profile
        settings["set-resources"]["train"] |= {"mem_mb": 500, "runtime": 15} | train
        (tmp_path / "profile").mkdir()
        (tmp_path / "profile" / "profile.yaml").write_text(yaml.safe_dump(settings))
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | study))
        command = [sys.executable, "-m", "snakemake", target, "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", tmp_path, "--configfile", tmp_path / "study.yaml"]
        command += ["--profile", tmp_path / "profile"]
        with (tmp_path / "out").open("w") as out:
            environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            environment |= {"BENCHMARK_DEVICE": "cpu"}  # the GPUs that a job gets are none
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=out, stderr=out, env=environment
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    subprocess.run(["scancel", "--user=root"], check=True)
    for process in psutil.process_iter(["cwd"]):  # this Slurm has no control groups to find them by
        if process.info["cwd"] == str(tmp_path):
            process.kill()


def succeed(process: subprocess.Popen, folder: Path, seconds: float = 600) -> None:
    assert process.wait(timeout=seconds) == 0, (folder / "out").read_text()[-4000:]


def run_folder(folder: Path, seed: int = 0, map: str = "3m", variant: str = "default") -> Path:
    return folder / "results/tiny/runs/simulator" / map / "qmix" / variant / str(seed)


def about(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def until(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 300):
    """Waits for ``condition``, as long as the workflow runs."""
    begin = time.monotonic()
    while not (found := condition()):
        assert process.poll() is None, f"the workflow has ended, see {process.args[-1]}/../out"
        assert time.monotonic() - begin < seconds, "it never happened"
        time.sleep(0.5)
    return found


def process_of(folder: Path) -> int | None:
    """The process of a run that is under way; None before its first evaluation is over."""
    if not (folder / "progress.json").exists():
        return None
    process = files.read_json(folder / "progress.json")["pid"]
    return process if Path("/proc", str(process)).exists() else None


def slurm_variables(process: int) -> dict[str, str]:
    """The variables that Slurm gave a process."""
    variables = Path("/proc", str(process), "environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in variables if line.startswith("SLURM_"))


def state_of(job: str) -> str:
    """Slurm's word for the state of a job."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def control(*arguments: str) -> None:
    subprocess.run(["scontrol", "update", *arguments], check=True)


def test_a_study_with_the_seeds_of_a_method_in_one_job(workflow, tmp_path):
    study = {"maps": ["3m", "terran_3_vs_3"]}
    cell = "seeds_of_{map}_{algorithm}_{variant}"
    groups = {"groups": [f"train={cell}"], "group-components": [f"{cell}=5"]}
    succeed(workflow("all", study, {}, **groups), tmp_path)
    assert (tmp_path / "results/tiny/report.html").exists()
    assert len(read_evaluations(tmp_path / "results/tiny/evaluations.parquet")) == 4 * 16
    jobs, gpus = {}, {}
    for map in study["maps"]:
        runs = [about(run_folder(tmp_path, seed, map)) for seed in (0, 1)]
        jobs[map] = {run["attempts"][0]["slurm_job"] for run in runs}
        gpus[map] = {run["hardware"]["visible_gpus"] for run in runs}
        assert len(jobs[map]) == len(gpus[map]) == 1
    assert jobs["3m"] != jobs["terran_3_vs_3"]
    assert gpus["3m"] | gpus["terran_3_vs_3"] == {"0", "1"}


def test_an_array_of_runs_that_share_gpus_and_a_cancelled_one(workflow, tmp_path):
    variants = [
        {"algorithm": "qmix", "name": name, "maps": ["3m"], "set": {"budget": budget}}
        for name, budget in (("short", 600), ("long", 12_000))
    ]
    array = {"slurm-array-jobs": "train", "jobs": 3}  # as many as runs: else the plugin drops some
    study = {"seeds": [0], "variants": variants}
    process = workflow("runs", study, {"gres": "shard:1"}, **array)
    long = run_folder(tmp_path, 0, variant="long")
    slurm = slurm_variables(until(lambda: process_of(long), process))
    time.sleep(3)  # into training
    task = f"{slurm['SLURM_ARRAY_JOB_ID']}_{slurm['SLURM_ARRAY_TASK_ID']}"
    subprocess.run(["scancel", task], check=True)
    succeed(process, tmp_path)
    attempts = about(long)["attempts"]
    assert len(attempts) == 2
    assert attempts[1]["from_step"] > 0
    assert attempts[1]["slurm_job"] != attempts[0]["slurm_job"]
    others = [about(run_folder(tmp_path, variant=name)) for name in ("default", "short")]
    assert all(len(other["attempts"]) == 1 for other in others)
    assert "Submitted array job" in (tmp_path / "out").read_text()
    gpus = [run["hardware"]["visible_gpus"] for run in (*others, about(long))]
    assert set(gpus) <= {"0", "1"}
    assert len(set(gpus)) < len(gpus), "of three runs two must have shared a GPU"


def test_a_broken_node_and_a_time_limit(workflow, tmp_path):
    variant = {"algorithm": "qmix", "name": "long", "maps": ["3m"], "set": {"budget": 20_000}}
    process = workflow("runs", {"seeds": [0], "variants": [variant]}, {})
    short, long = run_folder(tmp_path), run_folder(tmp_path, variant="long")
    first = until(lambda: process_of(long), process)
    job = slurm_variables(first)["SLURM_JOB_ID"]
    until((short / "run.json").exists, process)
    finished = (short / "run.json").read_bytes()
    node = f"nodename={os.uname().nodename.split('.')[0]}"
    control(node, "state=down", "reason=broken")
    until(lambda: process_of(long) is None, process)
    control(node, "state=resume")
    second = until(lambda: process_of(long), process)  # Slurm waits two minutes
    assert slurm_variables(second)["SLURM_JOB_ID"] == job, "Slurm repeats the job of a broken node"
    time.sleep(3)  # into training
    os.kill(second, signal.SIGSTOP)  # however fast this machine is, the run will not be in time
    control(f"jobid={job}", "timelimit=1")
    until(lambda: state_of(job) != "RUNNING", process)
    with suppress(ProcessLookupError):  # Slurm may have continued it to let it end
        os.kill(second, signal.SIGCONT)
    succeed(process, tmp_path)
    assert (short / "run.json").read_bytes() == finished
    attempts = about(long)["attempts"]
    assert [attempt["slurm_job"] == job for attempt in attempts] == [True, True, False]
    steps = [attempt["from_step"] for attempt in attempts]
    assert 0 == steps[0] < steps[1] < steps[2]
