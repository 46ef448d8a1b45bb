"""What single units do: every number here is a fact of the game data."""

import math

import numpy as np
import pytest

from benchmark.envs import EnvOptions, make
from benchmark.envs.simulator.records import ATTACK, IDLE
from benchmark.envs.simulator.spawn import _surround
from benchmark.envs.simulator.units import TYPE_ID

STOP, NORTH, SOUTH, EAST, WEST, ATTACK_0 = 1, 2, 3, 4, 5, 6


def life(env, index):
    unit = env.units()[0, index]
    return float(unit["health"] + unit["shield"])


def change(env, index, **fields):
    for name, value in fields.items():
        env._world.units[name][0, index] = value


# -- walking -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "per_step"),
    [
        ("marine", 1.125), ("marauder", 1.125), ("stalker", 1.47655), ("zealot", 1.125),
        ("colossus", 1.125), ("zergling", 1.47655), ("baneling", 1.25), ("hydralisk", 1.125),
    ],
)  # fmt: skip
@pytest.mark.parametrize("move", [NORTH, SOUTH, EAST, WEST])
def test_walking_speed(arena, act, kind, per_step, move):
    env = arena([kind], ["marine"], [(16, 16), (1, 1)])
    for steps in (1, 2):
        act(env, move)
        u = env.units()[0, 0]
        dx, dy = {NORTH: (0, 1), SOUTH: (0, -1), EAST: (1, 0), WEST: (-1, 0)}[move]
        assert (u["x"] - 16, u["y"] - 16) == pytest.approx(
            (steps * per_step * dx, steps * per_step * dy), abs=1e-9
        )


def test_medivacs_accelerate(arena, act):
    env = arena(["marine", "medivac"], ["marine"], [(1, 1), (4, 16), (30, 30)])
    way = []
    for _ in range(6):
        before = env.units()[0, 1]["x"]
        act(env, STOP, EAST)
        way.append(env.units()[0, 1]["x"] - before)
    # 2.3125 / s^2 for one step of half a second: the n-th of 8 loops at n accelerations.
    assert way[0] == pytest.approx(2.3125 / 256 * 36)
    assert way[-1] == pytest.approx(2.75 / 2)


def test_the_strip_has_walls(arena, act):
    env = arena(["zealot"], ["marine"], [(16, 22.2), (4, 9)], terrain="strip")
    available = []
    for _ in range(6):
        moves = env._out.available[0, 0]
        available.append(bool(moves[NORTH]))
        act(env, NORTH if moves[NORTH] else STOP)
    assert available[0]
    assert not available[-1]  # the cell one further north is blocked
    assert env.units()[0, 0]["y"] <= 25 - 0.34375 + 1e-9


def test_units_on_one_place_part(arena, act):
    env = arena(["zealot", "zealot"], ["marine"], [(16, 16), (16, 16), (1, 1)])
    act(env, STOP, STOP)
    x, y = env.units()["x"][0], env.units()["y"][0]
    need = 2 * env._world.types["separation"][TYPE_ID["zealot"]]
    assert (abs(x[1] - x[0]), y[1] - y[0]) == pytest.approx((need, 0))


# -- weapons -------------------------------------------------------------------------------

# attacker, victim, loss of the victim from one attack while its shield holds, and without shield
DAMAGE = [
    ("marine", "marine", None, 6),
    ("marine", "stalker", 6, 5),
    ("marine", "zealot", 6, 5),
    ("marauder", "stalker", 20, 19),
    ("marauder", "marine", None, 10),
    ("marauder", "marauder", None, 19),
    ("stalker", "marauder", None, 13),
    ("stalker", "zealot", 10, 9),
    ("stalker", "medivac", None, 13),
    ("zealot", "marine", None, 16),
    ("zealot", "stalker", 16, 14),
    ("colossus", "stalker", 40, 38),
    ("zergling", "zealot", 5, 4),
    ("hydralisk", "stalker", 12, 11),
    ("hydralisk", "zergling", None, 12),
    ("baneling", "marine", None, 35),
    ("baneling", "stalker", 20, 19),
]


