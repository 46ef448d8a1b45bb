"""Small battlefields for the simulator's tests."""

import numpy as np
import pytest

from benchmark.envs import EnvOptions, Map, make
from benchmark.envs.units import TYPE_ID


@pytest.fixture
def arena():
    """A function that puts a few units on a flat map, at exact places.

    ``arena(["marine"], ["zealot"], at={0: (10, 16), 1: (14, 16)}, **options)`` gives an env of one
    battle that has just been reset. Enemies stay idle where they are until they acquire somebody,
    unless ``march_to`` names an attack point.
    """

    def build(allies, enemies, at=None, terrain="flat", march_to=None, n_envs=1, **options):
        types = tuple(sorted(set(allies) | set(enemies), key=lambda name: TYPE_ID[name]))
        one = Map(
            "arena", 10_000, len(allies), len(enemies), types, tuple(allies), tuple(enemies),
            terrain=terrain, attack_point=march_to or (16.0, 16.0),
        )  # fmt: skip
        env = make(one, n_envs, options=EnvOptions(**options))
        env.reset(np.arange(n_envs, dtype=np.uint64))
        units = env._world.units
        if march_to is None:
            units["order"][:, len(allies) :] = 0
        for index, (x, y) in (at or {}).items():
            units["x"][:, index], units["y"][:, index] = x, y
            units["seen_x"][:, index], units["seen_y"][:, index] = x, y
        env._refresh()
        return env

    return build
