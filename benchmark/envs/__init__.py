"""Batches of battles on one map behind one interface, whatever plays them."""

from benchmark.envs.maps import MAPS, Map, find_map
from benchmark.envs.options import EnvOptions
from benchmark.envs.spec import Env, EnvSpec, Observation, Transition
from benchmark.errors import BenchmarkError

__all__ = [
    "BACKENDS", "MAPS", "Env", "EnvOptions", "EnvSpec", "Map", "Observation", "Transition", "make",
    "make_evaluation", "spec_of",
]  # fmt: skip

BACKENDS = ("simulator", "starcraft2")


def make(
    map_name: str | Map,
    n_envs: int = 1,
    backend: str = "simulator",
    options: EnvOptions | None = None,
) -> Env:
    """An env of ``n_envs`` battles.

    Args:
        map_name: a name in ``MAPS``, or a ``Map`` of your own.
        n_envs: number of battles that advance in lockstep.
        backend: who plays the battles, one of ``BACKENDS``.
        options: quirks and parameters; the defaults are what the papers ran.

    Raises:
        BenchmarkError: unknown map or backend, an option's value is not accepted, or the game or
            its packages are missing.
    """
    one = _map_of(map_name, backend)
    if backend == "starcraft2":
        from benchmark.envs.starcraft2.env import StarCraft2

        return StarCraft2(one, n_envs, options)
    from benchmark.envs.simulator.env import (
        Simulator,  # compiles, or loads what was compiled before
    )

    return Simulator(one, n_envs, options)


def make_evaluation(
    training: Env,
    map_name: str | Map,
    n_envs: int,
    backend: str = "simulator",
    options: EnvOptions | None = None,
) -> Env:
    """An env for evaluations beside the one for training.

    The simulator's has battles of its own, so that evaluations never disturb training. A game of
    StarCraft II takes gigabytes, and its randomness belongs to nobody: the same games play both.
    """
    return training if backend == "starcraft2" else make(map_name, n_envs, backend, options)


def spec_of(map_name: str | Map, backend: str = "simulator") -> EnvSpec:
    """The sizes of a map, without starting anything.

    Raises:
        BenchmarkError: unknown map or backend, or the game or its packages are missing.
    """
    one = _map_of(map_name, backend)
    if backend == "starcraft2":
        from benchmark.envs.starcraft2.env import starcraft2_spec

        return starcraft2_spec(one)
    from benchmark.envs.simulator.env import simulator_spec

    return simulator_spec(one)


def _map_of(map_name: str | Map, backend: str) -> Map:
    if backend not in BACKENDS:
        raise BenchmarkError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    return map_name if isinstance(map_name, Map) else find_map(map_name)
