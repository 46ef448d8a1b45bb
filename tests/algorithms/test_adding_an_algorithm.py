"""docs/adding_an_algorithm.md is true: its method, kept outside, goes through the workflow."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from algorithms import PLUGINS, plugins
from benchmark.errors import BenchmarkError
from benchmark.training.config import resolve_run
from benchmark.training.provenance import source_hash
from tests.training import small

ROOT = Path(__file__).parent.parent.parent
STUDY = small.STUDY | {
    "name": "mine",
    "seeds": [0],
    "maps": ["3m"],
    "algorithms": ["outside"],
    "set": {
        "budget": 600,
        "n_envs": 4,
        "batch_size": 4,
        "evaluation_interval": 300,
        "evaluation_episodes": 4,
        "absolute_episodes": 4,
        "hidden_size": 16,
    },
    "statistics": {"replications": 100},
}


@pytest.fixture
def vdn(tmp_path) -> Path:
    """The method of the page, in a file of its own."""
    page = (ROOT / "docs" / "adding_an_algorithm.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # Not vdn.py: a reader who follows the page has one in the repository.
    path = tmp_path / "elsewhere" / "outside.py"
    path.parent.mkdir()
    path.write_text(code)
    return path


def run(folder: Path, methods: object, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=os.environ
        | {"R3DM_METHODS": str(methods), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_workflow_takes_a_method_from_outside(vdn, tmp_path, monkeypatch):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    done = run(
        tmp_path,
        vdn,
        *("snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"),
        *("--configfile", "study.yaml", "--quiet", "all", "--", "results/mine/runs.json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results" / "mine"
    evaluations = pd.read_parquet(results / "evaluations.parquet")
    assert set(evaluations["algorithm"]) == {"outside"}
    (record,) = json.loads((results / "runs.json").read_text())["runs"]
    assert record["updates"] > 0
    assert record["config"]["hyperparameters"]["learning_rate"] == 0.001
    # Its source is kept with the run, and counts: a run of changed code is known to be stale.
    kept = results / "runs/simulator/3m/outside/default/0/outside.py"
    assert kept.read_text() == vdn.read_text()
    monkeypatch.setitem(PLUGINS, "outside", vdn)
    assert record["source_hash"] == source_hash("outside", "simulator")
    vdn.write_text(vdn.read_text() + "\nCHANGED = 1\n")
    assert record["source_hash"] != source_hash("outside", "simulator")


def test_plan_measures_a_method_from_outside(vdn, tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    done = run(tmp_path, vdn, *("benchmark", "plan", "study.yaml", "--at-a-time", "1"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "outside" in done.stdout


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "two.py",
            "from algorithms.qmix import QMIX\nclass A(QMIX): ...\nclass B(QMIX): ...",
            "not 2",
        ),
        ("none.py", "from algorithms.qmix import QMIX", "exactly one subclass of Learner, not 0"),
        ("My-Method.py", "", "use lower-case letters"),
        ("qmix.py", "", "there is a method 'qmix' already"),
        ("half.py", "class A(", r"half.py cannot be loaded \(SyntaxError: "),
    ],
)
def test_mistakes_are_one_line(tmp_path, name, code, message):
    (tmp_path / name).write_text(f"from algorithms.qmix import QMIX\n{code}")
    with pytest.raises(BenchmarkError, match=message):
        list(map(plugins.load, plugins.files(str(tmp_path / name), taken={"qmix"}).values()))
    if name == "two.py":
        missing = run(tmp_path, tmp_path / "missing.py", "benchmark", "train", "--map", "3m")
        assert missing.returncode == 2
        assert missing.stderr.splitlines() == [
            f"error: R3DM_METHODS: there is no file {tmp_path / 'missing.py'}"
        ]


@pytest.mark.parametrize("name", ["batch_size", "max_reward", "seed"])
def test_a_hyper_parameter_never_hides_a_rule_or_an_option(tmp_path, name, monkeypatch):
    method = tmp_path / "greedy.py"
    method.write_text(
        "from algorithms.qmix import QMIX\n\n\n"
        f"class Greedy(QMIX):\n    class Config(QMIX.Config):\n        {name}: int = 7\n"
    )
    monkeypatch.setitem(PLUGINS, "greedy", method)
    with pytest.raises(BenchmarkError, match=f"greedy: {name!r} is a rule or an env option alr"):
        resolve_run(map="3m", algorithm="greedy", seed=0, overrides=[{"budget": 9}])
