"""How units walk, give way and keep clear of walls, loop by loop; the rules said a second time.

Points and directions are complex numbers, x + iy.
"""

import cmath
import math

import numpy as np
import pytest

from benchmark.envs.maps import MAPS, SIZE
from benchmark.envs.simulator.records import ATTACK, FIGHTING, MOVE, MOVING, STANDING
from benchmark.envs.simulator.terrain import DIRECT, find_terrain
from tests.envs.loops import apart, battle, drawn_place, fact, place_of, plane, put, velocity_of

# -- ways around others --------------------------------------------------------------------


def way_around(walker, goal, others):
    """The direction that a blocked walker takes, and the side on which it then walks."""
    here, speed = place_of(walker), fact(walker, "speed")
    straight = (goal - here) / abs(goal - here)

    def free(degrees):
        step = here + speed * straight * cmath.rect(1, math.radians(degrees))
        return all(abs(place_of(v) - step) >= apart(walker, v) for v in others)

    if free(0):
        return straight, 0
    turns = range(30, 151, 30)
    smallest = {side: min(filter(lambda t: free(side * t), turns), default=360) for side in (1, -1)}
    side = walker["detour"] or shorter_side(walker, straight, others)
    if smallest[side] == 360 and smallest[-side] < 360:
        side = -side
    turn = smallest[side]  # a full turn, straight on, where there is no free one at all
    return straight * cmath.rect(1, math.radians(side * turn)), side


def shorter_side(walker, straight, others):
    """The side on which the crowd ahead ends sooner; the right (-1) of two alike."""
    away = [apart(walker, v) for v in others]
    seen = [(place_of(v) - place_of(walker)) / straight for v in others]  # ahead is along x
    ahead = [k for k in range(len(others)) if seen[k].real > 0.05 * away[k]]
    speed = fact(walker, "speed")
    crowd = {k for k in ahead if abs(seen[k].imag) < 0.999 * away[k]}
    crowd = {k for k in crowd if seen[k].real < away[k] + speed}
    for _ in ahead:
        crowd |= {k for k in ahead for m in crowd if abs(seen[k] - seen[m]) < away[k] + away[m]}
    left = max((away[k] + seen[k].imag for k in crowd), default=0)
    right = max((away[k] - seen[k].imag for k in crowd), default=0)
    return 1 if left < right - 1e-6 else -1


def test_a_blocked_unit_takes_the_smallest_free_turn():
    """On the side on which it began; around opponents who stand, not around who walks, flies or is
    dead, nor around idle friends."""
    kinds = ["zealot", "marine", "hydralisk", "medivac", "colossus", "marine"]
    engine = battle(["zealot", "marine"], kinds)
    random, seen = np.random.default_rng(0), set()
    units = engine.units
    for trial in range(400):
        detour, crowd = random.integers(-1, 2), random.choice([0.7, 1.2])
        goal = 16 + 16j + cmath.rect(5, random.uniform(0, 7))
        put(engine, 0, 16 + 16j, order=MOVE, goal_x=goal.real, goal_y=goal.imag)
        put(engine, 0, 16 + 16j, blocked=True, detour=detour)
        for k in range(1, len(units)):
            put(engine, k, drawn_place(random, crowd), alive=random.random() < 0.8, stance=STANDING)
        if trial % 2:  # the last marine walks
            put(engine, 7, place_of(units[7]), order=MOVE, stance=MOVING, blocked=False)
        else:
            engine.stop(7)
        others = units[2 : 8 - trial % 2].copy()
        others = [v for v in others if v["alive"] and plane(v) == "ground"]
        way, side = way_around(units[0].copy(), goal, others)
        engine.play(1)
        velocity = velocity_of(units[0])
        assert velocity == pytest.approx(fact(units[0], "speed") * way)
        assert units[0]["detour"] == side
        progress = (place_of(units[0]) - (16 + 16j)) * velocity.conjugate()
        if progress.real > 0.5 * abs(velocity) ** 2:  # it was not held up: is its way free now?
            assert units[0]["blocked"] == (side != 0)
        seen.add((int(detour), side))
    assert len(seen) == 9  # straight, left or right, after each of them


def test_an_order_to_move_finds_its_way_afresh():
    engine = battle(["marine"], ["marine"])
    put(engine, 0, 16 + 16j, detour=1, blocked=True)
    engine.move(0, 20.0, 16.0)
    assert engine.units[0]["detour"] == 0
    assert not engine.units[0]["blocked"]


