"""The maps as data: who fights, where, how long, and what is observed.

Spawn points, attack points, terrain and the enemies' orders come from the SC2Map files, limits and
sizes from the SMAC and SMACv2 clients, SMACv2's teams and start positions from the configuration
that R3DM and ACORM trained with (``10gen_*``, weighted teams, surrounded and reflect).

To add a map, add a row to ``_ALL``.
"""

import difflib
from dataclasses import dataclass
from typing import Any

from benchmark.envs.simulator.units import TYPE_ID, UNITS
from benchmark.errors import BenchmarkError

SIZE = 32  #: every map is 32 x 32 cells
#: Cells along every edge that are outside the game's playable area: the recording of 3m divides
#: positions by 28, and the other maps' files, SMACv2's too, have the bounds that 3m's has.
BORDER = 2
MAX_DISTANCE = SIZE - 2 * BORDER  #: by which the client's state divides positions


@dataclass(frozen=True)
class Map:
    """One scenario.

    A SMAC map fixes both teams and where they start. A SMACv2 map has ``weights`` instead: each
    battle draws the allies' team, copies it for the enemies, draws the enemies in excess, and draws
    start positions. Agents are numbered by type (alphabetically), then position.
    """

    name: str
    limit: int  #: env steps
    n_agents: int
    n_enemies: int
    types: tuple[str, ...]  #: unit types in the order of the allies' one-hot columns
    allies: tuple[str, ...] = ()  #: SMAC: unit names in creation order
    enemies: tuple[str, ...] = ()
    terrain: str = "strip"  #: a name from ``terrain.py``
    ally_spawn: tuple[float, float] = (9.0, 16.0)
    enemy_spawn: tuple[float, float] = (23.0, 16.0)
    attack_point: tuple[float, float] = (9.0, 16.0)  #: where the enemies' one order sends them
    #: SMACv2: (unit, probability) of every type, in the order of ``types``
    weights: tuple[tuple[str, float], ...] = ()
    exceptions: tuple[str, ...] = ()  #: SMACv2: a team of nothing but these is drawn again
    #: SMAC: the enemies' one-hot order where the client's differs from the allies'
    swapped_types: tuple[str, ...] = ()

    @property
    def generated(self) -> bool:
        """Whether teams and positions are drawn for every battle (SMACv2)."""
        return bool(self.weights)

    @property
    def type_bits(self) -> int:
        """Width of a type one-hot: none where all units are of one type."""
        return len(self.types) if len(self.types) > 1 else 0

    @property
    def ally_shields(self) -> bool:
        """Whether the allies' rows have a shield column."""
        return any(UNITS[TYPE_ID[name]].shield > 0 for name in self.allies or self.types)

    @property
    def enemy_shields(self) -> bool:
        """Whether the enemies' rows have a shield column."""
        return any(UNITS[TYPE_ID[name]].shield > 0 for name in self.enemies or self.types)

    @property
    def healers(self) -> bool:
        """Whether the client's special rules for medivacs apply (map types MMM and terran_gen)."""
        return "medivac" in self.types


Team = tuple[str, ...]  #: one unit type per unit


def _team(**counts: int) -> Team:
    return tuple(name for name, count in counts.items() for _ in range(count))


def _smac(name: str, limit: int, allies: Team, enemies: Team, types: Team, **rest: Any) -> Map:
    return Map(name, limit, len(allies), len(enemies), types, allies, enemies, **rest)


def _marines(name: str, limit: int, n_agents: int, n_enemies: int) -> Map:
    return _smac(name, limit, _team(marine=n_agents), _team(marine=n_enemies), ("marine",))


def _protoss(name: str, limit: int, allies: Team, enemies: Team) -> Map:
    return _smac(
        name, limit, allies, enemies, ("stalker", "zealot"), swapped_types=("zealot", "stalker")
    )


_TEAMS = {
    "protoss": ((("stalker", 0.45), ("zealot", 0.45), ("colossus", 0.1)), ()),
    "terran": ((("marine", 0.45), ("marauder", 0.45), ("medivac", 0.1)), ("medivac",)),
    "zerg": ((("zergling", 0.45), ("hydralisk", 0.45), ("baneling", 0.1)), ("baneling",)),
}


def _smacv2(race: str, n_agents: int, n_enemies: int) -> Map:
    weights, exceptions = _TEAMS[race]
    return Map(
        f"{race}_{n_agents}_vs_{n_enemies}", 200, n_agents, n_enemies,
        types=tuple(name for name, _ in weights), terrain="flat",
        weights=weights, exceptions=exceptions,
    )  # fmt: skip


_ALL = (
    # SMAC
    _marines("3m", 60, 3, 3),
    _marines("8m", 120, 8, 8),
    _marines("5m_vs_6m", 70, 5, 6),
    _marines("27m_vs_30m", 180, 27, 30),
    _protoss("2s3z", 120, _team(stalker=2, zealot=3), _team(stalker=2, zealot=3)),
    _protoss("3s5z", 150, _team(stalker=3, zealot=5), _team(stalker=3, zealot=5)),
    _protoss("3s5z_vs_3s6z", 170, _team(stalker=3, zealot=5), _team(stalker=3, zealot=6)),
    _smac(
        "MMM2", 180,
        _team(marine=7, marauder=2, medivac=1), _team(marine=8, marauder=3, medivac=1),
        types=("marauder", "marine", "medivac"),
    ),
    _smac(
        "corridor", 400, _team(zealot=6), _team(zergling=24), types=("zealot",),
        terrain="corridor", ally_spawn=(19.04, 19.12), enemy_spawn=(27.91, 28.24),
        attack_point=(4.47, 4.33),
    ),
    _smac(
        "6h_vs_8z", 150, _team(hydralisk=6), _team(zealot=8), types=("hydralisk",),
        terrain="pit", ally_spawn=(14.60, 9.49), enemy_spawn=(14.41, 16.76),
        attack_point=(14.60, 9.49),
    ),
    # SMACv2, and the same with small teams for quick checks
    *(
        _smacv2(race, n_agents, n_enemies)
        for race in ("protoss", "terran", "zerg")
        for n_agents, n_enemies in ((3, 3), (5, 5), (10, 11))
    ),
)  # fmt: skip

MAPS: dict[str, Map] = {one.name: one for one in _ALL}


def find_map(name: str) -> Map:
    """The map of that name.

    Raises:
        BenchmarkError: there is none; names the nearest ones.
    """
    if name in MAPS:
        return MAPS[name]
    near = difflib.get_close_matches(str(name), MAPS, n=3, cutoff=0.4) or list(MAPS)
    raise BenchmarkError(f"unknown map {name!r}: did you mean {', '.join(near)}?")
