"""The engine under orders is the simulator's battle under actions."""

import numpy as np
import pytest

from benchmark.envs import MAPS, make
from benchmark.envs.scripted import POLICIES
from benchmark.envs.simulator.engine import Engine, armies
from benchmark.envs.simulator.orders import EAST, FIRST_TARGET, NORTH, SOUTH, STOP, WEST
from benchmark.envs.simulator.records import UNIT_DTYPE
from benchmark.envs.simulator.units import LOOPS_PER_STEP, TYPE_ID
from benchmark.envs.spec import Observation

_WAY = {NORTH: (0, 2), SOUTH: (0, -2), EAST: (2, 0), WEST: (-2, 0)}


def give_orders(engine, actions, one):
    """What a client makes of actions: orders to single units."""
    n = one.n_agents
    for i, action in enumerate(actions):
        unit = engine.units[i]
        if action == STOP:
            engine.stop(i)
        elif action in _WAY:
            dx, dy = _WAY[action]
            engine.move(i, unit["x"] + dx, unit["y"] + dy)
        elif action >= FIRST_TARGET and one.healers and unit["type"] == TYPE_ID["medivac"]:
            engine.heal(i, action - FIRST_TARGET)
        elif action >= FIRST_TARGET:
            engine.attack(i, n + action - FIRST_TARGET)


@pytest.mark.parametrize("name", ["3m", "MMM2", "corridor", "protoss_5_vs_5", "terran_10_vs_11"])
def test_orders_lead_to_the_simulators_battle(name):
    """From the same units and random stream, env step by env step, bit for bit."""
    one = MAPS[name]
    env = make(name)
    out = env.reset(np.array([11], np.uint64))
    engine = Engine(one, env.units()[0], seed=0)
    engine.units[:] = env.units()[0]  # which have played a loop
    engine._world.battles["random"] = env._world.battles["random"]
    random = np.random.default_rng(0)
    for step in range(40):
        policy = POLICIES["random" if step % 3 == 0 else "attack_nearest"]
        actions = policy(Observation(*out[:3]), env.units(), random)
        give_orders(engine, actions[0], one)
        engine.play(LOOPS_PER_STEP)
        out = env.step(actions)
        simulated = env.units()[0]
        alive = simulated["alive"]
        for column in UNIT_DTYPE.names:
            if not column.startswith("seen_"):  # what the client remembers
                np.testing.assert_array_equal(
                    engine.units[column][alive], simulated[column][alive], err_msg=column
                )
        np.testing.assert_array_equal(engine.units["alive"], alive)
        if out.terminated[0]:
            break
    assert step > 15


@pytest.mark.parametrize("name", [name for name, one in MAPS.items() if not one.generated])
def test_armies_stand_where_the_simulators_do(name):
    """In the order of creation; battles of the simulator number the enemies anew."""
    env = make(name)
    env.reset(np.zeros(1, np.uint64))
    layout, units = env._world.layout, Engine(MAPS[name], armies(MAPS[name]), 0).units
    for column in ("type", "team", "x", "y"):
        np.testing.assert_array_equal(units[column], layout[column], err_msg=column)
    simulated = env.units()[0]
    for column in ("autonomous", "health", "order"):
        expected = np.sort(simulated[column])
        np.testing.assert_array_equal(np.sort(units[column]), expected, err_msg=column)


def test_units_of_a_mixed_crowd_are_numbered_and_apart():
    units = np.zeros(6, UNIT_DTYPE)
    units["type"] = [TYPE_ID[name] for name in ("zealot", "marine", "stalker") * 2]
    units["team"] = [0, 0, 0, 1, 1, 1]
    units["x"], units["y"] = 10.0, 12.0
    units["autonomous"] = units["team"] == 1
    placed = Engine(MAPS["3m"], units, 0).units
    assert placed["type"][:3].tolist() == sorted(units["type"][:3].tolist())
    distance = np.hypot(*(placed[axis][:, None] - placed[axis] for axis in ("x", "y")))
    assert distance[~np.eye(6, dtype=bool)].min() > 0.68


def test_killed_units_are_gone():
    engine = Engine(MAPS["3m"], armies(MAPS["3m"]), 0)
    engine.kill(1)
    engine.play(1)
    assert engine.units["alive"].tolist() == [True, False, True, True, True, True]
    assert engine.units["health"][1] == 0


def test_the_same_seed_gives_the_same_battle():
    def played(seed):
        engine = Engine(MAPS["3m"], armies(MAPS["3m"]), seed)
        for i in range(3):
            engine.attack(i, 3)
        engine.play(120)
        return engine.units["health"].tobytes() + engine.units["x"].tobytes()

    assert played(1) == played(1)
    assert len({played(seed) for seed in range(8)}) > 4  # few draws: some are alike
