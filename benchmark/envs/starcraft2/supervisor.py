"""Runs a command so that no process and no temporary file of it outlives its owner.

    python supervisor.py FOLDER FD COMMAND...

The owner holds the other end of this process's standard input. When the command ends, or the owner
closes its end or dies, the supervisor kills the command with everything that it started, removes
FOLDER, and ends. FD is a descriptor that the command inherits.

A script of its own that needs the standard library alone, so that it takes little memory: there is
one supervisor per battle of StarCraft II.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

_PR_SET_CHILD_SUBREAPER = 36  #: of Linux's prctl(2)


def main() -> None:
    """Runs the command; returns when it and everything below it has ended."""
    folder, descriptor, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    adopt_orphans()
    awake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], process_group=0
    )
    os.close(descriptor)  # the owner must see it close when the command ends
    while process.poll() is None:
        ready, _, _ = select.select([sys.stdin, awake], [], [])
        if sys.stdin in ready or signal.SIGTERM in os.read(awake, 64):
            break
    end(process)
    shutil.rmtree(folder, ignore_errors=True)


def adopt_orphans() -> None:
    """Makes processes below us that lose their parent our children, on Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(process: subprocess.Popen) -> None:
    """Kills the command's process group and every other process below us, and waits for them."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children() -> list[int]:
    """Our own children; those who lost their parent are among them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    main()
