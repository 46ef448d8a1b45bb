"""Small battlefields for the simulator's tests."""

import numba
import numpy as np
import pytest

from benchmark.envs import EnvOptions, Map, make
from benchmark.envs.simulator import kernel
from benchmark.envs.simulator.compiled import entry_point
from benchmark.envs.simulator.records import IDLE
from benchmark.envs.simulator.spawn import prepare
from benchmark.envs.simulator.units import TYPE_ID

if numba.config.DISABLE_JIT:
    # NUMBA_DISABLE_JIT=1 runs the kernel as plain Python, for a debugger and for mutants: there
    # only records of a recarray have their fields as attributes, and integers warn that they wrap.
    def _zeros(*arguments, zeros=np.zeros, **named):
        made = zeros(*arguments, **named)
        return made.view(np.recarray) if made.dtype.names else made

    np.zeros = _zeros
    np.seterr(all="ignore")


def _compiled(digest: str):
    """Compiled once, as in ``kernel``: the digest of the sources is in the key of the cache."""

    @entry_point()
    def place(world, out):
        """Units as the layout has them: enemies in order, nobody has moved, all scan at once."""
        _ = digest
        for i in range(world.layout.shape[0]):
            u, place = world.units[0][i], world.layout[i]
            u.type, u.x, u.y = place.type, place.x, place.y
            prepare(u, world.battles[0], world.types, world.rules[0])
            u.scan = 0
        kernel.observe(0, world, out)

    return place


_place = _compiled(kernel.source_digest())


@pytest.fixture
def arena():
    """A function that puts a few units on a flat map, at exact places.

    ``arena(["marine"], ["zealot"], at=[(10, 16), (14, 16)], **options)`` gives an env that has just
    been reset, allies first. Enemies do nothing at all unless they are ``awake``: then they acquire
    targets, and march to an attack point if ``march_to`` names one.
    """

    def build(
        allies, enemies, at, awake=False, march_to=None, terrain="flat", limit=10_000, **options
    ):
        types = tuple(sorted(set(allies) | set(enemies), key=TYPE_ID.get))
        one = Map(
            "arena", limit, len(allies), len(enemies), types, tuple(allies), tuple(enemies),
            terrain=terrain, attack_point=march_to or (16.0, 16.0),
        )  # fmt: skip
        env = make(one, options=EnvOptions(**options))
        env.reset(np.zeros(1, np.uint64))
        layout = env._world.layout
        layout["x"], layout["y"] = np.transpose(at).astype(float)
        _place(env._world, env._out)
        if march_to is None:
            env._world.units["order"][:, len(allies) :] = IDLE
        env._world.units["autonomous"][:, len(allies) :] = awake
        return env

    return build


@pytest.fixture
def act():
    """A function that steps an arena's env with one action per agent; the dead do nothing."""

    def step(env, *actions):
        return env.step(np.where(env._out.available[:, :, 1], [actions], 0))

    return step