@pytest.mark.parametrize(("attacker", "victim", "shielded", "bare"), DAMAGE)
def test_damage(arena, act, attacker, victim, shielded, bare):
    for loss, keeps_shield in ((shielded, True), (bare, False)):
        if loss is None:
            continue
        # Contact distance: everybody is in range. A second enemy keeps the battle going.
        enemies = [victim, "marine"] if victim == "medivac" else [victim]
        env = arena([attacker], enemies, [(16, 16), (17, 16), (1, 1)][: 1 + len(enemies)])
        if not keeps_shield:
            change(env, 1, shield=0)
        before = life(env, 1)
        act(env, ATTACK_0)
        act(env, STOP)  # lets a missile arrive
        regenerated = 2 * 0.2734 / 2 if victim == "zergling" else 0  # one second, partly capped
        assert before - life(env, 1) == pytest.approx(loss, abs=regenerated)


def test_armour_lets_at_least_half_a_point_through(arena, act):
    env = arena(["zealot"], ["zealot"], [(16, 16), (17, 16)])
    env._world.types["armour"][TYPE_ID["zealot"]] = 100
    change(env, 1, shield=0)
    act(env, ATTACK_0)
    assert life(env, 1) == pytest.approx(99)  # two blades


def test_a_hit_that_breaks_the_shield_meets_armour_with_the_rest(arena, act):
    env = arena(["marine"], ["stalker"], [(16, 16), (17, 16)])
    change(env, 1, shield=2)
    act(env, ATTACK_0)
    assert life(env, 1) == pytest.approx(80 - (6 - 2 - 1))


# Loops from attack to attack: the period, whose fraction of a loop is not lost.
PERIODS = [
    ("marine", 13.7728), ("marauder", 24), ("stalker", 23.04), ("zealot", 19.2),
    ("colossus", 35.2), ("zergling", 11.136), ("hydralisk", 13.28),
]  # fmt: skip


def count_attacks(arena, act, kind, steps, **options):
    """Attacks in that many steps on a victim that never dies."""
    env = arena([kind], ["marauder"], [(16, 16), (17, 16)], missile_flight=False, **options)
    lost = 0.0
    for _ in range(steps):
        change(env, 1, health=125)
        act(env, ATTACK_0)
        lost += 125 - life(env, 1)
    per_attack = {
        "marine": 5, "marauder": 19, "stalker": 13, "zealot": 14, "colossus": 38, "zergling": 4,
        "hydralisk": 11,
    }  # fmt: skip
    return lost / per_attack[kind]


@pytest.mark.parametrize(("kind", "loops"), PERIODS)
def test_cooldown_period(arena, act, kind, loops):
    attacks = count_attacks(arena, act, kind, 63, cooldown_jitter=False)
    assert attacks == pytest.approx(63 * 8 / loops, abs=1)
    assert 63 * 8 / attacks == pytest.approx(loops, rel=0.05)


def test_cooldown_jitter_is_minus_one_to_two_loops(arena, act):
    attacks = count_attacks(arena, act, "marine", 1000)
    # The period and the mean jitter; the recording of 3m has a median of 14.28.
    assert 8000 / attacks == pytest.approx(13.7728 + 0.5, abs=0.1)
    env = arena(["marine"], ["marauder"], [(16, 16), (17, 16)])
    act(env, ATTACK_0)  # later shots need no aiming
    seen = []
    for _ in range(300):
        change(env, 0, cooldown=0)
        change(env, 1, health=125)
        act(env, ATTACK_0)
        # Shot in the first loop, 8 loops ago.
        seen.append(env.units()[0, 0]["cooldown"] + 1 + 7)
    assert min(seen) == pytest.approx(12.7728, abs=0.1)
    assert max(seen) == pytest.approx(15.7728, abs=0.1)


