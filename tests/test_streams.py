"""Standard streams that are closed, full or without a reader: no traceback, no run that ends."""

import os
import subprocess
import sys

import pytest

from benchmark import files
from tests.training.small import STUDY

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")

BENCHMARK = f"{sys.executable} -m benchmark"
RUN = "train --map 3m --algorithm qmix --output run --device cpu" + "".join(
    f" --set {key}={value}"
    for key, value in {
        **{"budget": 400, "evaluation_interval": 200, "evaluation_episodes": 2},
        **{"absolute_episodes": 2, "n_envs": 2, "batch_size": 2},
    }.items()
)


@pytest.fixture
def shell(tmp_path):
    """Runs a line of bash in a folder with a study; returns its exit code and stderr.

    ``{unread}`` stands for the number of a pipe that nobody reads.
    """
    files.write_json(STUDY, tmp_path / "study.yaml")  # JSON is YAML

    read, write = os.pipe()
    os.close(read)

    def run(line: str) -> tuple[int, str]:
        path = {"PYTHONPATH": os.pathsep.join([str(files.ROOT), *sys.path])}
        done = subprocess.run(
            ["bash", "-c", line.format(unread=write)],
            **{"cwd": tmp_path, "env": os.environ | path, "pass_fds": [write]},
            **{"capture_output": True, "text": True},
        )
        return done.returncode, done.stderr

    yield run
    os.close(write)


def test_a_run_needs_no_streams(shell, tmp_path):
    code, _ = shell(f"{BENCHMARK} {RUN} >/dev/full 2>&{{unread}} <&-")
    assert code == 0
    assert files.read_sealed(tmp_path / "run" / "run.json")["env_steps"] >= 400
    # Nothing that would have been printed is in a file that got a closed stream's number.
    code, _ = shell(f"{BENCHMARK} {RUN} >&- 2>&- <&-")
    assert code == 0
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert all(line[:2] == "20" for line in log.splitlines())


@pytest.mark.parametrize("command", ["status study.yaml", "--help"])
def test_a_result_that_cannot_be_written(shell, command):
    code, error = shell(f"{BENCHMARK} {command} > /dev/full")
    assert code == 2
    assert error == "error: cannot write the output: No space left on device\n"
    code, error = shell(f"{BENCHMARK} {command} >&{{unread}}")
    assert (code, error) == (141, "")


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_a_mistake_that_cannot_be_reported(shell, stream):
    assert shell(f"{BENCHMARK} status nothing {stream}")[0] == 2
    assert shell(f"{BENCHMARK} sttus {stream}")[0] == 2
