"""Compiles the CUDA kernels for GPUs that need not be there: ``python speed/kernels.py``.

One row per kernel and kind of GPU (sm_80 is an A100, sm_90 a H100), at the sizes of a map:
registers of a thread, bytes of stack (registers that did not fit), and shared memory of a program.
"""

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmark.envs import spec_of

#: Arguments that are no pointers to float32, in Triton's words.
_TYPES = {"sizes": "*i32"} | dict.fromkeys(("first", "size", "K"), "i32")
_TYPES |= dict.fromkeys(("unimix", "rate", "root", "fresh", "fresh_square", "eps", "clip"), "fp32")


class Compiled(NamedTuple):
    """What a kernel takes."""

    kernel: str
    gpu: str
    registers: int
    stack: int
    shared: int


def compiled(map: str, gpus: tuple[int, ...] = (80, 90)) -> Iterator[Compiled]:
    """Compiles every kernel; needs triton without its interpreter (``TRITON_INTERPRET``)."""
    from algorithms.cds import CDS
    from algorithms.kernels import posterior_scan, predictor_epoch

    spec, config = spec_of(map), CDS.Config()
    scan = {"H": 128, "S": 16, "C": 16, "T": 512}
    predictors = {
        "IN": config.hidden_size + spec.obs_size + spec.n_actions,
        "N": spec.n_agents,
        "H": config.predictor_size,
        "OUT": spec.obs_size,
        "B": config.predictor_batch,
    }
    for gpu in gpus:
        for module, names, sizes in (
            (posterior_scan, ("_scan", "_scan_back"), scan),
            (predictor_epoch, ("_errors", "_gradients"), predictors),
            (predictor_epoch, ("_step",), {"TILES": 64}),
        ):
            for name in names:
                yield _compile(module, name, sizes, gpu)


def _compile(module, name: str, sizes: dict[str, int], gpu: int) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(module, name)
    names = kernel.arg_names
    types = {one: "constexpr" if one in sizes else _TYPES.get(one, "*fp32") for one in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, one in enumerate(names)
        if types[one].startswith("*")
    }
    constants = {(names.index(one),): size for one, size in sizes.items()}
    source = ASTSource(kernel, types, constexprs=constants, attrs=aligned)
    target = GPUTarget("cuda", gpu, 32)
    binary = triton.compile(source, target=target, options=module.LAUNCH)
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        told = subprocess.run(
            [tools / "cuobjdump", "-res-usage", file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    registers, stack = (int(re.search(rf"{use}:(\d+)", told)[1]) for use in ("REG", "STACK"))
    title = f"{module.__name__.rpartition('.')[2]}.{name.strip('_')}"
    return Compiled(title, f"sm_{gpu}", registers, stack, binary.metadata.shared)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", default="3s5z_vs_3s6z")
    arguments = parser.parse_args()
    print(
        "| kernel | GPU | registers | stack, bytes | shared memory, kB |\n|---|---|---:|---:|---:|"
    )
    for one in compiled(arguments.map):
        cells = *one[:-1], f"{one.shared / 1024:.0f}"
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
