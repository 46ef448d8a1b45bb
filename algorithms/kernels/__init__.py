"""Compiled recurrences, one file each."""

import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version

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
    try:
        release = tuple(map(int, version("triton").split(".")[:2]))
    except PackageNotFoundError:
        release = (0, 0)
    if release < (3, 6):
        warnings.warn("R3DM and CDS are slow on a GPU without triton 3.6 or newer", stacklevel=2)
        return False
    return True
