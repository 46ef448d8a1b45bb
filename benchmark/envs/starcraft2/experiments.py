"""What can be asked of the game, and of our engine in the same words.

An experiment sets up units in an *arena*, lets them be or gives orders, and measures. The same
function runs on StarCraft II (``survey``) and on the simulator (``probe``), so that the two answers
mean the same.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from benchmark.envs.simulator.units import LOOPS_PER_SECOND, LOOPS_PER_STEP, UNITS

#: A unit to create: type name, team (0 ours, 1 the enemies'), place.
Recruit = tuple[str, int, float, float]

_PATIENCE = 1600  #: loops, for what should happen within a battle
_STIRS = 0.05  #: cells from which on a unit counts as under way
_STILL = 0.25  #: cells within an env step, below which a crowd's centre counts as at rest
_RESTS = 10  #: env steps at rest, after which nothing more is expected


class Arena(Protocol):
    """Where an experiment takes place."""

    def begin(self, recruits: Sequence[Recruit] = ()) -> np.ndarray:
        """Starts anew: with these units, or with the map's own armies where there are none.

        Returns:
            as ``units``; the order of units stays until the next ``begin``: by team, type, x, y.
        """
        ...

    def units(self) -> np.ndarray:
        """[U] records with type, team, alive, x, y, health, shield, energy."""
        ...

    def play(self, loops: int) -> np.ndarray:
        """Lets time pass; returns ``units``."""
        ...

    def attack(self, i: int, j: int) -> None:
        """Orders unit i of ours to attack unit j."""
        ...

    def move(self, i: int, x: float, y: float) -> None:
        """Orders unit i of ours to a point."""
        ...

    def kill(self, indices: Sequence[int]) -> None:
        """Removes units in the next loop."""
        ...

    def wait_for_armies(self, limit: int) -> int:
        """Loops until the map's armies are there again, after all died; ``limit`` if they are not.

        Units are then those of a new beginning.
        """
        ...


def formation(arena: Arena) -> dict[str, float]:
    """Where the map's armies stand in the beginning."""
    units = arena.begin()
    places = {}
    for team, side in enumerate(("ally", "enemy")):
        for k, unit in enumerate(units[units["team"] == team]):
            places[f"{side}_{k}_x"], places[f"{side}_{k}_y"] = float(unit["x"]), float(unit["y"])
    return places


def life(arena: Arena) -> dict[str, float]:
    """What the armies' units have in the beginning, by type and side."""
    units = arena.begin()
    found = {}
    for unit in units:
        name = f"{('ally', 'enemy')[unit['team']]}_{UNITS[unit['type']].name}"
        for column in ("health", "shield", "energy"):
            found[f"{name}_{column}"] = float(unit[column])
    return found


