"""Where libraries keep what they would otherwise make again: compiled functions, a list of fonts.

numba keeps functions next to their source, or in the user's folder as matplotlib and Triton do. In
a container all of these may be read-only; numba and Triton then fail, and matplotlib complains.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile

_SOURCES = [
    os.path.join(os.path.dirname(__file__), "envs", "simulator"),
    os.path.join(os.path.dirname(os.path.dirname(__file__)), "algorithms", "kernels"),
]
_CPUINFO = "/proc/cpuinfo"


def provide() -> None:
    """Gives libraries a private temporary folder in place of those that cannot be written.

    By their own environment variables, which processes started later inherit; one line says so. The
    folder is deleted when this process ends. Slurm's jobs get one folder per type of processor:
    nodes of two types that fill one at the same time can give each other their machine code.
    """
    kept = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    next_to_source = all(_writable(os.path.join(folder, "__pycache__")) for folder in _SOURCES)
    if "SLURM_JOB_ID" in os.environ and _writable(kept):
        os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(kept, "r3dm-benchmark", _processor()))
    found = {
        "NUMBA_CACHE_DIR": next_to_source or _writable(kept),
        "MPLCONFIGDIR": _writable(kept) and _writable(settings),
        "TRITON_CACHE_DIR": _writable(os.path.expanduser("~/.triton")),
    }
    for name in found:
        if own := os.environ.get(name):
            found[name] = _writable(os.path.abspath(own))
    lacking = [name for name, place in found.items() if not place]
    if not lacking:
        return
    folder = tempfile.mkdtemp(prefix="r3dm-benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update({name: os.path.join(folder, name) for name in lacking})
    print(
        f"caches are kept in {folder} until this process ends, because their own folders are"
        f" read-only; to keep them set {', '.join(lacking)} to folders that can be written",
        file=sys.stderr,
    )


def _processor() -> str:
    """A name for this type of processor."""
    with contextlib.suppress(OSError), open(_CPUINFO) as file:
        first = file.read().partition("\n\n")[0].splitlines()
        told = [line for line in first if line.startswith(("model name", "flags", "Features"))]
        return "numba-" + hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
    return "numba"


def _writable(folder: str) -> bool:
    """Whether a folder can be written, or made."""
    if not os.path.isabs(folder):  # there is no home
        return False
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
