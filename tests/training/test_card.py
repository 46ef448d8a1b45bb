"""Runs spread over the GPUs that there are. The cards are only names here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import files
from benchmark.training import card

LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-bbbb)
  MIG 3g.20gb     Device  1: (UUID: MIG-cccc)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-dddd)
"""
HOLD = """
import sys
from benchmark.training.card import take_share
take_share(int(sys.argv[1]))
import os
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that take a share and keep it; gives the card's name."""
    started = []

    def start(percent: int, cards: str = "0,1,2", **environment: str):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(percent)],
            env=os.environ
            | {
                "CUDA_VISIBLE_DEVICES": cards,
                "TMPDIR": str(tmp_path),
                "PYTHONPATH": str(files.ROOT),
            }
            | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_run_takes_the_card_with_the_fewest(holder):
    taken = [holder(50) for _ in range(5)]
    assert [name for _, name in taken] == ["0", "1", "2", "0", "1"]
    killed, name = taken[1]
    killed.kill()  # as kill -9: the kernel takes its lock back
    killed.wait()
    assert [holder(50)[1], holder(50)[1]] == [name, "2"]
    # Another job of Slurm may count its own cards from 0 too.
    assert holder(50, cards="0", SLURM_JOB_ID="7")[1] == "0"


def test_a_run_waits_while_all_shares_are_taken(tmp_path, monkeypatch, holder, caplog):
    first, _ = holder(100, cards="0")
    monkeypatch.setattr(card.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(card.time, "sleep", lambda _: (first.kill(), first.wait()))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    card.take_share(100)
    assert "all shares of the GPUs 0 are taken; waiting for one" in caplog.text
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    card._held.pop().release()


@pytest.mark.parametrize(
    ("granted", "cards"),
    [
        ("2,3", ["2", "3"]),
        ("MIG-1, GPU-2", ["MIG-1", "GPU-2"]),
        ("", []),
        ("-1", []),
        (None, ["MIG-bbbb", "MIG-cccc", "GPU-dddd"]),
    ],
)
def test_cards_are_those_granted_or_all_of_the_machine(tmp_path, monkeypatch, granted, cards):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if granted is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", granted)
    assert card.visible_cards() == cards


def test_train_takes_its_share_before_torch_looks(tmp_path: Path):
    command = ["train", "--map=3m", "--algorithm=qmix", f"--output={tmp_path / 'run'}"]
    environment = {"CUDA_VISIBLE_DEVICES": "7,8", "BENCHMARK_GPU_PERCENT": "50"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *command],
        cwd=files.ROOT,
        env=os.environ | environment | {"TMPDIR": str(tmp_path), "BENCHMARK_DEVICE": "auto"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "GPU 7 was granted, but torch" in done.stderr  # there is none
    assert list(tmp_path.glob("benchmark-gpus-*/7.0.lock"))
