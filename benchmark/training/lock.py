"""A lock on a folder that ends with its process, however that ends."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.errors import BenchmarkError

log = logging.getLogger("benchmark")

_held: list[FileLock] = []  #: a lock that nothing refers to would be released

#: What a file system without locks answers.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def exclusive(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds ``folder``, which is made if needed, for this process.

    Args:
        folder: to be held.
        wait: until another process that holds it ends, instead of raising an error.

    Raises:
        BenchmarkError: another process holds it, or it cannot be written or locked.
    """
    lock = _acquired(folder, wait)
    try:
        yield
    finally:
        with suppress(OSError):  # it ends with the process
            lock.release()


def hold(folder: Path) -> None:
    """Like ``exclusive``, until the process ends."""
    _held.append(_acquired(folder, wait=False))


def _acquired(folder: Path, wait: bool) -> FileLock:
    # The kernel's flock: it ends with the process, after kill -9 too. A file that is a lock by
    # existing would be left behind, so there is no falling back to one.
    lock = FileLock(Path(folder, ".lock"), fallback_to_soft=False, preserve_lock_file=True)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, ".lock").touch()  # with the rights that the umask leaves, for a shared folder
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            log.warning("%s is in use by another process; waiting for it", folder)
            lock.acquire(poll_interval=1)
    except Timeout:
        raise BenchmarkError(
            f"{folder} is in use by another process; wait for it or stop it"
        ) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise BenchmarkError(
                f"cannot lock {folder}: {error.strerror}; its file system has no locks (mount it"
                " with them, or choose a folder on another one)"
            ) from error
        raise BenchmarkError(
            f"cannot write to {folder}: {error.strerror}; choose another folder, or make this one"
            " writable"
        ) from error
    return lock
