"""Sharing the battles of a batch among threads.

Compiled code runs without Python's interpreter lock, so plain threads do. They sleep while there is
nothing to do, where the OpenMP threads behind numba's ``parallel=True`` spin: on a machine that is
busy with other runs these took three times the processor time. Any thread that is awake takes the
next chunk, so that no thread waits for one that has not started.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numba


def n_threads() -> int:
    """How many threads work on a batch: numba's setting (``NUMBA_NUM_THREADS``, else all cores)."""
    return numba.config.NUMBA_NUM_THREADS


@lru_cache(maxsize=1)
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="battles")


def share_out(work: Callable[[int, int], None], total: int, chunk: int) -> None:
    """Calls ``work(first, last)`` for consecutive ranges until all of ``range(total)`` is done.

    Args:
        work: compiled code that releases the interpreter lock; the ranges are independent.
        total: length of the whole range.
        chunk: length of one range. The threads take part only if there are several.
    """
    starts = iter(range(0, total, chunk))

    def take_chunks():
        for first in starts:
            work(first, min(first + chunk, total))

    helpers = []
    if total > chunk and n_threads() > 1:
        pool = _helpers(n_threads() - 1)
        helpers = [pool.submit(take_chunks) for _ in range(n_threads() - 1)]
    take_chunks()
    for helper in helpers:
        if not helper.cancel():
            helper.result()
