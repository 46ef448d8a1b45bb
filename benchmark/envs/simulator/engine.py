"""The simulator's game without its client: units under orders, loop by loop.

``Simulator`` plays whole env steps for a learner. An ``Engine`` plays one battle loop by loop,
as the stand-in for StarCraft II does when the real clients talk to it.
"""

from dataclasses import replace

import numpy as np

from benchmark.envs.maps import MAPS, Map
from benchmark.envs.options import EnvOptions
from benchmark.envs.simulator import kernel
from benchmark.envs.simulator.compiled import entry_point
from benchmark.envs.simulator.orders import (
    command_move,
    command_stop,
    command_target,
    order_from_script,
)
from benchmark.envs.simulator.random import seed_streams
from benchmark.envs.simulator.records import ATTACK, HEAL, UNIT_DTYPE
from benchmark.envs.simulator.spawn import keep_formation, prepare
from benchmark.envs.simulator.units import LOOPS_PER_STEP, UNITS
from benchmark.envs.simulator.world import make_world


class Engine:
    """One battle from its first loop on.

    Args:
        one: the map: its terrain, and the script that drives those who act by themselves.
        units: [U] ``records.UNIT_DTYPE``, allies first. Of each unit ``type``, ``team``, ``x`` and
            ``y`` count, and ``autonomous``: whether it acts by itself. Units too close to each
            other are moved apart; the allies are then numbered as the clients number them.
        seed: of everything random in the battle.
        options: parameters of the game; those of the clients have no effect.
    """

    def __init__(
        self, one: Map, units: np.ndarray, seed: int, options: EnvOptions | None = None
    ) -> None:
        allies = int((units["team"] == 0).sum())
        crowd = replace(one, n_agents=allies, n_enemies=len(units) - allies)
        if not one.generated:
            names = tuple(UNITS[kind].name for kind in units["type"])
            crowd = replace(crowd, allies=names[:allies], enemies=names[allies:])
        self._world = world = make_world(crowd, 1, options or EnvOptions())
        self._clock = 0
        world.units[0] = units
        kernel.arrange(world.units[0], allies, world.types, world.walkable)
        # Numbering the allies moves types and places only, so all of them act alike.
        world.units["autonomous"] = units["autonomous"]
        _begin(world, np.uint64(seed % 2**64))

    @property
    def units(self) -> np.ndarray:
        """[U] ``records.UNIT_DTYPE``, in the order of their numbers; the battle's own memory."""
        return self._world.units[0]

    @property
    def battle(self) -> np.ndarray:
        """The battle's ``records.BATTLE_DTYPE``: its random stream."""
        return self._world.battles[0]

    @property
    def walkable(self) -> np.ndarray:
        """[32, 32] bool, indexed [x, y]: where ground units can stand."""
        return self._world.walkable

    def stop(self, i: int) -> None:
        """Orders unit i to stop."""
        _stop(self._world, i)

    def move(self, i: int, x: float, y: float) -> None:
        """Orders unit i to a point."""
        _move(self._world, i, x, y)

    def attack(self, i: int, j: int) -> None:
        """Orders unit i to attack unit j; without effect if its weapon cannot."""
        _target(self._world, i, j, ATTACK)

    def heal(self, i: int, j: int) -> None:
        """Orders medivac i to heal unit j."""
        _target(self._world, i, j, HEAL)

    def kill(self, i: int) -> None:
        """Removes unit i, as the game's debug command does: without an explosion."""
        unit = self.units[i]
        unit["alive"] = unit["healing"] = False
        unit["health"] = unit["shield"] = 0.0

    def play(self, loops: int) -> None:
        """Plays game loops. SMACv2's script gives its orders in every eighth, from the first on."""
        _play(self._world, loops, self._clock)
        self._clock += loops


def armies(one: Map) -> np.ndarray:
    """The units of a SMAC map where the map creates them, for an ``Engine``."""
    world = make_world(one, 1, EnvOptions())
    units = np.zeros(one.n_agents + one.n_enemies, UNIT_DTYPE)
    for name in ("type", "team", "x", "y"):
        units[name] = world.layout[name]
    units["autonomous"] = units["team"] == 1
    return units


def warm_up() -> None:
    """Compiles everything that a battle needs, so that the next process loads it from disk."""
    engine = Engine(MAPS["3m"], armies(MAPS["3m"]), 0)
    engine.stop(0)
    engine.move(0, 0.0, 0.0)
    engine.attack(0, 3)
    engine.play(1)


def _entry_points(digest: str):
    """The compiled functions; as in ``kernel``, the digest is part of their key in the cache."""

    @entry_point()
    def begin(world, seed):
        """Readies all units, of which type, team, place and autonomy are set."""
        _ = digest
        seed_streams(world.battles[0], seed)
        units = world.units[0]
        for i in range(units.shape[0]):
            autonomous = units[i].autonomous
            prepare(units[i], world.battles[0], world.types, world.rules[0])
            units[i].autonomous = autonomous
        keep_formation(units)

    @entry_point()
    def play(world, loops, clock):
        _ = digest
        units, battle, order = world.units[0], world.battles[0], world.order[0]
        types, rules = world.types, world.rules[0]
        for i in range(units.shape[0]):
            units[i].attacked = False
        for loop in range(clock, clock + loops):
            if rules.generated and loop % LOOPS_PER_STEP == 0:
                for i in range(units.shape[0]):
                    if units[i].alive and units[i].autonomous:
                        order_from_script(i, units, types, rules)
            kernel.play_loop(units, battle, order, world)

    @entry_point()
    def stop(world, i):
        _ = digest
        command_stop(world.units[0][i])

    @entry_point()
    def move(world, i, x, y):
        _ = digest
        command_move(world.units[0][i], x, y)

    @entry_point()
    def target(world, i, j, order):
        _ = digest
        command_target(i, j, order, world.units[0], world.types)

    return begin, play, stop, move, target


_begin, _play, _stop, _move, _target = _entry_points(kernel.source_digest())
