"""Compiled recurrences, one file each."""

import os
import shutil
import sysconfig
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


@cache
def serve(device: torch.device) -> bool:
    """Whether the Triton kernels run on a device; on CUDA without them a warning says why.

    The meta device stands for a GPU on which they run.
    """
    if device.type != "cuda":
        return device.type == "meta"
    if lacking := _lacking(device):
        warnings.warn(f"R3DM and CDS are slow on this GPU without {lacking}", stacklevel=2)
    return not lacking


def _lacking(device: torch.device) -> str:
    """What the kernels need and is not there."""
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "compute capability 8.0"
    try:
        release = tuple(map(int, version("triton").split(".")[:2]))
    except PackageNotFoundError:
        release = (0, 0)
    if release < (3, 6):
        return "triton 3.6 or newer"
    # Triton compiles C code that launches the kernels.
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler"
    headers = sysconfig.get_path("include", "posix_prefix")  # where Triton looks
    return "" if Path(headers, "Python.h").exists() else f"Python's C headers in {headers}"
