"""The nine units of the benchmark maps: one table of facts, and that table as the kernel reads it.

Every SMAC and SMACv2 map depends on StarCraft II's *Liberty* data alone, so these are Wings of
Liberty values, in Normal game seconds (1 s = 16 game loops, 1 env step = 8 loops). Sources:
Liberty game data for build 4.10.0.75689 and the unit definitions inside the SC2Map files; the
columns marked "SMAC client" are constants of the observation code of SMAC and SMACv2.
"""

import math
from dataclasses import dataclass

import numpy as np

LOOPS_PER_SECOND = 16
LOOPS_PER_STEP = 8


@dataclass(frozen=True)
class Unit:
    """Facts about one unit type; lengths in cells, times in Normal seconds."""

    name: str
    race: str  #: "terran", "protoss" or "zerg"
    health: float
    speed: float  #: cells per second
    radius: float  #: for ranges, which count edge to edge; of opponents' collisions
    separation: float  #: for collisions of friends, the data's SeparationRadius
    # -- the client's constants (SMAC client) --
    sight: float  #: SMACv2's sight range (SMAC uses 9 for every unit)
    reach: float  #: SMACv2's range for action masks, at least 2 (SMAC uses 6 for every unit)
    cooldown_scale: float  #: the state divides the weapon cooldown (loops) or energy by this
    # -- body --
    shield: float = 0.0
    armour: float = 0.0
    light: bool = False
    armoured: bool = False
    biological: bool = True
    flies: bool = False  #: collides with flyers only, crosses walls, hit by anti-air weapons only
    strides: bool = False  #: walks over ground units; collides with its own kind only
    acceleration: float = math.inf  #: cells per second squared; ground units start at once
    # -- weapon --
    damage: float = 0.0  #: per hit; 0 means unarmed
    bonus_light: float = 0.0
    bonus_armoured: float = 0.0
    hits: int = 1  #: hits per attack
    hit_delay: float = 0.0  #: seconds between the first and the second hit
    period: float = 0.0  #: seconds from attack to attack, before the random delay
    range: float = 0.0  #: edge to edge
    damage_point: float = 0.0  #: seconds between starting an attack and its hit
    backswing: float = 0.0  #: seconds after the hit in which the unit stands
    missile_speed: float = 0.0  #: cells per second; 0 means that the hit is immediate
    #: Edge to edge: nearer targets on the ground are struck without a missile, by a second weapon
    #: of the same damage and period.
    melee_range: float = 0.0
    melee_damage_point: float = 0.0
    hits_air: bool = False
    line_splash: float = 0.0  #: half length of a line across the firing direction
    burst_splash: float = 0.0  #: radius of the explosion that is its attack and its death
    # -- healing --
    heals: float = 0.0  #: health per second
    heal_range: float = 0.0
    heal_scan: float = 0.0  #: range in which the engine's own healers look for patients
    energy: float = 0.0  #: at the start of a battle


MARINE = Unit(
    "marine", "terran", health=45, speed=2.25, radius=0.375, separation=0.375, sight=9, reach=5,
    cooldown_scale=15, light=True, damage=6, period=0.8608, range=5, damage_point=0.05,
    backswing=0.75,
    hits_air=True,
)  # fmt: skip
MARAUDER = Unit(
    "marauder", "terran", health=125, armour=1, speed=2.25, radius=0.5625, separation=0.5,
    sight=10, reach=6, cooldown_scale=25, armoured=True, damage=10, bonus_armoured=10,
    period=1.5, range=6, missile_speed=20,
)  # fmt: skip
MEDIVAC = Unit(
    "medivac", "terran", health=150, armour=1, speed=2.75, acceleration=2.3125, radius=0.75,
    separation=0.75, sight=11, reach=4, cooldown_scale=200, armoured=True, biological=False,
    flies=True, heals=9, heal_range=4, heal_scan=6, energy=50,
)  # fmt: skip
STALKER = Unit(
    "stalker", "protoss", health=80, shield=80, armour=1, speed=2.9531, radius=0.625,
    separation=0.625, sight=10, reach=6, cooldown_scale=35, armoured=True, biological=False,
    damage=10, bonus_armoured=4, period=1.44, range=6, damage_point=0.167, backswing=0.5,
    missile_speed=18.75,
    hits_air=True,
)  # fmt: skip
ZEALOT = Unit(
    "zealot", "protoss", health=100, shield=50, armour=1, speed=2.25, radius=0.5,
    separation=0.375, sight=9, reach=2, cooldown_scale=22, light=True, damage=8, hits=2,
    hit_delay=0.28, period=1.2, range=0.1, backswing=0.5,
)  # fmt: skip
COLOSSUS = Unit(
    "colossus", "protoss", health=200, shield=150, armour=1, speed=2.25, radius=1.0,
    separation=0.75, sight=10, reach=7, cooldown_scale=24, armoured=True, biological=False,
    strides=True, damage=20, hits=2, period=2.2, range=6, damage_point=0.083, backswing=0.5,
    line_splash=1.25,
)  # fmt: skip
ZERGLING = Unit(
    "zergling", "zerg", health=35, speed=2.9531, radius=0.375, separation=0.375, sight=8, reach=2,
    cooldown_scale=11, light=True, damage=5, period=0.696, range=0.1, damage_point=0.167,
    backswing=0.5,
)  # fmt: skip
BANELING = Unit(
    "baneling", "zerg", health=30, speed=2.5, radius=0.375, separation=0.375, sight=8, reach=2,
    cooldown_scale=1, damage=20, bonus_light=15, period=0.833, range=0.25, burst_splash=2.2,
)  # fmt: skip
HYDRALISK = Unit(
    "hydralisk", "zerg", health=80, speed=2.25, radius=0.625, separation=0.5, sight=9, reach=5,
    cooldown_scale=10, light=True, damage=12, period=0.83, range=5, damage_point=0.208,
    backswing=0.5, missile_speed=40, hits_air=True, melee_range=0.5, melee_damage_point=0.3,
)  # fmt: skip

