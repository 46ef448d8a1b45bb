"""Whom units choose, help, heal and follow; the rules said a second time, on drawn battles."""

import dataclasses

import numpy as np
import pytest

from benchmark.envs.maps import MAPS
from benchmark.envs.simulator.engine import Engine
from benchmark.envs.simulator.records import (
    ATTACK,
    ATTACK_MOVE,
    FOLLOW,
    HEAL,
    IDLE,
    MOVE,
    MOVING,
    STANDING,
    UNIT_DTYPE,
)
from benchmark.envs.simulator.units import TYPE_ID
from tests.envs.loops import battle, drawn_place, fact, place_of, put, velocity_of

#: Long enough for no weapon to be ready and nobody to look for targets.
LATER = 99


def gap(u, v):
    """From edge to edge."""
    return abs(place_of(u) - place_of(v)) - fact(u, "radius") - fact(v, "radius")


def can_hit(u, v):
    return fact(u, "damage") > 0 and (fact(u, "hits_air") or not fact(v, "flies"))


def threatens(v, u, is_target):
    """Whether v draws the fire of u, which is unit 0."""
    if v["target"] == 0 and (v["order"] == ATTACK or v["autonomous"]):
        attacks = v["target_age"] >= 1
    else:  # until a moment ago, and only u's own target
        attacks = is_target and v["left"] == 0 and v["left_age"] < 4
    return fact(v, "heals") > 0 or attacks


def choice(units):
    """The target that unit 0 has after it has looked, among the units of the other team."""
    u, t = units[0], units[0]["target"]
    opponents = [k for k, v in enumerate(units) if v["team"] != u["team"] and v["alive"]]
    seen = [k for k in opponents if gap(u, units[k]) <= fact(u, "scan_range")]
    seen = [k for k in seen if can_hit(u, units[k])]
    threats = {k for k in opponents if threatens(units[k], u, k == t)}
    best = min(seen, key=lambda k: (k not in threats, gap(u, units[k])), default=-1)
    lost = t >= 0 and not units[t]["alive"]
    t = -1 if lost else t
    if (u["windup"] >= 0 and not lost) or u["second_hit"] > 0:  # its attack is not over
        return t
    if best < 0 or t < 0:
        return max(best, t)
    if t in threats:
        return t
    in_reach = [gap(u, units[k]) <= fact(u, "range") for k in (best, t)]
    return best if best in threats or in_reach == [True, False] else t


@pytest.mark.parametrize("kind", ["marine", "zealot", "stalker"])
def test_units_choose_who_threatens_then_who_is_near(kind):
    engine = battle([kind, "zealot"], ["marine", "marine", "zealot", "marauder", "medivac"])
    engine.units["type"][:2] = TYPE_ID[kind], TYPE_ID["zealot"]  # not in the agents' order
    random, units = np.random.default_rng(0), engine.units
    seen = set()
    for _ in range(300):
        units["cooldown"], units["scan"], units["windup"] = LATER, LATER, -1
        units["second_hit"] = units["backswing"] = 0
        for k in range(7):
            put(engine, k, drawn_place(random, 6), alive=k == 0 or random.random() < 0.8)
        for k in range(2, 7):  # some are after unit 0, by an order new or old, or were
            order = ATTACK if random.random() < 0.5 and k < 6 else IDLE
            attacked = random.choice([0, 0, 1]) if order == ATTACK else -1
            put(engine, k, place_of(units[k]), order=order, target=attacked)
            units[k]["target_age"] = random.choice([-1, 1, 9])  # it may grow before unit 0 looks
            units[k]["left"], units[k]["left_age"] = random.choice([0, 1]), random.choice([0, 2, 9])
        target = random.integers(2, 7) if random.random() < 0.6 else -1
        if target >= 0 and not can_hit(units[0], units[target]):
            target = -1
        put(engine, 0, 16 + 16j, autonomous=True, order=random.choice([IDLE, ATTACK_MOVE]))
        put(engine, 0, 16 + 16j, target=target, scan=random.choice([0, 1]))
        if random.random() < 0.2:
            units[0]["windup" if random.random() < 0.5 else "second_hit"] = 2
        expected, kept = choice(units.copy()), target
        engine.play(1)
        assert units[0]["target"] == expected
        seen.add((kept >= 0, expected == kept, expected >= 0))
    assert len(seen) == 5  # with and without a target before, and what became of it


