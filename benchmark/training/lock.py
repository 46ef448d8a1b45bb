"""A lock on a folder that goes with its process, however that ends; nothing is ever stale."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import BenchmarkError

log = logging.getLogger("benchmark")


@contextmanager
def exclusive(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds ``folder``, which is made if needed, for this process.

    Args:
        folder: to be held.
        wait: until another process that holds it is through, instead of raising an error.

    Raises:
        BenchmarkError: another process holds it, or it cannot be written or locked.
    """
    handle = acquire(folder, wait)
    try:
        yield
    finally:
        os.close(handle)


def acquire(folder: Path, wait: bool = False) -> int:
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
        if wait:
            log.warning("%s is in use by another process; waiting for it", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
            return handle
        os.close(handle)
        raise BenchmarkError(
            f"{folder} is in use by another process; wait for it or stop it"
        ) from None
    except OSError as error:
        os.close(handle)
        raise BenchmarkError(
            f"cannot lock {folder}: {error.strerror}; its file system knows no locks (mount it with"
            " them, or choose a folder on another one)"
        ) from error
    return handle
