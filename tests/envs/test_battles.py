"""What a player would check: fair mirrors, focus fire, kiting, the choke, hopeless random play."""

import numpy as np
import pytest

from benchmark.envs import EnvOptions, Map, make
from benchmark.envs.scripted import (
    attack_nearest,
    focus_fire,
    hold,
    kite,
    play,
    random_policy,
    spread_fire,
)


def won(name, policy, n=256, **options):
    env = make(name, 128, options=EnvOptions(**options))
    return play(env, policy, n, seed=1)["won"].mean()


@pytest.mark.parametrize("name", ["3m", "8m", "2s3z", "3s5z"])
def test_mirror_fights_are_fair(name):
    """Both sides by the engine's own script, the enemies where the allies are after half a turn
    (in the game both have the same pattern, which favours one side)."""
    env = make(name, 128, options=EnvOptions(ally_control="engine"))
    layout, n = env._world.layout, env.spec.n_agents
    # Turned a little, so that no two are equally near: ties would fall to the lower number.
    x, y = layout["x"][:n] - 9, layout["y"][:n] - 16
    layout["x"][:n], layout["y"][:n] = 9 + x + 0.05 * y, 16 + y - 0.05 * x
    for axis in "xy":
        layout[axis][n:] = 32 - layout[axis][:n]
    layout["type"][n:] = layout["type"][:n]
    result = play(env, random_policy, 1024, seed=1)
    # Survivors that pass each other stand at their goals for ever: such battles have no winner.
    lost = ~result["won"] & ~result["truncated"]
    assert abs(result["won"].sum() - lost.sum()) < 3.5 * np.sqrt((result["won"] | lost).sum())


def test_focus_fire_beats_spread_fire():
    for name in ("3m", "8m", "2s3z"):
        assert won(name, focus_fire) > won(name, spread_fire) + 0.05


def test_kiting_stalkers_beat_zealots():
    duel = Map(
        "kiting", 300, 2, 3, ("stalker", "zealot"), ("stalker",) * 2, ("zealot",) * 3,
        terrain="flat", ally_spawn=(10.0, 16.0), enemy_spawn=(22.0, 16.0),
    )  # fmt: skip
    assert won(duel, kite, 128) > 0.9
    assert won(duel, attack_nearest, 128) < 0.1


def test_the_choke_beats_the_open():
    choke, open_field = hold(12.0, 12.0, 1.5), hold(19.0, 19.0, 1.5)
    assert won("corridor", choke, 256) > 2 * won("corridor", open_field, 256)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("3m", 0.05), ("5m_vs_6m", 0.005), ("3s5z_vs_3s6z", 0.005), ("27m_vs_30m", 0.005),
     ("MMM2", 0.005), ("corridor", 0.005), ("6h_vs_8z", 0.005)],
)  # fmt: skip
def test_random_play_loses(name, limit):
    assert won(name, random_policy, 256) <= limit


@pytest.mark.parametrize("name", ["3m", "2s3z", "3s5z", "protoss_5_vs_5", "terran_5_vs_5",
                                  "zerg_5_vs_5"])  # fmt: skip
def test_attacking_the_nearest_beats_random_play(name):
    assert won(name, attack_nearest) > won(name, random_policy) + 0.02


def test_agents_that_flee_stall_to_the_limit():
    """SMAC's enemies idle at their attack point: nobody sends them on."""
    hiding = Map(
        "hiding", 40, 1, 2, ("marine", "zealot"), ("marine",), ("zealot",) * 2, terrain="flat",
        ally_spawn=(2.0, 30.0), enemy_spawn=(20.0, 4.0), attack_point=(16.0, 4.0),
    )  # fmt: skip
    result = play(make(hiding, 4), lambda o, u, r: np.where(u["alive"][:, :1], 1, 0), 4)
    assert result["truncated"].all()
    assert not result["won"].any()