@pytest.mark.parametrize(
    ("east", "north", "loop"), [(1, 0, 2), (0.8, 0.6, 2), (0, 1, 3), (-1, 0, 3)]
)
def test_a_new_order_shoots_in_loop_two_and_a_turn_costs_one_more(arena, act, east, north, loop):
    env = arena(["marine"], ["marauder"], [(16, 16), (18, 16)], cooldown_jitter=False)
    change(env, 0, face_x=east, face_y=north)
    act(env, ATTACK_0)
    assert env.units()[0, 0]["cooldown"] == pytest.approx(13.7728 - (9 - loop))
    act(env, STOP)
    change(env, 0, cooldown=0)
    act(env, ATTACK_0)  # another new order; it looks at its target by now
    assert env.units()[0, 0]["cooldown"] == pytest.approx(13.7728 - 7)


def test_who_walks_into_range_shoots_a_loop_later(arena, act):
    # Range 5.75 between centres: two loops of walking, aim in the third, shot in the fourth.
    env = arena(["marine"], ["marine"], [(16, 16), (21.95, 16)], cooldown_jitter=False)
    act(env, ATTACK_0)
    assert env.units()[0, 0]["x"] == pytest.approx(16.2)
    assert env.units()[0, 0]["cooldown"] == pytest.approx(13.7728 - 5)


@pytest.mark.parametrize(
    ("kind", "chased", "loop"), [("marine", False, 1), ("marine", True, 2), ("zealot", True, 1)]
)
def test_who_acts_by_itself_waits_after_a_walk_only(arena, act, kind, chased, loop):
    env = arena(["marauder"], [kind], [(16, 16), (17, 16)], awake=True, cooldown_jitter=False)
    change(env, 1, face_x=-1, face_y=0, chased=chased, target=0)
    act(env, STOP)
    period = {"marine": 13.7728, "zealot": 19.2}[kind]
    assert env.units()[0, 1]["cooldown"] == pytest.approx(period - (9 - loop))


def test_leaving_before_the_damage_point_cancels_the_shot(arena, act):
    for second, loss in ((ATTACK_0, 12), (WEST, 0)):
        env = arena(["hydralisk"], ["marine"], [(16, 16), (18, 16)])
        change(env, 0, cooldown=6)  # ready in loop 7; 0.208 s later is in the next env step
        act(env, ATTACK_0)
        assert life(env, 1) == 45
        act(env, second)
        assert 45 - life(env, 1) == loss
        assert (env.units()[0, 0]["cooldown"] > 0) == (loss > 0)


@pytest.mark.parametrize(("gap", "victim", "loops"), [
    (0.4, "marauder", 4), (0.6, "marauder", 3), (0.4, "medivac", 3),
])  # fmt: skip
def test_a_hydralisk_strikes_who_is_close_with_another_weapon(arena, act, gap, victim, loops):
    """The data's HydraliskMelee: damage point 0.3 s for 0.208 s, no missile, not against flyers."""
    away = {"marauder": 0.625 + 0.5625, "medivac": 0.625 + 0.75}[victim] + gap
    places = [(16, 16), (16 + away, 16), (29, 29)]
    env = arena(["hydralisk"], [victim, "marine"], places, cooldown_jitter=False)
    env._world.types["missile_speed"][TYPE_ID["hydralisk"]] = 0.01  # it never arrives
    before = life(env, 1)
    act(env, ATTACK_0)
    period, shot = 13.28, 3 + loops  # a new order shoots in loop 2, after a turn in loop 3
    assert env.units()[0, 0]["cooldown"] == pytest.approx(period - loops - (8 - shot) - 1)
    assert (life(env, 1) < before) == (loops == 4)