def test_a_target_that_stops_attacking_is_kept_for_a_moment():
    """Though another attacks too."""
    engine = battle(["marine", "marine"], ["marine"])
    units = engine.units
    for agent, place in ((0, 13 + 16j), (1, 13 + 18j)):
        put(engine, agent, place, cooldown=LATER)
        engine.attack(agent, 2)
        units[agent]["target_age"] = 9
    put(engine, 2, 16 + 16j, autonomous=True, target=0, cooldown=LATER)
    engine.move(0, 13.0, 10.0)
    targets = []
    for _ in range(6):
        units[2]["scan"] = 0
        engine.play(1)
        targets.append(int(units[2]["target"]))
    assert targets[:3] == [0, 0, 0]
    assert targets[4:] == [1, 1]  # loop 4: whether it looks before or after the agent's clock ticks


def test_a_look_is_due_now_and_then_and_for_units_without_an_explicit_order():
    engine = battle(["marine"], ["marine"])
    put(engine, 1, 18 + 16j)
    for order, scan, looks in ((IDLE, 1, True), (IDLE, 2, False), (MOVE, 0, False)):
        put(engine, 0, 16 + 16j, autonomous=True, order=order, target=-1, scan=scan, goal_x=16.0)
        engine.play(1)
        assert (engine.units[0]["target"] == 1) == looks


@pytest.mark.parametrize(
    ("order", "then"), [(ATTACK, IDLE), (HEAL, IDLE), (ATTACK_MOVE, ATTACK_MOVE)]
)
def test_orders_end_with_their_target(order, then):
    engine = battle(["marine"], ["marine", "marine"])
    put(engine, 0, 16 + 16j, order=order, target=1, windup=2, scan=LATER, goal_x=1.0, goal_y=1.0)
    put(engine, 1, 18 + 16j, alive=False)
    put(engine, 2, 25 + 16j)
    engine.play(1)
    unit = engine.units[0]
    assert (unit["target"], unit["windup"], unit["order"], unit["scan"]) == (-1, -1, then, 0)


@pytest.mark.parametrize("begins", [True, False])
def test_friends_of_a_victim_turn_against_its_attacker(begins):
    """Those who are near and free; when an attack begins only those who see the attacker."""
    kinds = ["marine", "marine", "zealot", "stalker", "medivac", "zealot", "marine"]
    random, seen = np.random.default_rng(0), set()
    engine = battle(["marine", "marine"], kinds)
    units, victim = engine.units, 3
    for _ in range(200):
        units["cooldown"], units["scan"], units["delay"] = LATER, LATER, 3
        units["windup"] = units["aimed_at"] = -1
        units["health"], units["missile_target"] = 40, -1
        put(engine, 1, 30 + 30j)
        put(engine, 0, drawn_place(random, 1), order=ATTACK, target=victim)
        units[0]["cooldown"], units[0]["windup"] = 0, -1 if begins else 0
        for k in range(2, 9):
            put(
                engine,
                k,
                drawn_place(random, 7),
                alive=random.random() < 0.9,
                autonomous=random.random() < 0.8,
            )
            units[k]["target"] = 1 if random.random() < 0.2 else -1
            units[k]["order"] = random.choice([IDLE, ATTACK_MOVE, MOVE], p=[0.4, 0.4, 0.2])
            units[k]["stance"] = random.choice([MOVING, STANDING])
        put(engine, victim, place_of(units[0]) + random.uniform(1, 5), alive=True)
        before = units.copy()
        engine.play(1)
        for k in range(2, 9):
            u = before[k]
            near = k == victim or gap(u, before[victim]) <= 4
            free = u["autonomous"] and u["target"] < 0 and u["order"] in (IDLE, ATTACK_MOVE)
            sees = gap(u, before[0]) <= fact(u, "scan_range") or not begins
            helps = bool(u["alive"] and near and free and sees and can_hit(u, before[0]))
            if u["alive"] and fact(u, "damage") > 0:
                assert units[k]["target"] == (0 if helps else u["target"])
                if helps:
                    assert units[k]["target_age"] <= 1
                    walks = u["stance"] == MOVING, u["order"] == ATTACK_MOVE
                    if walks[0] == walks[1]:  # it or the attacker acts first
                        assert units[k]["delay"] == (-1 if all(walks) else 3)
            seen.add(helps)
    assert seen == {True, False}