def march(arena: Arena) -> dict[str, float]:
    """Where the enemies go when nobody is there to fight, and whether they stay."""
    units = arena.begin()
    arena.kill(np.flatnonzero(units["team"] == 0).tolist())
    places, still = [_centre(units, 1)], 0
    for _ in range(_PATIENCE // LOOPS_PER_STEP):
        units = arena.play(LOOPS_PER_STEP)
        places.append(_centre(units, 1))
        still = still + 1 if math.dist(*places[-2:]) < _STILL else 0
        if still == _RESTS:
            break
    crowd = units[(units["team"] == 1) & units["alive"]]
    x, y = places[-1]
    return {
        "steps_until_rest": len(places) - 1 - still,
        "rest_x": x,
        "rest_y": y,
        "rest_spread": float(np.hypot(crowd["x"] - x, crowd["y"] - y).max()),
    }


def respawn(arena: Arena) -> dict[str, float]:
    """How soon the armies return after all have died, and whether the enemies march again."""
    units = arena.begin()
    arena.kill(range(len(units)))
    loops = arena.wait_for_armies(limit=64)
    units = arena.units()
    arena.kill(np.flatnonzero(units["team"] == 0).tolist())
    before = _centre(units, 1)
    moved = math.dist(before, _centre(arena.play(4 * LOOPS_PER_STEP), 1))
    return {"loops_until_return": loops, "marches_again": float(moved > 0.5)}


def slaughter(arena: Arena) -> dict[str, float]:
    """How long agents last who do nothing."""
    units = arena.begin()
    full = _life(units, 0)
    first_hit = last_death = _PATIENCE
    for loop in range(0, _PATIENCE, LOOPS_PER_STEP):
        units = arena.play(LOOPS_PER_STEP)
        left = _life(units, 0)
        if left < full and first_hit == _PATIENCE:
            first_hit = loop + LOOPS_PER_STEP
        if left == 0:
            last_death = loop + LOOPS_PER_STEP
            break
    return {
        "loops_until_first_hit": first_hit,
        "loops_until_all_are_dead": last_death,
        "enemy_life_in_the_end": _life(units, 1),
    }


def medivac(arena: Arena) -> dict[str, float]:
    """Whether the enemies' medivac goes along with its army."""
    units = arena.begin()
    arena.kill(np.flatnonzero(units["team"] == 0).tolist())
    kinds = np.array([UNITS[kind].name for kind in units["type"]])
    (who,) = np.flatnonzero((kinds == "medivac") & (units["team"] == 1))
    start = units[who]["x"], units[who]["y"]
    units = arena.play(40 * LOOPS_PER_STEP)
    here = units[who]["x"], units[who]["y"]
    return {
        "went": math.dist(start, here),
        "away_from_its_army": math.dist(here, _centre(np.delete(units, who), 1)),
    }


def speeds(arena: Arena) -> dict[str, float]:
    """Cells per second of every type of ours, at full speed."""
    found = {}
    for unit in UNITS:
        arena.begin([(unit.name, 0, 2.0, 16.0)])
        arena.move(0, 31.0, 16.0)
        before = arena.play(2 * LOOPS_PER_SECOND)[0]["x"]
        found[unit.name] = float(arena.play(2 * LOOPS_PER_SECOND)[0]["x"] - before) / 2
    return found


def duels(arena: Arena) -> dict[str, float]:
    """Two of a kind: from how far ours shoots, how often, and what one attack takes away."""
    found = {}
    for unit in UNITS:
        if not unit.damage:
            continue
        arena.begin([(unit.name, 0, 10.0, 16.0), (unit.name, 1, 22.0, 16.0)])
        arena.attack(0, 1)
        shots: list[int] = []
        before = arena.units()
        for loop in range(_PATIENCE):
            now = arena.play(1)
            lost = _life(before, 1) - _life(now, 1)
            if lost > 1.0 and not shots:
                away = math.dist((now[0]["x"], now[0]["y"]), (now[1]["x"], now[1]["y"]))
                found[f"{unit.name}_gap"] = away - 2 * unit.radius
                found[f"{unit.name}_first_damage"] = lost
            if lost > 1.0:
                shots.append(loop)
            if not now["alive"].all():
                break
            before = now
        apart = [later - sooner for sooner, later in pairwise(shots)]
        if apart:
            found[f"{unit.name}_loops_between_hits"] = float(np.mean(apart))
    return found


def script(arena: Arena) -> dict[str, float]:
    """When an idle enemy on SMACv2's map is sent at us, and which way it goes."""
    arena.begin([("marine", 0, 4.0, 4.0), ("marine", 1, 28.0, 24.0)])
    delay, start = 0, (28.0, 24.0)  # 0: never
    for loop in range(1, 4 * LOOPS_PER_STEP + 1):
        enemy = arena.play(1)[1]
        if math.dist(start, (enemy["x"], enemy["y"])) > _STIRS:
            delay = loop
            break
    enemy = arena.play(2 * LOOPS_PER_STEP)[1]
    straight = math.atan2(4.0 - start[1], 4.0 - start[0])
    heading = math.atan2(enemy["y"] - start[1], enemy["x"] - start[0])
    return {"loops_until_it_moves": delay, "degrees_off": math.degrees(heading - straight)}


def crowd(arena: Arena) -> dict[str, float]:
    """How ten marines that are created at one point stand."""
    units = arena.begin([*[("marine", 0, 16.0, 16.0)] * 10, ("marine", 1, 3.0, 3.0)])[:10]
    away = np.hypot(units["x"][:, None] - units["x"], units["y"][:, None] - units["y"])
    return {
        "farthest": float(np.hypot(units["x"] - 16.0, units["y"] - 16.0).max()),
        "closest_pair": float(away[~np.eye(10, dtype=bool)].min()),
    }


Experiment = Callable[[Arena], dict[str, float]]

#: On maps with armies of their own, and on SMACv2's empty map.
ON_ARMIES: dict[str, Experiment] = {
    "formation": formation, "life": life, "march": march, "respawn": respawn,
    "slaughter": slaughter,
}  # fmt: skip
WITH_MEDIVACS: dict[str, Experiment] = {"medivac": medivac}
ON_THE_EMPTY_MAP: dict[str, Experiment] = {
    "speeds": speeds, "duels": duels, "script": script, "crowd": crowd,
}  # fmt: skip
EXPERIMENTS = ON_ARMIES | WITH_MEDIVACS | ON_THE_EMPTY_MAP


def experiments_for(generated: bool, healers: bool) -> list[str]:
    """The experiments that suit a map."""
    if generated:
        return list(ON_THE_EMPTY_MAP)
    return [*ON_ARMIES, *(WITH_MEDIVACS if healers else {})]


def _centre(units: np.ndarray, team: int) -> tuple[float, float]:
    side = units[(units["team"] == team) & units["alive"]]
    return float(side["x"].mean()), float(side["y"].mean())


def _life(units: np.ndarray, team: int) -> float:
    side = units[(units["team"] == team) & units["alive"]]
    return float(side["health"].sum() + side["shield"].sum())