#: All units in alphabetical order. A unit's index is its type id in the simulator, and sorting by
#: it numbers the agents as the game does, whose catalogue lists the RL units alphabetically.
UNITS = (BANELING, COLOSSUS, HYDRALISK, MARAUDER, MARINE, MEDIVAC, STALKER, ZEALOT, ZERGLING)
TYPE_ID = {unit.name: index for index, unit in enumerate(UNITS)}
GAME_ID = (9, 4, 107, 51, 48, 54, 74, 73, 105)  #: of the same types, in StarCraft II's catalogue

# What all units share (Liberty data).
SHIELD_REGENERATION = 2.0  #: per second ...
SHIELD_DELAY = 10.0  #: ... after this many seconds without damage
ZERG_REGENERATION = 0.2734  #: health per second
ENERGY_REGENERATION = 0.5625  #: per second
ENERGY_MAX = 200.0
ENERGY_TO_HEAL = 5.0  #: needed by the engine's healers to start on a patient
ENERGY_PER_HEALTH = 0.33
MIN_DAMAGE = 0.5  #: what armour cannot stop
COOLDOWN_JITTER = (-1.0, 2.0)  #: loops, uniform, added to every period
#: Cells, edge to edge: units look for targets as far as they shoot, at least this far (data), ...
MIN_SCAN_RANGE = 5.0
#: ... and a little further. Fitted: of 0, 0.25, 0.4, 0.5, 0.6, 0.75 and 1 this one lets untrained
#: policies live as long on 8m, 3s5z and MMM2 as in the game (docs/rules_tried.md).
SCAN_MARGIN = 0.5
#: Friends appear, and press together, to this share of the sum of their separations (recording of
#: 3m: marines appear and walk 0.6875 cells apart, 11/12 of 0.75); opponents come as near as this
#: share of the sum of their radii. The recording cannot tell the two, marines have one size. The
#: second is fitted: by their separations the policy of 6h_vs_8z wins 0.38 for 0.82.
PACKING = 11 / 12
#: Cells, edge to edge: a unit that is hit calls friends this near (the data's CallForHelpRadius).
HELP_RADIUS = 4.0
#: Loops from one look for targets to the next. In the recording of 3m units stop 0 to 5 loops after
#: an opponent comes into weapon range, each at its own time. With the margin above, which marines
#: cross in 2 to 4 loops, 8 is likelier than 4, 6 and 10.
SCAN_INTERVAL = 8
#: A unit that has to turn by more than this angle (its cosine: 60 degrees) shoots a loop later. In
#: the recording of 3m turns of 70 to 120 degrees cost 0.9 loops (73 shots), turns below 30 none
#: (538), turns of 160 to 180 degrees 1.2 (12).
TURN_COSINE = 0.5
MELEE_RANGE = 1.0  #: cells: weapons of at most this range strike while their unit still walks
#: Loops, uniform below this, that a unit that meets its first target on the way holds its shot: in
#: the recording of 3m 0.10, 0.33, 0.67, 0.93 of the hits come within 1, 2, 3, 4 loops of the stop.
#: Melee units strike at once, or untrained policies live too long on 6h_vs_8z.
FIRST_SHOT_DELAY = 4
#: Loops: a unit counts as an attacker once its order is this old, and for its target still as long
#: as this after another order. The likeliest of the values tried, given the hits on 3m.
NOTICED_AFTER = 1
FORGOTTEN_AFTER = 4
LINE_POINTS = 11  #: points along the colossus' line of fire ...
LINE_POINT_RADIUS = 0.15  #: ... and the radius of each

