"""What must hold whatever happens: 100 000 random steps on every map."""

import numpy as np
import pytest

from benchmark.envs import MAPS, Observation, make
from benchmark.envs.scripted import attack_nearest, random_policy
from benchmark.envs.units import UNITS

BATTLES = 500
_HEALTH = np.array([unit.health for unit in UNITS])
_SHIELD = np.array([unit.shield for unit in UNITS])
_FLIES = np.array([unit.flies for unit in UNITS])


@pytest.mark.parametrize("name", MAPS)
def test_invariants(name):
    env = make(name, BATTLES)
    random = np.random.default_rng(0)
    out = env.reset(np.arange(BATTLES, dtype=np.uint64))
    seed = BATTLES
    was_alive = env.units()["alive"]
    total = np.zeros(BATTLES)
    for step in range(100_000 // BATTLES):
        # Mostly random; now and then towards the enemy, so that there are fights everywhere.
        policy = attack_nearest if step % 5 == 0 else random_policy
        out = env.step(policy(Observation(*out[:3]), env.units(), random))
        units = env.units()
        kind, alive = units["type"], units["alive"]

        assert np.isfinite(out.obs).all()
        assert np.isfinite(out.state).all()
        assert np.isfinite(out.reward).all()
        for field in ("x", "y", "health", "shield", "energy", "cooldown"):
            assert np.isfinite(units[field]).all()
        assert (units["health"] <= _HEALTH[kind] + 1e-9).all()
        assert (units["shield"] <= _SHIELD[kind] + 1e-9).all()
        assert ((units["health"] > 0) == alive).all()
        assert ((units["energy"] >= -1e-9) & (units["energy"] <= 200)).all()
        assert not (alive & ~was_alive).any()  # nobody rises again

        assert ((units["x"] > 0) & (units["x"] < 32)).all()
        assert ((units["y"] > 0) & (units["y"] < 32)).all()
        inside = env.walkable[units["x"].astype(int), units["y"].astype(int)]
        assert (inside | _FLIES[kind]).all()

        running = env._world.battles["running"]
        assert out.available.any(2).all()  # there is always something to do
        assert (out.available[:, :, 0] == ~(alive[:, : env.spec.n_agents] & running[:, None])).all()
        n = env.spec.n_agents
        decided = out.terminated | out.timed_out
        assert (out.dead_allies == (~alive[:, :n]).sum(1))[running | decided].all()
        assert not (out.terminated & out.timed_out).any()
        assert not (out.battle_won & ~out.terminated).any()

        total += out.reward
        ended = np.flatnonzero(decided)
        total[ended] = 0
        out = out if not ended.size else env.reset(
            np.arange(seed, seed + ended.size, dtype=np.uint64), ended
        )  # fmt: skip
        seed += ended.size
        was_alive = env.units()["alive"]
        assert (total <= 60).all()