def test_medivacs_choose_the_weakest_then_the_nearest():
    kinds = ["marine"] * 4 + ["medivac", "stalker"]
    random, seen = np.random.default_rng(0), set()
    for team in (0, 1):
        engine = battle(kinds, kinds[::-1])
        units = engine.units
        mine = np.flatnonzero(units["team"] == team)
        healer = mine[units["type"][mine] == TYPE_ID["medivac"]][0]
        for _ in range(150):
            units["target"], units["autonomous"] = -1, False
            units["health"] = [fact(u, "health") for u in units]
            for k in range(12):
                put(engine, k, drawn_place(random, 8), alive=True)
                if fact(units[k], "damage"):
                    units[k]["health"] *= random.choice([0.2, 0.5, 1.0])
                    units[k]["alive"] = random.random() < 0.8
            put(
                engine,
                healer,
                place_of(units[healer]),
                autonomous=True,
                energy=random.choice([4, 6]),
            )
            before = units.copy()
            u = before[healer]

            share = before["health"] / [fact(v, "health") for v in before]
            patients = [
                k
                for k in mine
                if before[k]["alive"]
                and fact(before[k], "biological")
                and share[k] < 1
                and gap(u, before[k]) <= fact(u, "heal_scan")
                and u["energy"] > 5
            ]
            expected = min(patients, key=lambda k: (share[k], gap(u, before[k])), default=-1)
            engine.play(1)
            assert units[healer]["target"] == expected
            seen.add(len(patients))
    assert seen >= {0, 1, 2, 3}


def test_following_medivacs_fly_to_the_nearest_armed_friend():
    random = np.random.default_rng(0)
    engine = battle(["marine", "marine", "medivac", "medivac"], ["marine"] * 2)
    units = engine.units
    for _ in range(60):
        for k in range(6):
            put(engine, k, drawn_place(random, 12), alive=random.random() < 0.7, vx=0.0, vy=0.0)
        put(engine, 2, 16 + 16j, alive=True, order=FOLLOW)
        before = units.copy()
        friends = [v for v in before[:2] if v["alive"]]
        engine.play(1)
        velocity = velocity_of(units[2])
        if not friends:
            assert velocity == 0
            continue
        goal = min(friends, key=lambda v: abs(place_of(v) - 16 - 16j))
        way = place_of(goal) - 16 - 16j
        expected = way / abs(way) if gap(before[2], goal) > 2 else 0
        assert velocity == pytest.approx(abs(velocity) * expected)
        assert bool(velocity) == bool(expected)


def test_smacv2s_script_sends_idle_units_to_the_nearest_opponent():
    one = dataclasses.replace(MAPS["terran_10_vs_11"], n_agents=4, n_enemies=4)
    kinds = ["marauder", "marine", "medivac", "medivac"]
    units = np.zeros(8, UNIT_DTYPE)
    units["type"], units["team"] = [TYPE_ID[kind] for kind in kinds * 2], [0] * 4 + [1] * 4
    units["x"] = units["y"] = 16
    units["autonomous"] = True
    random, sent = np.random.default_rng(0), 0
    engine = Engine(one, units, 0)
    for _ in range(60):
        engine.units["order"], engine.units["target"], engine.units["scan"] = IDLE, -1, LATER
        engine.units["cooldown"] = LATER
        for k in range(8):
            put(engine, k, complex(*random.uniform(4, 28, 2)), alive=random.random() < 0.8)
        before = engine.units.copy()
        engine.play(8)
        for k, u in enumerate(before):
            if not u["alive"] or not fact(u, "damage"):
                continue
            others = [j for j, v in enumerate(before) if v["team"] != u["team"] and v["alive"]]
            nearest = min(others, key=lambda j: abs(place_of(before[j]) - place_of(u)), default=-1)
            if nearest < 0 or not can_hit(u, before[nearest]):
                assert engine.units[k]["order"] != ATTACK
                continue
            assert (engine.units[k]["order"], engine.units[k]["target"]) == (ATTACK, nearest)
            sent += 1
    assert sent > 100


def test_a_chase_counts_until_the_weapon_points_at_somebody():
    engine = battle(["marine"], ["marine"])
    put(engine, 1, 16 + 16j, autonomous=True, target=0, scan=LATER, cooldown=LATER)
    for distance, chased in ((10, True), (3, False)):
        put(engine, 0, 16 + 16j + distance)
        engine.play(1)
        assert engine.units[1]["chased"] == chased


@pytest.mark.parametrize(("cooldown", "stands"), [(0.5, True), (0.0, False)])
def test_a_weapon_that_has_fired_holds_its_unit_until_it_is_ready(cooldown, stands):
    engine = battle(["marine"], ["marine"])
    put(engine, 0, 26 + 16j)
    put(engine, 1, 16 + 16j, autonomous=True, target=0, scan=LATER, backswing=5, cooldown=cooldown)
    engine.play(1)
    assert (velocity_of(engine.units[1]) == 0) == stands
