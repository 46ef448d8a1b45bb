"""A lock on a folder that goes with its process, however that ends; nothing is ever stale."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import BenchmarkError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds ``folder``, which is made if needed, for this process.

    Raises:
        BenchmarkError: another process holds it, or it cannot be written.
    """
    handle = acquire(folder)
    try:
        yield
    finally:
        os.close(handle)


def acquire(folder: Path) -> int:
    """Like ``exclusive``, until the returned file descriptor is closed or the process ends."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle = os.open(Path(folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BenchmarkError(
            f"cannot write to {folder}: {error.strerror}; choose another folder, or make this one"
            " writable"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BenchmarkError(
            f"{folder} is in use by another process; wait for it or stop it"
        ) from None
    return handle
