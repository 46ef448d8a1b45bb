"""Reward and the end of a battle, both clients' rules."""

import numpy as np
import pytest

from benchmark.envs import EnvOptions, make
from benchmark.envs.scripted import POLICIES, play
from benchmark.errors import BenchmarkError

STOP = 1


def kill(env, *indices):
    """Removes units as a hit would, before the next step."""
    for index in indices:
        env._world.units["alive"][:, index] = False
        env._world.units["health"][:, index] = 0
        env._world.units["shield"][:, index] = 0


def wait(env):
    """One step in which nobody does anything."""
    return env.step(np.where(env._out.available[:, :, STOP], STOP, 0))


# -- reward --------------------------------------------------------------------------------


def test_killing_everyone_without_regeneration_sums_to_exactly_20():
    result = play(make("3m", 64), POLICIES["focus_fire"], 64)
    assert result["won"].any()
    np.testing.assert_allclose(result["return"][result["won"]], 20.0, rtol=1e-5)
    assert (result["return"][~result["won"]] < 12).all()


def test_reward_is_damage_plus_ten_per_kill_scaled(arena):
    env = arena(
        ["marine", "marine"], ["marauder", "marine"], [(10, 16), (10, 18), (30, 2), (30, 4)]
    )
    scale = 20 / (125 + 45 + 20 + 200)
    env._world.units["health"][0, 2] -= 50
    assert wait(env).reward[0] == pytest.approx(50 * scale)
    kill(env, 2)
    assert wait(env).reward[0] == pytest.approx((75 + 10) * scale)
    assert wait(env).reward[0] == 0.0
    kill(env, 3)
    out = wait(env)
    assert out.reward[0] == pytest.approx((45 + 10 + 200) * scale)
    assert out.battle_won[0]
    assert (out.dead_allies[0], out.dead_enemies[0]) == (0, 2)


@pytest.mark.parametrize(("absolute", "sign"), [(True, 1.0), (False, 0.0)])
def test_enemy_regeneration_pays_in_smac_unless_switched_off(arena, absolute, sign):
    env = arena(["marine"], ["stalker"], [(4, 4), (30, 30)], reward_absolute=absolute)
    env._world.units["shield"][0, 1] -= 40
    assert wait(env).reward[0] > 0
    env._world.units["unhurt"][0, 1] = 200
    expected = sign * 2 / 2 * 20 / (160 + 10 + 200)  # half a second at 2 per second
    assert wait(env).reward[0] == pytest.approx(expected)


def test_smacv2_clips_at_zero():
    env = make("protoss_3_vs_3", 8)
    env.reset(np.arange(8, dtype=np.uint64))
    env._world.units["seen_life"][:, 3:] -= 5  # as if they had regenerated
    assert (wait(env).reward == 0).all()


def test_own_losses_count_where_asked(arena):
    at = [(10, 16), (10, 18), (30, 2)]
    env = arena(["marine", "marine"], ["marauder"], at, reward_only_positive=False)
    env._world.units["health"][0, 0] -= 5
    kill(env, 1)
    expected = -0.5 * (5 + 45 + 10) * 20 / (125 + 10 + 200)
    assert wait(env).reward[0] == pytest.approx(expected)


def test_sparse_and_unscaled_rewards(arena):
    at = [(10, 16), (30, 2)]
    for winner, reward in ((0, 1.0), (1, -1.0)):
        env = arena(["marine"], ["marine"], at, reward_sparse=True, reward_scale=False)
        env._world.units["health"][0, 1] -= 5
        assert wait(env).reward[0] == 0
        kill(env, 1 - winner)
        assert wait(env).reward[0] == reward
    env = arena(["marine"], ["marine"], at, reward_scale=False, reward_defeat=-7.0)
    kill(env, 0)
    assert wait(env).reward[0] == -7


def test_first_draw_fixes_the_scale_per_slot():
    options = EnvOptions(max_reward="first_draw")
    env = make("protoss_5_vs_5", 2, options=options)
    seeds = np.array([1, 2], np.uint64)
    env.reset(seeds)
    enemies = env.units()[:, 5:]
    first = (enemies["health"] + enemies["shield"]).sum(1) + 250
    env.reset(seeds + np.uint64(10))
    np.testing.assert_allclose(env._world.battles["max_reward"], first)


def test_options_name_their_choices():
    with pytest.raises(BenchmarkError, match="expected, first_draw"):
        EnvOptions(max_reward="second_draw")
    with pytest.raises(BenchmarkError, match="reward_scale_rate=0: must be positive"):
        EnvOptions(reward_scale_rate=0)
    with pytest.raises(BenchmarkError, match="at least one battle"):
        make("3m", 0)


# -- the end --------------------------------------------------------------------------------


def end(out):
    return bool(out.terminated[0]), bool(out.truncated[0]), bool(out.battle_won[0])


WON, LOST, DRAWN = (True, False, True), (True, False, False), (True, False, False)
RUNNING, TIMED_OUT = (False, False, False), (False, True, False)


def test_won_lost_drawn(arena):
    for victims, expected in (((1,), WON), ((0,), LOST), ((0, 1), DRAWN), ((), RUNNING)):
        env = arena(["marine"], ["marine"], [(4, 4), (30, 30)], reward_scale=False)
        kill(env, *victims)
        out = wait(env)
        assert end(out) == expected
        # A draw pays neither bonus: only the killed enemy.
        assert out.reward[0] == {(1,): 255, (0, 1): 55}.get(victims, 0)


def test_the_limit_is_no_termination(arena):
    env = arena(["marine"], ["marine"], [(4, 4), (30, 30)], limit=3)
    assert [end(wait(env)) for _ in range(3)] == [RUNNING, RUNNING, TIMED_OUT]
    env = arena(["marine"], ["marine"], [(4, 4), (30, 30)], limit=3)
    wait(env)
    wait(env)
    kill(env, 1)
    assert end(wait(env)) == WON  # both at once: the battle is decided


MEDICS = ["marine", "medivac"], ["marine", "medivac", "medivac"]
PLACES = [(4, 4), (4, 6), (30, 30), (30, 28), (30, 26)]


def test_medivacs_alone_have_lost(arena):
    for victims, expected in (
        ((0,), LOST),  # our medivac alone
        ((2, 3), WON),  # exactly one enemy, a medivac
        ((2,), RUNNING),  # SMAC's client does not see that two medivacs are left
        ((0, 1, 2, 3, 4), LOST),  # a simultaneous wipe-out is tested for the allies first
        ((0, 2, 3), LOST),
    ):
        env = arena(*MEDICS, PLACES)
        kill(env, *victims)
        assert end(wait(env)) == expected, victims


def test_smacv2_sees_that_only_medivacs_are_left():
    env = make("terran_10_vs_11", 64)
    env.reset(np.arange(64, dtype=np.uint64))
    units = env._world.units
    medivac = units["type"] == 5
    two = np.flatnonzero(medivac[:, 10:].sum(1) == 2)
    assert len(two)
    dying = ~medivac
    dying[:, :10] = False
    units["alive"][dying] = False
    units["health"][dying] = 0
    assert wait(env).battle_won[two].all()