def test_missiles_take_time_and_outlive_their_shooter(arena, act):
    # Range 6 edge to edge is 7 cells between the centres: a loop until the weapon is ready, 2 of
    # damage point and 6 of flight at 18.75 per second the missile arrives in the second env step.
    for flight, lost_after_one_step in ((True, 0), (False, 10)):
        env = arena(
            ["stalker"] * 2, ["marine"], [(16, 16), (1, 1), (23, 16)], missile_flight=flight
        )
        change(env, 0, autonomous=True, order=ATTACK, target=2, cooldown=1)
        act(env, STOP, STOP)
        assert 45 - life(env, 2) == lost_after_one_step
        if flight:
            assert env.units()[0, 0]["missile_target"] == 2
            change(env, 0, alive=False, health=0)
            act(env, STOP, STOP)
            assert 45 - life(env, 2) == 10


def test_hits_on_the_dying_are_wasted(arena, act):
    places = [(16, 15), (16, 17), (21.5, 16)]
    for flight in (True, False):
        env = arena(["stalker"] * 2, ["marine"] * 2, [*places, (30, 30)], missile_flight=flight)
        change(env, 2, health=5)
        act(env, ATTACK_0, ATTACK_0)
        act(env, STOP, STOP)
        shots = int((env.units()[0, :2]["cooldown"] > 0).sum())
        assert not env.units()[0, 2]["alive"]
        assert shots == (2 if flight else 1)


def test_zealots_hit_twice(arena, act):
    env = arena(["zealot"], ["marine"], [(16, 16), (17, 16)])
    change(env, 0, cooldown=5)  # strikes in loop 6, again 0.28 s = 5 loops later
    act(env, ATTACK_0)
    assert life(env, 1) == 45 - 8
    act(env, ATTACK_0)
    assert life(env, 1) == 45 - 16


@pytest.mark.parametrize("turn", [1, 1j, -1])
def test_colossus_burns_a_line_across_its_fire(arena, act, turn):
    # Marines (radius .375) left and right of the target, behind it, and just off the line's ends;
    # places as complex numbers around the middle of the map.
    at = [-5, 0, 1.2j, -1.7j, 0.9, 2j, -3.5j]
    places = [16 + 16j + turn * place for place in at]
    env = arena(["colossus"], ["marine"] * 6, [(place.real, place.imag) for place in places])
    act(env, ATTACK_0)
    losses = [45 - life(env, k) for k in range(1, 7)]
    assert losses == [40, 40, 40, 0, 0, 0]  # both lances hit everybody on the line


@pytest.mark.parametrize("dies", ["attacks", "killed"])
def test_banelings_explode_when_they_attack_and_when_killed(arena, act, dies):
    at = [(16, 16), (16.7, 16), (16, 18.4), (16, 13.2), (13.2, 16)]
    env = arena(["baneling"], ["marine", "marauder", "zealot", "marine"], at)
    if dies == "attacks":
        act(env, ATTACK_0)
    else:
        change(env, 1, autonomous=True, cooldown=0)  # the marine next to it shoots
        change(env, 0, health=1)
        act(env, STOP)
    units = env.units()[0]
    assert not units[0]["alive"]
    # 20, +15 against light, within 2.2 cells of the victim's edge; armour and shields count.
    lost = [45 - life(env, 1), 125 - life(env, 2), 150 - life(env, 3), 45 - life(env, 4)]
    assert lost == [35, 19, 0, 0]


def test_explosions_stay_on_the_ground(arena, act):
    env = arena(["baneling"], ["marine", "medivac"], [(16, 16), (16.7, 16), (16.7, 16)])
    act(env, ATTACK_0)
    assert [life(env, k) for k in (1, 2)] == [45 - 35, 150]


def test_banelings_set_each_other_off(arena, act):
    at = [(16, 16), (16.8, 16), (18.5, 16), (26, 16)]
    env = arena(["baneling", "marine"], ["baneling", "zealot"], [at[0], at[2], at[1], at[3]])
    change(env, 2, health=10)  # dies of the first explosion, and takes the marine with it
    act(env, ATTACK_0, STOP)
    alive = env.units()[0]["alive"]
    assert alive.tolist() == [False, True, False, True]
    assert life(env, 1) == 45 - 35