def test_no_map_has_more_units_than_a_crowd_can_hold():
    """The way around a crowd keeps it as bits of one integer."""
    assert max(one.n_agents + one.n_enemies for one in MAPS.values()) <= 63


# -- overlaps ----------------------------------------------------------------------------------

#: How much of an overlap a unit gives way, by its stance and the other's; among friends, opponents.
GIVES_WAY = {
    (MOVING, MOVING): (0.5, 0.5),
    (MOVING, STANDING): (0.07, 1),
    (MOVING, FIGHTING): (1, 1),
    (STANDING, MOVING): (0.93, 0),
    (STANDING, STANDING): (0.5, 0.5),
    (STANDING, FIGHTING): (1, 0.5),
    (FIGHTING, MOVING): (0, 0),
    (FIGHTING, STANDING): (0, 0.5),
    (FIGHTING, FIGHTING): (0.5, 0.5),
}


def take_stance(engine, index, stance):
    if stance == STANDING:
        engine.stop(index)
    elif stance == MOVING:
        engine.move(index, 10.0, 25.0)
    else:  # stands after a shot at the last unit, which is far away
        put(engine, index, place_of(engine.units[index]), order=ATTACK, backswing=9, cooldown=9.0)
        engine.units[index]["target"] = 2
        engine.units[index]["windup"] = -1


@pytest.mark.parametrize("friends", [True, False])
@pytest.mark.parametrize("stances", GIVES_WAY)
def test_overlaps_are_shared_by_what_units_do(stances, friends):
    engine = battle(["marine"] * (1 + friends), ["marine"] * (2 - friends))
    random, units = np.random.default_rng(0), engine.units
    for _ in range(5):
        put(engine, 0, 16 + 16j, blocked=False)
        put(engine, 1, drawn_place(random, 0.3), blocked=False)
        put(engine, 2, 28 + 28j)
        for index, stance in enumerate(stances):
            take_stance(engine, index, stance)
        before = [place_of(unit) for unit in units]
        engine.play(1)
        assert [unit["stance"] for unit in units[:2]] == list(stances)
        moved = [place + velocity_of(unit) for place, unit in zip(before, units, strict=True)]
        way = moved[1] - moved[0]
        overlap = way / abs(way) * (apart(*units[:2]) - abs(way))
        share = GIVES_WAY[stances][not friends]
        assert place_of(units[0]) == pytest.approx(moved[0] - share * overlap)
        assert place_of(units[1]) == pytest.approx(moved[1] + (1 - share) * overlap)


def test_only_units_of_one_plane_push_each_other():
    kinds = ["colossus", "colossus", "marine", "medivac", "medivac"]
    engine = battle(["marine"], kinds)
    for first in range(1, 6):
        for second in range(1, first):
            for k in range(6):
                put(engine, k, complex(3 + 5 * k, 3))
            put(engine, first, 16 + 16j)
            put(engine, second, 16.2 + 16j)
            one, other = engine.units[first], engine.units[second]
            engine.play(1)
            gap = abs(place_of(one) - place_of(other))
            expected = apart(one, other) if plane(one) == plane(other) else 0.2
            assert gap == pytest.approx(expected)


def test_a_unit_that_gets_on_at_less_than_half_its_speed_is_blocked():
    random = np.random.default_rng(0)
    engine = battle(["marine"] * 6, ["zealot"] * 6)
    units, seen = engine.units, set()
    for k in range(12):
        put(engine, k, drawn_place(random, 1.5))
    for loop in range(60):
        if loop % 12 == 0:
            for k in range(9):
                engine.move(k, *random.uniform(14, 18, 2))
        before = units.copy()
        engine.play(1)
        for old, new in zip(before, units, strict=True):
            way, velocity = place_of(new) - place_of(old), velocity_of(new)
            if not old["blocked"]:
                slow = (way * velocity.conjugate()).real < 0.5 * abs(velocity) ** 2
                assert new["blocked"] == slow
                seen.add(bool(slow))
    assert seen == {True, False}


