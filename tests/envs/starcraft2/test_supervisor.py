"""Nothing outlives its owner: processes that a supervisor runs, in every way an owner can go."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmark.envs.starcraft2 import supervisor

SUPERVISOR = Path(supervisor.__file__)
#: Starts a child in a session of its own, as a game might, tells both pids, and stays.
COMMAND = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(float(sys.argv[2]))
"""


def start(tmp_path, seconds=600.0, **options):
    """A supervised command that runs for so long, its folder, and its two processes."""
    folder, pids = tmp_path / "folder", tmp_path / "pids"
    folder.mkdir()
    (folder / "left").write_text("behind")
    reader, writer = os.pipe()
    command = [sys.executable, "-c", COMMAND, str(pids), str(seconds)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR), str(folder), str(writer), *command],
        stdin=subprocess.PIPE,
        pass_fds=[writer],
        start_new_session=True,
        **options,
    )
    os.close(writer)
    wait_for(lambda: pids.exists() and pids.read_text().count(" "))
    return process, folder, [int(pid) for pid in pids.read_text().split()], reader


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def gone(pids):
    return not any(map(lives, pids))


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("way", ["closes", "terminates"])
def test_the_owner_ends_it(tmp_path, way):
    process, folder, pids, reader = start(tmp_path)
    if way == "closes":
        process.stdin.close()
    else:
        process.terminate()
    process.wait(10)
    assert gone(pids)
    assert not folder.exists()
    os.close(reader)


def test_the_command_ends(tmp_path):
    process, folder, pids, reader = start(tmp_path, seconds=0.2)
    assert os.read(reader, 1) == b""  # the owner sees the command's end of the pipe close
    process.wait(10)
    assert gone(pids)
    assert not folder.exists()
    process.stdin.close()
    os.close(reader)


def test_a_supervisors_other_children_do_not_end_it(tmp_path):
    """An orphan that the supervisor adopted may die without taking the battle along."""
    process, _, (_, child), reader = start(tmp_path)
    os.kill(child, signal.SIGKILL)
    time.sleep(0.3)
    assert process.poll() is None
    process.stdin.close()
    process.wait(10)
    os.close(reader)