def test_smac_lets_short_weapons_walk_into_range(arena, act):
    env = arena(["zealot"], ["marauder"], [(10, 16), (15.9, 16)])
    assert env._out.available[0, 0, ATTACK_0]
    steps = 0
    while life(env, 1) == 125:
        act(env, ATTACK_0)
        steps += 1
    # 5.9 cells less both radii and 0.1 of range, at 1.125 per step.
    assert steps == math.ceil((5.9 - 0.5 - 0.5625 - 0.1) / 1.125)


def test_marauders_cannot_hit_flyers(arena, act):
    env = arena(["marauder"], ["marine", "medivac"], [(16, 16), (1, 1), (18, 16)])
    assert env._out.available[0, 0, ATTACK_0 + 1]  # the client does not know
    act(env, EAST)
    before = env.units()[0, 0]["x"]
    act(env, ATTACK_0 + 1)  # refused: the unit goes on with what it did
    assert env.units()[0, 0]["x"] > before
    assert life(env, 2) == 150


# -- regeneration and healing ----------------------------------------------------------------


def test_shields_regenerate_after_ten_seconds(arena, act):
    env = arena(["marine"], ["stalker"], [(16, 16), (18, 16)])
    act(env, ATTACK_0)
    assert life(env, 1) == 154
    hurt_for = env.units()[0, 1]["unhurt"]
    quiet = 0
    while life(env, 1) == 154:
        act(env, STOP)
        quiet += 1
    assert hurt_for + quiet * 8 == pytest.approx(160, abs=8)
    before = life(env, 1)
    act(env, STOP)
    assert life(env, 1) - before == pytest.approx(1.0)  # 2 per second


def test_zerg_regenerate_health(arena, act):
    env = arena(["hydralisk"], ["marine"], [(16, 16), (1, 1)])
    change(env, 0, health=50)
    act(env, STOP)
    assert life(env, 0) == pytest.approx(50 + 0.2734 / 2)
    for _ in range(1000):
        act(env, STOP)
    assert life(env, 0) == 80


def test_medivacs_heal_for_energy(arena, act):
    env = arena(["marine", "medivac"], ["marine"], [(16, 16), (18, 16), (1, 1)])
    change(env, 0, health=10)
    act(env, STOP, ATTACK_0)  # slot 0 heals ally 0
    assert life(env, 0) == pytest.approx(10 + 9 / 2)
    assert env.units()[0, 1]["energy"] == pytest.approx(50 - 4.5 * 0.33 + 0.5625 / 2)
    for _ in range(20):
        act(env, STOP, ATTACK_0)
    assert life(env, 0) == 45
    change(env, 0, health=10)
    change(env, 1, energy=0)
    act(env, STOP, ATTACK_0)
    assert life(env, 0) < 10 + 1.5  # only what regenerates in the meantime


def test_medivacs_heal_one_friend_after_the_other(arena, act):
    at = [(1, 1), (20, 16), (21, 16), (20.5, 17)]
    env = arena(["marine"], ["marine", "marine", "medivac"], at)
    change(env, 3, autonomous=True, energy=50)
    for index, health in ((1, 35), (2, 40)):
        change(env, index, health=health)
    for _ in range(4):
        act(env, STOP)
    assert [life(env, index) for index in (1, 2)] == [45, 45]


def test_medivacs_do_not_heal_flyers_or_far_friends(arena):
    env = arena(["marine", "marine", "medivac", "medivac"], ["marine"],
                [(16, 16), (25, 16), (18, 16), (18, 18), (1, 1)])  # fmt: skip
    available = env._out.available[0, 2, ATTACK_0:]
    assert available.tolist()[:4] == [True, False, False, False]


# -- the engine's units ------------------------------------------------------------------------


def test_agents_never_fight_without_an_order(arena, act):
    env = arena(["marine"], ["marauder"], [(16, 16), (18, 16)], awake=True)
    act(env, STOP)
    act(env, STOP)
    assert life(env, 0) < 45
    assert life(env, 1) == 125


