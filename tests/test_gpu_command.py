"""``make gpu`` tried without a GPU, at small sizes."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from benchmark import files
from benchmark.training import measure

SCRIPT = files.ROOT / "speed" / "gpu.py"


QUICK = ["plain", "shared 4 mps", "study"]
TRAINING = ["update", "profile", "training 3s5z_vs_3s6z", "shared 4"]


@pytest.mark.parametrize("parts", [QUICK, pytest.param(TRAINING, marks=pytest.mark.slow)])
def test_results_are_written_after_every_part(tmp_path, parts):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--device=cpu", "--small", f"--out={tmp_path}", "--parts", *parts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {name: part["ok"] for name, part in found["parts"].items()} == {
        name: "mps" not in name for name in parts
    }, done.stdout
    text = (tmp_path / "gpu.md").read_text()
    if parts == QUICK:
        assert "there is no MPS here" in text
        assert len(found["parts"]["study"]["results"]) == 7 * 12
    else:
        assert "| r3dm 3s5z_vs_3s6z |" in text
        assert text.count("| cds: ") == 8
        assert text.count("| r3dm 3s5z_vs_3s6z, one of shared 4 |") == 4


@pytest.fixture
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_method_that_fails_leaves_the_others(gpu, monkeypatch):
    def measured(run, seconds):
        if run.algorithm == "qmix":
            raise RuntimeError("hx is not contiguous")

    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setattr(gpu, "_rates", lambda run, measured: {})
    rows = gpu.training(True, "3m")
    assert next(rows)["algorithm"] == "r3dm"
    with pytest.raises(SystemExit, match=r"qmix failed:\nTraceback(.|\n)*hx is not contiguous"):
        next(rows)


def test_a_part_that_fails_keeps_what_it_had_and_ends_in_time(gpu):
    code = "import time\nprint('RESULT', '{\"a\": 1}', flush=True)\n"
    for more, ended in (("raise SystemExit(3)", "status 3"), ("time.sleep(60)", "after 2 s")):
        outcome = gpu.run_part("x", [sys.executable, "-c", code + more], 2, dict(os.environ))
        assert not outcome["ok"]
        assert outcome["ended"].endswith(ended)
        assert outcome["results"] == [{"a": 1}]
        assert outcome["seconds"] < 10


def test_the_projection_counts_budgets_and_batches(gpu):
    times = {"collecting": 1.0, "evaluating": 2.0, "learning": 3.0}
    run = {"map": "5m", "algorithm": "qmix", "budget": 10, "batch_size": 32} | times
    row = {"algorithm": "qmix", "seeds": 5}
    grid = [
        row | {"map": "5m", "agents": 5, "budget": 10, "batch_size": 32},
        row | {"map": "9m", "agents": 9, "budget": 20, "batch_size": 64},
    ]
    parts = {"training 5m": {"results": [run]}, "study": {"results": grid}}
    days, runs, maps = gpu.gpu_days(parts)
    assert days * 86400 == 5 * 6 + 5 * 2 * (1 + 2 + 2 * 3)
    assert (runs, maps) == (10, ["5m"])
