"""Battles of a few units, played game loop by game loop. Points are complex numbers, x + iy."""

import numpy as np

from benchmark.envs import Map
from benchmark.envs.simulator.engine import Engine
from benchmark.envs.simulator.records import UNIT_DTYPE
from benchmark.envs.simulator.units import TYPE_ID, UNITS, type_table

TYPES = type_table()
PLANES = {"medivac": "air", "colossus": "above the ground"}


def battle(allies, enemies, terrain="flat", seed=0):
    """An engine whose units stand and do nothing of their own accord."""
    kinds = (*allies, *enemies)
    one = Map(
        "battle", 10_000, len(allies), len(enemies), tuple(sorted(set(kinds), key=TYPE_ID.get)),
        tuple(allies), tuple(enemies), terrain=terrain,
    )  # fmt: skip
    units = np.zeros(len(kinds), UNIT_DTYPE)
    units["type"] = [TYPE_ID[kind] for kind in kinds]
    units["team"][len(allies) :] = 1
    units["x"] = units["y"] = 16
    engine = Engine(one, units, seed)
    for index in range(len(kinds)):
        engine.stop(index)
    return engine


def put(engine, index, place, **fields):
    unit = engine.units[index]
    unit["x"], unit["y"] = place.real, place.imag
    for name, value in fields.items():
        unit[name] = value


def place_of(unit):
    return complex(unit["x"], unit["y"])


def velocity_of(unit):
    return complex(unit["vx"], unit["vy"])


def fact(unit, name):
    return float(TYPES[name][unit["type"]])


def plane(unit):
    return PLANES.get(UNITS[unit["type"]].name, "ground")


def drawn_place(random, reach):
    return complex(16, 16) + complex(*random.uniform(-reach, reach, 2))


def apart(u, v):
    """How far apart the centres of two units stay."""
    name = "separation" if u["team"] == v["team"] else "body"
    return fact(u, name) + fact(v, name)
