"""How the kernel's functions are compiled."""

from functools import partial

from numba import njit

#: Division by zero gives infinity as in NumPy instead of testing every divisor.
compiled = njit(error_model="numpy", _nrt=False)
entry_point = partial(njit, error_model="numpy", cache=True, nogil=True)
