"""An error of the disk at every single call: one line, and the same files after going on.

Open, write, rename, unlink, fsync and all other calls on the folder of a command fail in turn; see
``disk_faults.py``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHORT = ("train", "go on", "status", "aggregate")
LONG = (*SHORT, "go on from the previous checkpoint", "restore", "replace", "import")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The library that makes calls fail."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (cc) for the library that makes calls fail")
    path = tmp_path_factory.mktemp("library") / "disk_faults.so"
    source = HERE / "disk_faults.c"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", path, source, "-ldl"]
    subprocess.run(command, check=True)
    return path


def found(library: Path, scenarios: tuple[str, ...], every: int) -> dict[str, dict]:
    """What ``disk_faults`` found, by scenario."""
    command = [sys.executable, "-m", "tests.training.disk_faults", *scenarios, f"--every={every}"]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    done = subprocess.run(
        command, env=environment, cwd=HERE.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_some_calls(library):
    for scenario, about in found(library, SHORT, every=13).items():
        assert not about["problems"], scenario
        assert about["tried"] > 4


@pytest.mark.slow
@pytest.mark.parametrize("scenario", LONG)
def test_every_call(library, scenario):
    about = found(library, (scenario,), every=1)[scenario]
    print(f"{about['calls']} calls, {about['tried']} faults, {about['stopped']} of them one line")
    assert not about["problems"]
    assert about["tried"] >= 5 * about["calls"]
