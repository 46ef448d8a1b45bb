"""Where a run computes: CPU or GPU, and how the CPU's memory is reused."""

import ctypes
import os

from benchmark.errors import BenchmarkError

DEVICES = ("auto", "cpu", "cuda")

#: Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def device_asked_for() -> str:
    """The device that ``$BENCHMARK_DEVICE`` names, else "auto"."""
    return os.environ.get("BENCHMARK_DEVICE", "auto")


def check_device(name: str) -> None:
    """Checks a name.

    Raises:
        BenchmarkError: it is not one of ``DEVICES``.
    """
    if name not in DEVICES:
        raise BenchmarkError(f"unknown device {name!r}; choose {', '.join(DEVICES)}")


def choose_device(name: str) -> str:
    """The device of that name, one of ``DEVICES``: "cpu" or "cuda"; "auto" is CUDA if there is one.

    Raises:
        BenchmarkError: it is unknown or not there; or a GPU was granted that torch cannot use.
    """
    import torch

    check_device(name)
    usable = torch.cuda.is_available()
    granted = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES")
    if name == "auto" and granted not in (None, "", "-1") and not usable:
        raise BenchmarkError(
            f"GPU {granted} was granted, but torch {torch.__version__} cannot use it: install torch"
            " for the driver's version of CUDA, or train on the CPU with --device cpu or"
            " BENCHMARK_DEVICE=cpu"
        )
    if name == "cuda" and not usable:
        raise BenchmarkError("no CUDA device is visible; use --device cpu")
    if name == "auto":
        return "cuda" if usable else "cpu"
    return name


def keep_freed_memory() -> None:
    """Lets glibc keep large freed blocks, which otherwise return to the kernel after every tensor.

    Faulting them in again costs a quarter of an update on the CPU. Without effect elsewhere.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the CPU's or the GPU's memory is full."""
    import torch

    # torch on the CPU; CUDA and Triton, where a shared GPU is full; cuBLAS; cuDNN
    texts = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in texts)