# -- walls and ways around them ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["marine", "medivac"])
def test_nobody_leaves_the_map(kind):
    engine = battle([kind], ["marine"])
    edge = fact(engine.units[0], "separation")
    put(engine, 1, 16 + 16j)
    for corner in (2 + 2j, 30 + 2j, 2 + 30j, 30 + 30j):
        inward = 0.9 * edge * (1 if corner.real == 2 else -1)
        inward += 0.9j * edge * (1 if corner.imag == 2 else -1)
        put(engine, 0, corner + inward)
        engine.play(1)
        assert place_of(engine.units[0]) == pytest.approx(corner + inward / 0.9)


def distance_to_wall(place, walkable):
    """From a point to the nearest blocked cell."""
    found = math.inf
    for column, row in np.argwhere(~walkable):
        nearest = complex(
            min(max(place.real, column), column + 1), min(max(place.imag, row), row + 1)
        )
        found = min(found, abs(place - nearest))
    return found


def test_ground_units_are_pushed_clear_of_walls():
    """By no more than they lack; who is clear stays, and flyers pass."""
    engine = battle(["zealot"], ["medivac"], terrain="corridor")
    walkable = find_terrain("corridor").walkable
    random, units = np.random.default_rng(0), engine.units
    edge, pushed = fact(units[0], "separation"), 0
    rims = np.argwhere(find_terrain("corridor").near_wall)
    for _ in range(150):
        place = complex(*(rims[random.integers(len(rims))] + random.random(2)))
        for k in (0, 1):
            put(engine, k, place)
            engine.stop(k)
        lacks = max(edge - distance_to_wall(place, walkable), 0)
        engine.play(1)
        new = place_of(units[0])
        at_edge = min(place.real, place.imag) < 2.75 or max(place.real, place.imag) > 29.25
        assert at_edge or place_of(units[1]) == place
        assert distance_to_wall(new, walkable) >= edge - 1e-9
        assert lacks - 1e-9 <= abs(new - place) <= 1.5 * lacks + 1e-9
        pushed += lacks > 0
    assert 30 < pushed < 120


def test_who_is_shoved_into_a_wall_is_back_where_it_came_from():
    engine = battle(["marine"], ["marine", "marine"], terrain="strip")
    put(engine, 0, 16.5 + 24.6j)
    put(engine, 1, 16.5 + 24.55j)
    put(engine, 2, 20 + 10j)
    take_stance(engine, 1, FIGHTING)
    engine.move(0, 16.5, 30.0)
    engine.play(1)
    assert place_of(engine.units[0]) == pytest.approx(16.5 + 24.6j)
    assert engine.units[0]["blocked"]


def test_walkers_head_for_one_corner_after_the_other():
    """At full speed to the cells that the terrain names, in the end to the goal itself."""
    via = find_terrain("corridor").via
    random = np.random.default_rng(0)
    cells = np.argwhere(find_terrain("corridor").walkable & ~find_terrain("corridor").near_wall)
    engine = battle(["marine"], ["marine"], terrain="corridor")
    unit, speed = engine.units[0], fact(engine.units[0], "speed")
    put(engine, 1, 20 + 27j)
    corners = 0
    for _ in range(8):
        start, goal = (complex(*(cells[k] + 0.3)) for k in random.integers(len(cells), size=2))
        put(engine, 0, start, blocked=False)
        engine.move(0, goal.real, goal.imag)
        for _ in range(400):
            here = place_of(unit)
            if here == goal:
                break
            cell = via[tuple(int(at.real) * SIZE + int(at.imag) for at in (here, goal))]
            corner = complex(cell // SIZE + 0.5, cell % SIZE + 0.5)
            ahead = (goal if cell == DIRECT else corner) - here
            corners += cell != DIRECT
            step = speed if cell != DIRECT else min(speed, abs(ahead))
            blocked = unit["blocked"]
            engine.play(1)
            if not blocked:
                assert velocity_of(unit) == pytest.approx(ahead / abs(ahead) * step)
        assert place_of(unit) == pytest.approx(goal)
    assert corners > 20


@pytest.mark.parametrize(("kind", "straight"), [("medivac", True), ("marine", False)])
def test_flyers_cross_walls(kind, straight):
    engine = battle([kind], ["marine"], terrain="corridor")
    put(engine, 0, 5.5 + 5.5j)
    put(engine, 1, 20 + 27j)
    engine.move(0, 14.5, 20.5)
    engine.play(1)
    assert (abs(cmath.phase(velocity_of(engine.units[0]) / (9 + 15j))) < 1e-9) == straight