#: One row per unit type in game loops and cells: what the kernel reads.
TYPE_DTYPE = np.dtype(
    [
        ("health", "f8"), ("shield", "f8"), ("armour", "f8"), ("speed", "f8"),
        ("acceleration", "f8"), ("radius", "f8"), ("sight", "f8"),
        ("separation", "f8"),  #: radius of collisions, among friends ...
        ("body", "f8"),  #: ... and with opponents
        ("reach", "f8"), ("cooldown_scale", "f8"), ("damage", "f8"), ("bonus_light", "f8"),
        ("bonus_armoured", "f8"), ("period", "f8"), ("range", "f8"), ("scan_range", "f8"),
        ("missile_speed", "f8"), ("line_splash", "f8"), ("burst_splash", "f8"),
        ("heals", "f8"), ("heal_range", "f8"), ("heal_scan", "f8"), ("energy", "f8"),
        ("regeneration", "f8"), ("hits", "i4"), ("hit_delay", "i4"), ("windup", "i4"),
        ("backswing", "i4"), ("melee_range", "f8"), ("melee_windup", "i4"),
        ("plane", "i4"), ("light", "?"), ("armoured", "?"), ("biological", "?"), ("flies", "?"),
        ("hits_air", "?"),
        # what a map makes of the type
        ("ally_column", "i4"), ("enemy_column", "i4"),  #: of the type one-hot
        ("weight", "f8"),  #: SMACv2: probability in a team
        ("exception", "?"),  #: SMACv2: may not be all of a team
    ],
    align=True,
)  # fmt: skip


def type_table(missile_flight: bool = True) -> np.ndarray:
    """The units as the kernel reads them.

    Args:
        missile_flight: whether missiles take time to arrive; otherwise every hit is immediate.

    Returns:
        [9] array of :data:`TYPE_DTYPE`, indexed by type id, times in loops, speeds per loop; the
        map's columns are left zero.
    """
    table = np.zeros(len(UNITS), TYPE_DTYPE)
    for row, unit in zip(table, UNITS, strict=True):
        for name in (
            "health", "shield", "armour", "radius", "sight", "cooldown_scale",
            "damage", "bonus_light", "bonus_armoured", "range", "melee_range", "line_splash",
            "burst_splash",
            "heal_range", "heal_scan", "energy", "hits", "light", "armoured", "biological",
            "flies", "hits_air",
        ):  # fmt: skip
            row[name] = getattr(unit, name)
        row["separation"] = unit.separation * PACKING
        row["body"] = unit.radius * PACKING
        row["reach"] = max(unit.reach, 2.0)
        row["scan_range"] = max(unit.range, MIN_SCAN_RANGE) + SCAN_MARGIN
        row["speed"] = unit.speed / LOOPS_PER_SECOND
        row["acceleration"] = unit.acceleration / LOOPS_PER_SECOND**2
        row["period"] = unit.period * LOOPS_PER_SECOND
        row["missile_speed"] = unit.missile_speed * missile_flight / LOOPS_PER_SECOND
        row["heals"] = unit.heals / LOOPS_PER_SECOND
        row["regeneration"] = (unit.race == "zerg") * ZERG_REGENERATION / LOOPS_PER_SECOND
        # Damage points are rounded down: so 0.98 of the recorded steps of 3m get the
        # enemies' health right, rounded up 0.74. A second blade falls at the first boundary after.
        row["windup"] = math.floor(unit.damage_point * LOOPS_PER_SECOND)
        row["melee_windup"] = math.floor(unit.melee_damage_point * LOOPS_PER_SECOND)
        row["hit_delay"] = math.ceil(unit.hit_delay * LOOPS_PER_SECOND)
        row["backswing"] = round(unit.backswing * LOOPS_PER_SECOND)
        row["plane"] = 1 if unit.flies else 2 if unit.strides else 0
    return table