def test_agents_chase_until_the_target_dies(arena, act):
    env = arena(["zealot"], ["marine"], [(10, 16), (15, 16)])
    act(env, ATTACK_0)
    for _ in range(30):
        if not env._out.available[0, 0, ATTACK_0]:
            break
        act(env, ATTACK_0)
    assert not env.units()[0, 1]["alive"]


@pytest.mark.parametrize(("gap", "acquires"), [(5.45, True), (5.55, False)])
def test_scan_range_is_five_and_a_half_edge_to_edge(arena, act, gap, acquires):
    env = arena(["marine"], ["zealot"], [(10, 16), (10 + gap + 0.875, 16)], awake=True)
    act(env, STOP)
    assert (env.units()[0, 1]["target"] == 0) == acquires


def test_who_attacks_comes_before_who_is_near(arena, act):
    env = arena(["marine", "marine"], ["marauder"], [(11, 16), (14, 16), (16, 16)], awake=True)
    act(env, STOP, STOP)
    assert env.units()[0, 2]["target"] == 1
    act(env, ATTACK_0, STOP)
    assert env.units()[0, 2]["target"] == 0
    # It is kept while it attacks, although the other attacks too.
    act(env, ATTACK_0, ATTACK_0)
    assert env.units()[0, 2]["target"] == 0


def test_units_look_for_targets_every_eight_loops():
    """At times of their own."""
    env = make("27m_vs_30m", 64)
    env.reset(np.arange(64, dtype=np.uint64))
    assert np.bincount(env.units()["scan"][:, 27:].ravel())[1:9].min() > 150


def test_a_unit_stands_through_its_backswing(arena, act):
    """A marine waits 12 loops after a shot before it walks after its target."""
    env = arena(["marine"], ["marine"], [(16, 16), (21, 16)], awake=True)
    act(env, STOP)
    change(env, 0, x=10.0)  # out of range now
    before = env.units()[0, 1]["x"]
    act(env, STOP)
    walked = before - env.units()[0, 1]["x"]
    act(env, STOP)
    assert 0.3 <= walked / 0.140625 <= 7  # shot in loop 2, free in loop 14
    assert before - walked - env.units()[0, 1]["x"] > 0.9


def test_a_new_order_ends_the_backswing(arena, act):
    env = arena(["marine"], ["marine"], [(16, 16), (20, 16)])
    act(env, ATTACK_0)
    act(env, WEST)
    assert env.units()[0, 0]["x"] == pytest.approx(16 - 1.125)


def test_a_new_order_loses_the_second_blade(arena, act):
    for order, loss in ((ATTACK_0, 16), (WEST, 8), (STOP, 8)):
        env = arena(["zealot"], ["marauder"], [(16, 16), (17, 16)])
        env._world.types["armour"][:] = 0
        change(env, 0, cooldown=5)  # strikes in loop 6, again 0.28 s = 5 loops later
        act(env, ATTACK_0)
        act(env, order)
        assert 125 - life(env, 1) == loss


def test_attack_move_ends_idle_at_the_point(arena, act):
    env = arena(["marine"], ["zealot"], [(2, 30), (20, 5)], awake=True, march_to=(10, 5))
    for _ in range(12):
        act(env, STOP)
    zealot = env.units()[0, 1]
    assert (zealot["x"], zealot["y"]) == pytest.approx((10, 5))
    assert zealot["order"] == IDLE
    for _ in range(20):
        act(env, STOP)
    assert env.units()[0, 1]["x"] == pytest.approx(10)


def test_smacv2_sends_idle_enemies_to_the_nearest_ally():
    env = make("protoss_5_vs_5", 16)
    env.reset(np.arange(16, dtype=np.uint64))
    env.step(np.where(env._out.available[:, :, STOP], STOP, 0))
    units = env.units()
    enemies = units[:, 5:]
    assert (enemies["order"] == ATTACK).all()
    assert (enemies["target"] < 5).all()


