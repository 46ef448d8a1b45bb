"""Standard streams that are closed, full, or that nobody reads.

What a command prints is its result: when it cannot be written, the command ends. What it reports on
stderr is not, nor is what a training run prints: that is dropped, and the run goes on.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from benchmark.files import reason


class _OutputLost(Exception):
    """Standard output cannot be written."""

    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.why = why


class _Stream(io.FileIO):
    """A standard stream whose errors are one exception of our own, or none."""

    def __init__(self, number: int, needed: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.needed = needed

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if not self.needed:
                return len(data)
            self.needed = False  # what is still in the buffer is dropped when the process ends
            raise _OutputLost(error) from error


def guarded(command: Callable[[], int]) -> int:
    """Runs a process's command with standard streams that never make it trace back.

    Returns:
        the command's exit code; 141 where the reader of its output has gone, as of a program that
        SIGPIPE ends; 2 where the disk is full, with one line.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would get all that is printed
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
    sys.stdout, sys.stderr = _text(1, sys.stdout), _text(2, sys.stderr)
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except _OutputLost as lost:
        if lost.why.errno == errno.EPIPE:
            return 141
        print(f"error: cannot write the output: {reason(lost.why)}", file=sys.stderr)
        return 2


def output_is_not_needed() -> None:
    """From here on, standard output that cannot be written is dropped."""
    stream = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(stream, _Stream):
        stream.needed = False


def _text(number: int, before: TextIO | None) -> TextIO:
    """Standard output (1) or error (2); characters that its encoding lacks are escaped."""
    raw = _Stream(number, needed=number == 1)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
        write_through=getattr(before, "write_through", False),
    )
