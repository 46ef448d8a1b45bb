"""Observation, state and availability, against a slow restatement and the clients' quirks."""

import numpy as np
import pytest

from benchmark.envs import EnvOptions, Observation, make
from benchmark.envs.scripted import attack_nearest, random_policy
from benchmark.envs.simulator.units import TYPE_ID
from tests.envs.restatement import restate

MAPS_OF_EVERY_KIND = [
    "3m", "3s5z_vs_3s6z", "MMM2", "corridor", "6h_vs_8z", "27m_vs_30m",
    "protoss_5_vs_5", "terran_10_vs_11", "zerg_10_vs_11",
]  # fmt: skip


@pytest.mark.parametrize("name", MAPS_OF_EVERY_KIND)
def test_matches_the_restatement_on_random_battles(name):
    env = make(name, 3, options=EnvOptions(wiped_observations=False))
    spec, random = env.spec, np.random.default_rng(5)
    out = env.reset(np.array([1, 2, 3], np.uint64))
    actions = np.full((3, spec.n_agents), -1)
    compared = 0
    for step in range(60):
        policy = attack_nearest if step % 3 else random_policy
        units = env.units()
        for b in np.flatnonzero(env._world.battles["running"]):
            expected = restate(
                units[b], actions[b], env.walkable, name, spec.n_agents, spec.n_actions
            )
            for got, want in zip(out[:3], expected, strict=True):
                np.testing.assert_allclose(got[b], want, atol=1e-6)
            compared += 1
        actions = policy(Observation(*out[:3]), units, random)
        out = env.step(actions)
    assert compared > 40


def test_enemy_types_are_swapped_on_stalker_and_zealot_maps():
    for swapped in (True, False):
        env = make("2s3z", options=EnvOptions(swapped_enemy_types=swapped))
        state = env.reset(np.zeros(1, np.uint64)).state[0]
        allies, enemies = state[:35].reshape(5, 7), state[35:65].reshape(5, 6)
        np.testing.assert_array_equal(allies[0, -2:], [1, 0])  # a stalker
        zealots = env.units()["type"][0, 5:] == TYPE_ID["zealot"]
        np.testing.assert_array_equal(enemies[:, -2] == 1, zealots if swapped else ~zealots)


def test_agents_are_numbered_by_type_then_position():
    units = make("MMM2")
    units.reset(np.zeros(1, np.uint64))
    allies = units.units()[0, :10]
    assert allies["type"].tolist() == [3] * 2 + [4] * 7 + [5]
    keys = list(zip(allies["type"], allies["x"], allies["y"], strict=True))
    assert keys == sorted(keys)


def test_the_playable_area_scales_positions():
    """The recording of 3m divides by 28, and SMACv2's map has the same bounds."""
    for name in ("3m", "zerg_5_vs_5"):
        env = make(name)
        state = env.reset(np.zeros(1, np.uint64)).state[0]
        assert state[2] * 28 + 16 == pytest.approx(env.units()[0, 0]["x"], abs=1e-4)


def test_a_finished_battle_shows_zeros_and_allows_no_op():
    env = make("3m", 2)
    env.reset(np.arange(2, dtype=np.uint64))
    for _ in range(60):
        out = env.step(np.where(env._out.available[:, :, 1], 1, 0))
        if out.terminated[0]:
            break
    while not (out.terminated | out.truncated)[1]:
        out = env.step(np.where(env._out.available[:, :, 1], 1, 0))
    out = env.step(np.zeros((2, 3), int))
    assert not out.obs.any()
    assert not out.state.any()
    assert out.available[:, :, 0].all()
    assert not out.available[:, :, 1:].any()
    for array in out[3:]:
        assert not array.any()


def test_the_step_that_ends_a_battle_shows_how_it_ended():
    """A value at a time-out may be bootstrapped, so that the last observation has to be real."""
    env = make("3m", 1)
    out = env.reset(np.zeros(1, np.uint64))
    while True:
        out = env.step(np.where(out.available[:, :, 1], 1, 0))
        if out.terminated[0] or out.truncated[0]:
            break
    health = env.units()["health"][0]
    assert (out.state[0, : 3 * 4 : 4] > 0).tolist() == (health[:3] > 0).tolist()
    assert (out.state[0, 12:21:3] > 0).tolist() == (health[3:] > 0).tolist()
    assert out.state.any()


# -- SMACv2's blanked observations ------------------------------------------------------------


