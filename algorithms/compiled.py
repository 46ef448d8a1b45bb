"""What the recurrences that are compiled for the CPU (gru.py, posterior_scan.py) share.

The non-linearities are written so that the compiler can vectorise the loops that they stand in.
Numba's cache notices changes of those loops' files only: whoever changes this one deletes
``algorithms/__pycache__``.
"""

import math

import numpy as np
from numba import njit

#: Fused multiply-adds and unsigned zeros are fine; reordering would spoil ``expm1``.
compiled = njit(error_model="numpy", fastmath={"contract", "nsz"}, nogil=True, cache=True)
inlined = njit(error_model="numpy", fastmath={"contract", "nsz"}, inline="always")

_PER_LN2 = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(355 / 512)  # few bits, so that its multiples are exact
_LN2_LOW = np.float32(math.log(2) - 355 / 512)
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_HALF, _ONE, _TWO, _LIMIT = np.float32(0.5), np.float32(1), np.float32(2), np.float32(87)


def steps_of(rows: int, sizes: list[int]) -> list[tuple[slice, slice, slice]]:
    """For every step its cells, and in the memory (``rows`` longer) where it reads and writes."""
    steps, start, read = [], 0, 0
    for count in sizes:
        write = start + rows
        steps.append(
            (slice(start, start + count), slice(read, read + count), slice(write, write + count))
        )
        start, read = start + count, write
    return steps


@inlined
def expm1(x):
    """exp(x) - 1 to float32's accuracy, in steps that the compiler can vectorise.

    x = k ln 2 + rest with |rest| <= ln 2 / 2; the rest by its Taylor series.
    """
    x = min(max(x, -_LIMIT), _LIMIT)
    k = np.floor(x * _PER_LN2 + _HALF)
    rest = x - k * _LN2_HIGH - k * _LN2_LOW
    series = _C2 + rest * (_C3 + rest * (_C4 + rest * (_C5 + rest * (_C6 + rest * _C7))))
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2**k
    return power * (rest + rest * rest * series) + (power - _ONE)


@inlined
def sigmoid(x):
    return _ONE / (_TWO + expm1(-x))


@inlined
def tanh(x):
    e = expm1(-_TWO * x)
    return -e / (_TWO + e)