def test_enemy_medivacs_fly_to_the_attack_point():
    """Their attack-move is a scan-move: they do not wait for their army."""
    env = make("MMM2")
    env.reset(np.zeros(1, np.uint64))
    for _ in range(14):
        env.step(np.where(env._out.available[:, :, STOP], STOP, 0))
    medivac = env.units()[0, 10:]
    medivac = medivac[medivac["type"] == TYPE_ID["medivac"]][0]
    assert medivac["alive"] < 1 or np.hypot(medivac["x"] - 9, medivac["y"] - 16) < 8


@pytest.mark.parametrize(("option", "moves"), [("follow", True), ("stay", False)])
def test_smacv2s_enemy_medivacs_follow_or_stay(option, moves):
    env = make("terran_10_vs_11", 64, options=EnvOptions(enemy_medivac=option))
    env.reset(np.arange(64, dtype=np.uint64))
    before = env.units()
    for _ in range(4):
        env.step(np.where(env._out.available[:, :, STOP], STOP, 0))
    after = env.units()
    quiet = (before["type"] == TYPE_ID["medivac"]) & (before["team"] == 1) & (after["target"] < 0)
    away = np.hypot(after["x"] - before["x"], after["y"] - before["y"])[quiet & after["alive"]]
    assert ((away > 1).mean() > 0.1) == moves


# -- starting ----------------------------------------------------------------------------------


def test_3m_starts_as_recorded():
    """Both sides in the same pattern; enemies have walked one loop and come in four orders."""
    env = make("3m", 400)
    env.reset(np.arange(400, dtype=np.uint64))
    units = env.units()
    places = [(9, 15.3125), (9, 16), (9.6875, 16)]
    np.testing.assert_allclose(np.stack([units["x"], units["y"]], 2)[0, :3], places)
    enemies = np.stack([units["x"], units["y"]], 2)[:, 3:] - (23 - 0.140625, 16)
    pattern = {(0.0, -0.69): "S", (0.0, 0.0): "C", (0.69, 0.0): "E"}
    rounded = np.round(enemies, 2) + 0.0
    orders = ["".join(pattern[tuple(place)] for place in battle) for battle in rounded]
    names, counts = np.unique(orders, return_counts=True)
    assert names.tolist() == ["CES", "CSE", "ESC", "SEC"]
    assert counts.min() > 70


def test_enemies_walk_in_parallel():
    env = make("3m", 4)
    env.reset(np.arange(4, dtype=np.uint64))
    before = env.units()
    for _ in range(4):
        env.step(np.where(env._out.available[:, :, STOP], STOP, 0))
    after = env.units()
    for axis in ("x", "y"):
        way = (after[axis] - before[axis])[:, 3:]
        np.testing.assert_allclose(way, way[:, :1].repeat(3, 1), atol=1e-9)


@pytest.mark.parametrize(
    "name",
    ["3m", "MMM2", "27m_vs_30m", "corridor", "6h_vs_8z", "protoss_10_vs_11", "terran_10_vs_11"],
)
def test_nobody_starts_inside_another_or_a_wall(name):
    env = make(name, 64)
    env.reset(np.arange(64, dtype=np.uint64))
    units, types = env.units(), env._world.types
    if not env.map.generated:  # where the map creates them: the enemies have walked a loop since
        units = env._world.layout[None]
    separation, plane = types["separation"][units["type"]], types["plane"][units["type"]]
    distance = np.hypot(
        units["x"][:, :, None] - units["x"][:, None], units["y"][:, :, None] - units["y"][:, None]
    )
    need = separation[:, :, None] + separation[:, None]
    same = plane[:, :, None] == plane[:, None]
    pairs = ~np.eye(units.shape[1], dtype=bool)
    # 11/12 of the data's separation, which is what the table holds.
    assert (distance >= need * 0.99)[same & pairs].all()
    walks = plane != 1
    assert env.walkable[units["x"].astype(int), units["y"].astype(int)][walks].all()