def _place(env, units):
    """Restarts SMACv2 battles with units at given places and nobody known yet."""
    world = env._world
    for index, (x, y) in units.items():
        for name, value in (("x", x), ("y", y), ("seen_x", x), ("seen_y", y)):
            world.units[name][:, index] = value
    world.known[:] = -1


def _enemy_rows(out, spec, agent, battle=0):
    width = spec.obs_enemy_width
    return out.obs[battle, agent, 4 : 4 + spec.n_enemies * width].reshape(spec.n_enemies, width)


@pytest.mark.parametrize("wiped", [True, False])
def test_an_enemy_that_nobody_has_seen_blanks_those_before_it(wiped):
    env = make("zerg_3_vs_3", options=EnvOptions(wiped_observations=wiped))
    env.reset(np.array([4], np.uint64))
    # Enemies 0 and 2 are close, enemy 1 is far from everybody.
    _place(env, {0: (5, 5), 1: (5, 7), 2: (5, 9), 3: (8, 5), 4: (31, 31), 5: (9, 8)})
    out = env.step(np.ones((1, 3), int))
    units = env.units()[0]
    assert units["alive"].all()
    for agent in range(3):
        rows = _enemy_rows(out, env.spec, agent)
        assert rows[0].any() != wiped
        assert not rows[1].any()
        assert rows[2].any()


def test_once_seen_an_enemy_blanks_nobody_until_it_dies_out_of_sight():
    env = make("zerg_3_vs_3")
    env.reset(np.array([4], np.uint64))
    _place(env, {0: (5, 5), 1: (5, 7), 2: (5, 9), 3: (9, 5), 4: (9, 7), 5: (9, 9)})
    env.step(np.ones((1, 3), int))
    assert (env._world.known >= 0).all()
    world = env._world
    # Enemy 1 walks out of everybody's sight: it stays known and blanks nobody ...
    for name in ("x", "seen_x", "y", "seen_y"):
        world.units[name][0, 4] = 31
    out = env.step(np.ones((1, 3), int))
    alive = env.units()[0]["alive"]
    assert all(_enemy_rows(out, env.spec, a)[0].any() for a in range(3) if alive[a])
    # ... and when it dies there, the enemies before it vanish.
    world.units["alive"][0, 4] = False
    world.units["health"][0, 4] = 0
    out = env.step(np.where(env._out.available[:, :, 1], 1, 0))
    assert not any(_enemy_rows(out, env.spec, a)[0].any() for a in range(3))


def test_at_a_reset_everybody_knows_whom_anybody_sees():
    """Its observations are made twice."""
    env = make("zerg_10_vs_11", 200)
    out = env.reset(np.arange(200, dtype=np.uint64))
    units, n, met = env.units(), env.spec.n_agents, 0
    for battle, known in enumerate(env._world.known >= 0):
        blank = np.flatnonzero(~known).max(initial=-1)
        sight = env._world.types["sight"][units["type"][battle, :n]]
        for agent in range(n):
            rows = _enemy_rows(out, env.spec, agent, battle)
            mine, others = units[battle, agent], units[battle, n:]
            seen = np.hypot(others["x"] - mine["x"], others["y"] - mine["y"]) < sight[agent]
            assert rows.any(1).tolist() == (seen & (np.arange(n + 1) > blank)).tolist()
            met += seen.any()
    assert met > 200


def test_whose_turn_is_before_an_enemy_is_met_is_drawn_for_every_observation():
    """Agents 0 and 1 see enemy 0 alone, agent 2 enemy 1 too; enemy 2 comes last and is close."""
    env = make("zerg_3_vs_3", 400)
    env.reset(np.arange(400, dtype=np.uint64))
    _place(env, {0: (5, 5), 1: (5, 7), 2: (14, 6), 3: (9, 6), 4: (21, 6), 5: (10, 7)})
    out = env.step(np.ones((400, 3), int))
    assert env.units()["alive"].all()
    blanked = [
        np.array([not _enemy_rows(out, env.spec, agent, b)[0].any() for b in range(400)])
        for agent in range(3)
    ]
    assert not blanked[2].any()
    assert blanked[0].mean() == pytest.approx(1 / 2, abs=0.1)
    assert blanked[1].mean() == pytest.approx(1 / 2, abs=0.1)
    assert (blanked[0] & blanked[1]).mean() == pytest.approx(1 / 3, abs=0.1)
