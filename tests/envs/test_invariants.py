"""What must hold whatever happens: random battles on every map, 200 env steps each."""

import math

import numpy as np
import pytest
from numba import njit

from benchmark.envs import MAPS, Observation, make
from benchmark.envs.scripted import attack_nearest, random_policy

STEPS = 200
RULES = (
    "everything is finite",
    "health and shield stay between nothing and their maxima",
    "alive means some health",
    "the dead stay dead",
    "energy stays between 0 and 200",
    "nobody leaves the map",
    "ground units stay out of walls",
    "the living stand apart",
)
#: Bodies give way a little in a throng: the share of pairs that may stand closer than a quarter of
#: their separation.
CROWDED = 1e-4


@njit(cache=True)
def broken_rules(units, types, walkable, was_alive):
    """How often each of ``RULES`` is broken."""
    count = np.zeros(8, np.int64)
    for b in range(units.shape[0]):
        for i in range(units.shape[1]):
            u = units[b, i]
            kind = types[u.type]
            total = u.x + u.y + u.health + u.shield + u.energy + u.cooldown + u.vx + u.vy
            if not math.isfinite(total):
                count[0] += 1
                continue
            count[1] += not (0 <= u.health <= kind.health + 1e-9)
            count[1] += not (0 <= u.shield <= kind.shield + 1e-9)
            count[2] += u.alive != (u.health > 0)
            count[3] += u.alive and not was_alive[b, i]
            count[4] += not (-1e-9 <= u.energy <= 200)
            if not (2 < u.x < 30 and 2 < u.y < 30):
                count[5] += 1
                continue
            count[6] += not (kind.flies or walkable[int(u.x), int(u.y)])
            for j in range(i):
                v = units[b, j]
                other = types[v.type]
                if u.alive and v.alive and other.plane == kind.plane:
                    near = 0.25 * (kind.separation + other.separation)
                    count[7] += (u.x - v.x) ** 2 + (u.y - v.y) ** 2 < near * near
    return count


@pytest.mark.parametrize("battles", [60, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MAPS)
def test_invariants(name, battles):
    env = make(name, battles)
    n, world = env.spec.n_agents, env._world
    random = np.random.default_rng(0)
    out = env.reset(np.arange(battles, dtype=np.uint64))
    seed = battles
    was_alive = world.units["alive"].copy()
    broken = np.zeros(len(RULES), int)
    for step in range(STEPS):
        # Mostly random; now and then towards the enemy, so that there are fights everywhere.
        policy = random_policy if step % 10 else attack_nearest
        out = env.step(policy(Observation(*out[:3]), world.units, random))
        broken += broken_rules(world.units, world.types, world.walkable, was_alive)
        alive = world.units["alive"]

        assert np.isfinite(out.obs).all()
        assert np.isfinite(out.state).all()
        assert np.isfinite(out.reward).all()
        assert out.available.any(2).all()  # there is always something to do
        ended = out.terminated | out.truncated
        reported = world.battles["running"] | ended  # the step that ends a battle shows how
        assert (out.available[:, :, 0] == ~(alive[:, :n] & reported[:, None])).all()
        assert (out.dead_allies == (~alive[:, :n]).sum(1))[reported].all()
        assert (out.dead_enemies == (~alive[:, n:]).sum(1))[reported].all()
        assert not (out.terminated & out.truncated).any()
        assert not (out.battle_won & ~out.terminated).any()

        ended = np.flatnonzero(ended)
        if ended.size:
            out = env.reset(np.arange(seed, seed + ended.size, dtype=np.uint64), ended)
            seed += ended.size
        was_alive = world.units["alive"].copy()
    n_units = world.units.shape[1]
    assert broken[7] <= CROWDED * battles * STEPS * n_units * (n_units - 1) / 2
    broken[7] = 0
    assert dict(zip(RULES, broken.tolist(), strict=True)) == dict.fromkeys(RULES, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.step(np.full((2, 3), 1.9)), "actions must be integers"),
        (lambda env: env.reset([1, 2], np.array([True, False])), "indices of battles must be"),
        (lambda env: env.reset([1, 2], [0, 0]), "one is named twice"),
        (lambda env: env.reset([np.nan, 1.0]), "seeds must be integers"),
        (lambda env: (env.close(), env.reset([1, 2])), "the env is closed"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(call, message):
    env = make("3m", n_envs=2)
    env.reset([1, 2])
    with pytest.raises(ValueError, match=message):
        call(env)
