"""Batches of battles on one map behind one interface: ``make(map, n_envs, backend, options)``."""

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
    map: str | Map,
    n_envs: int = 1,
    backend: str = "simulator",
    options: EnvOptions | None = None,
) -> Env:
    """An env of ``n_envs`` battles.

    Args:
        map: a name in ``MAPS``, or a ``Map`` of your own.
        n_envs: battles in the batch, which advance in lockstep.
        backend: one of ``BACKENDS``.
        options: quirks and parameters; the defaults are what the papers ran.

    Raises:
        BenchmarkError: unknown map or backend, an option's value is not accepted, or the game or
            its packages are missing.
    """
    if backend not in BACKENDS:
        raise BenchmarkError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    scenario = _map_of(map)
    if backend == "starcraft2":
        from benchmark.envs.starcraft2.env import StarCraft2

        return StarCraft2(scenario, n_envs, options)
    from benchmark.envs.simulator.env import Simulator

    return Simulator(scenario, n_envs, options)


def make_evaluation(
    training: Env,
    map: str | Map,
    n_envs: int,
    backend: str = "simulator",
    options: EnvOptions | None = None,
) -> Env:
    """The env in which a run evaluates.

    In the simulator it has battles of its own, so that evaluations never disturb training. A game
    of StarCraft II takes gigabytes, and no seed controls it: the training's games play both.
    """
    return training if backend == "starcraft2" else make(map, n_envs, backend, options)


def spec_of(map: str | Map) -> EnvSpec:
    """The sizes of a map, which all backends share, as the simulator has them.

    Raises:
        BenchmarkError: unknown map.
    """
    from benchmark.envs.simulator.env import simulator_spec

    return simulator_spec(_map_of(map))


def _map_of(map: str | Map) -> Map:
    return map if isinstance(map, Map) else find_map(map)
