"""profiles/gpu: runs of one study on several cards. The cards are only names here."""

import os
import subprocess
import sys
from collections import Counter

import yaml

from tests.workflow.test_workflow import PROFILES, ROOT, write_study

#: Takes a share as ``python -m benchmark train`` does, then trains nothing for a while.
STAND_IN = """
import os, pathlib, sys, time
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("card", {card!r})
card = module_from_spec(spec)
spec.loader.exec_module(card)
card.take_share(int(os.environ["BENCHMARK_GPU_PERCENT"]))
taken = os.environ["CUDA_VISIBLE_DEVICES"]
with open("cards", "a") as file:
    file.write("+" + taken + "\\n")
time.sleep(1)
folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
with open("cards", "a") as file:
    file.write("-" + taken + "\\n")
(folder / "evaluations.parquet").touch()
(folder / "run.json").touch()
"""


def test_runs_are_spread_over_the_cards(tmp_path):
    """Six runs that take half a card each, three at a time by the profile: one on each card."""
    cards = ["0", "GPU-1", "MIG-2"]
    write_study(tmp_path, seeds=list(range(6)), maps=["3m"])
    profile = yaml.safe_load((PROFILES / "gpu" / "profile.yaml").read_text())
    profile |= {"cores": 6, "resources": {"gpu_percent": 150, "mem_mb": 600}}
    profile["set-resources"]["train"] = {"gpu_percent": 50, "mem_mb": 100}
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "profile.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__init__.py").touch()
    card = str(ROOT / "benchmark" / "training" / "card.py")
    (tmp_path / "benchmark" / "__main__.py").write_text(STAND_IN.format(card=card))
    command = [
        "-m",
        "snakemake",
        "runs",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        tmp_path,
    ]
    command += ["--profile", tmp_path / "profile", "--configfile", tmp_path / "study.yaml"]
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(cards), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,  # where profiles/default is
        env=os.environ | environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    running, most = Counter(), Counter()
    for line in (tmp_path / "cards").read_text().split():
        running[line[1:]] += 1 if line[0] == "+" else -1
        most |= running
    assert most == dict.fromkeys(cards, 1)
