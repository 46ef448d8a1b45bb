"""Compiled recurrences, one file each."""

import warnings
from functools import cache
from importlib.util import find_spec

import torch


@cache
def serve(device: torch.device) -> bool:
    """Whether the Triton kernels run on a device: CUDA from compute capability 8.0 on.

    The meta device stands for such a card.
    """
    if device.type not in ("cuda", "meta"):
        return False
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return False
    if find_spec("triton") is None:
        warnings.warn("R3DM and CDS are slow on a GPU without the package triton", stacklevel=2)
        return False
    return True