def test_smacv2_start_positions_and_teams():
    env = make("terran_10_vs_11", 2000)
    env.reset(np.arange(2000, dtype=np.uint64))
    units = env.units()
    names = units["type"]
    share = [(names[:, :10] == TYPE_ID[n]).mean() for n in ("marine", "marauder", "medivac")]
    np.testing.assert_allclose(share, [0.45, 0.45, 0.1], atol=0.01)
    assert (names[:, 20] != TYPE_ID["medivac"]).all()  # the enemy in excess
    teams = np.sort(names[:, :10], 1), np.sort(names[:, 10:20], 1)
    np.testing.assert_array_equal(*teams)
    # Who is drawn outside the arena of 2 .. 30 starts at its edge.
    to_edge = np.minimum.reduce([units["x"], units["y"], 32 - units["x"], 32 - units["y"]]) - 2
    free = to_edge - env._world.types["separation"][names]
    assert free.min() > -0.001
    assert (free < 0.001).mean() > 0.1
    surrounded = np.hypot(units["x"][:, :10] - 16, units["y"][:, :10] - 16).max(1) < 4
    assert surrounded.mean() == pytest.approx(0.5, abs=0.04)
    diagonal = np.abs(np.abs(units["x"] - 16) - np.abs(units["y"] - 16))[surrounded][:, 10:]
    assert np.median(diagonal) < 1  # but for nudges
    reflected = units[~surrounded]
    assert (reflected["x"][:, :10] < 17).all()  # below 15 but for the nudge
    assert (reflected["x"][:, 10:] > 15).all()
    mirrored = np.hypot(
        32 - reflected["x"][:, None, :10] - reflected["x"][:, 10:20, None],
        reflected["y"][:, None, :10] - reflected["y"][:, 10:20, None],
    ).min(2)
    assert (mirrored < 0.5).mean() > 0.9  # all but who were nudged
    quarters = [0.25, 0.5, 0.75]
    np.testing.assert_allclose(np.quantile(reflected["y"][:, :10], quarters), [8, 16, 24], atol=0.5)
    np.testing.assert_allclose(np.quantile(reflected["y"][:, 20], quarters), [8, 16, 24], atol=1.5)
    np.testing.assert_allclose(np.quantile(reflected["x"][:, 20], quarters), [20, 24, 28], atol=0.8)


def test_smacv2_surrounds_with_one_to_four_groups_on_the_diagonals():
    """Before units are moved apart. Sizes are multinomial with equal weights, so that some of four
    groups stay empty: of 11 enemies all four have some in 0.83 of the battles."""
    env, n = make("terran_10_vs_11", 4000), 10
    env.reset(np.arange(4000, dtype=np.uint64))
    world = env._world
    groups, first, corners, distance = [], [], [], []
    for units, battle in zip(world.units, world.battles, strict=True):
        _surround(units, battle, world.rules[0])
        assert (units["x"][:n] == 16).all()
        assert (units["y"][:n] == 16).all()
        offset = np.stack([units["x"][n:] - 16, units["y"][n:] - 16], 1)
        np.testing.assert_allclose(np.abs(offset[:, 0]), np.abs(offset[:, 1]), atol=1e-5)
        places = np.unique(offset, axis=0)
        assert len({tuple(np.sign(place)) for place in places}) == len(places)  # distinct corners
        groups.append(len(places))
        first.append((offset == offset[0]).all(1).sum())
        corners += [tuple(np.sign(place)) for place in places]
        distance += list(np.abs(places[:, 0]))
    groups, first = np.array(groups), np.array(first)
    shares = np.bincount(groups, minlength=5)[1:] / len(groups)
    np.testing.assert_allclose(shares, [0.25, 0.26, 0.28, 0.21], atol=0.03)
    shares = [corners.count(corner) / len(corners) for corner in set(corners)]
    np.testing.assert_allclose(shares, [0.25] * 4, atol=0.02)
    np.testing.assert_allclose(
        np.quantile(distance, [0, 0.25, 0.5, 0.75, 1]), [2, 5.5, 9, 12.5, 16], atol=0.4
    )
    assert first[groups == 3].mean() == pytest.approx(11 / 3, abs=0.3)
