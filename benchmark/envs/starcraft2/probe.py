"""``python -m benchmark probe``: what only the game can tell, beside what the simulator says.

On a machine with StarCraft II it measures spawn formations, the playable area and passable cells,
the units' numbers, and how the engine's units behave, writes all of it into a JSON file, and prints
where the simulator differs. What chance decides is played several times in the simulator; a
measurement of the game counts as different if it lies outside of what these battles gave.
"""

import argparse
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmark import files
from benchmark.envs import EnvOptions
from benchmark.envs.maps import MAPS, SIZE, Map, find_map
from benchmark.envs.simulator.engine import Battlefield, armies
from benchmark.envs.simulator.records import UNIT_DTYPE
from benchmark.envs.simulator.terrain import find_terrain
from benchmark.envs.simulator.units import LOOPS_PER_STEP, TYPE_ID, UNITS
from benchmark.envs.starcraft2.experiments import EXPERIMENTS, Recruit, experiments_for
from benchmark.envs.starcraft2.installation import Settings, check, describe
from benchmark.envs.starcraft2.worker import Worker, sweep
from benchmark.training import provenance

log = logging.getLogger("benchmark")

FORMAT = 1  #: of the file
EMPTY_MAP = "protoss_5_vs_5"  #: stands for the one file behind all SMACv2 maps
_REPEATS = 8  #: battles in the simulator per experiment
_SLACK = 0.02  #: relative; and ...
_STEP_SLACK = {"loops": LOOPS_PER_STEP, "steps": 1}  #: what is measured in whole steps
_CELLS = 0.1  #: absolute, of everything else
_PATIENCE = 300.0  #: seconds per experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    fixed = [name for name, one in MAPS.items() if not one.generated]
    parser.add_argument(
        "--maps",
        nargs="+",
        default=[*fixed, EMPTY_MAP],
        metavar="MAP",
        help=f"default: all; {EMPTY_MAP} stands for SMACv2's empty map",
    )
    parser.add_argument("--output", type=Path, default=Path("results", "probe.json"))


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    settings = Settings.from_environment()
    maps = [find_map(name) for name in arguments.maps]
    for one in maps:
        check(one, settings)
    sweep()
    found = {"format": FORMAT, "measured": provenance.now(), "maps": {}}
    for one in track(maps, "probing", console=Console(stderr=True), transient=True):
        found["maps"][one.name] = {**describe(one, settings), **measure(one, settings)}
        files.write_json(found, arguments.output)
    differences = [
        each for name, measured in found["maps"].items() for each in compare(MAPS[name], measured)
    ]
    found["differences"] = [vars(each) for each in differences]
    files.write_json(found, arguments.output)
    _print(differences)
    print(arguments.output)


@dataclass(frozen=True)
class Difference:
    """One thing on which the game and the simulator disagree."""

    map: str
    what: str
    game: str
    simulator: str


def measure(one: Map, settings: Settings) -> dict:
    """Starts the game on a map and measures everything that suits it.

    Raises:
        Fault: the game crashed or hung.
    """
    worker = Worker(
        one, EnvOptions(), settings.version, 0, None, "benchmark.envs.starcraft2.survey"
    )

    def ask(*request):
        worker.ask(max(settings.start_seconds, _PATIENCE), *request)
        return worker.answer()

    try:
        return {
            "game_version": ask("launch"),
            "terrain": ask("terrain"),
            "catalogue": ask("catalogue"),
            "experiments": {
                name: ask("experiment", name)
                for name in experiments_for(one.generated, one.healers)
            },
        }
    finally:
        worker.stop()


def compare(one: Map, measured: dict) -> list[Difference]:
    """Where a map's measurements differ from the simulator's tables and battles."""
    return [
        *_compare_terrain(one, measured["terrain"]),
        *_compare_catalogue(one, measured["catalogue"]),
        *(
            difference
            for name, values in measured["experiments"].items()
            for difference in _compare_experiment(one, name, values)
        ),
    ]


def _compare_terrain(one: Map, terrain: dict) -> list[Difference]:
    found = []
    if terrain["playable"] != [0, 0, SIZE, SIZE]:
        text = str(terrain["playable"])
        found.append(Difference(one.name, "playable area", text, str([0, 0, SIZE, SIZE])))
    walkable = find_terrain(one.terrain).walkable
    game = np.array([[cell == "#" for cell in row] for row in terrain["passable"]]).T
    for what, cells in (
        ("passable cells that the simulator blocks", game & ~walkable),
        ("blocked cells that the simulator passes", ~game & walkable),
    ):
        if cells.any():
            some = ", ".join(f"({x}, {y})" for x, y in np.argwhere(cells)[:6])
            more = " ..." if cells.sum() > 6 else ""
            found.append(Difference(one.name, what, f"{cells.sum()}: {some}{more}", "0"))
    return found


def _compare_catalogue(one: Map, catalogue: dict[str, dict]) -> list[Difference]:
    """The units' numbers that count in the engine.

    Sight does not, which is the client's constant, nor do attributes that neither damage nor
    healing asks for (Massive).
    """
    found = []
    for name, facts in catalogue.items():
        facts = facts | {"attributes": sorted(_ATTRIBUTES.intersection(facts["attributes"]))}
        expected = _our_facts(name.removeprefix("rl_"))
        for key, value in expected.items():
            measured = facts[key]
            if not _same(measured, value):
                found.append(Difference(one.name, f"{name} {key}", str(measured), str(value)))
    return found


_ATTRIBUTES = {"Light", "Armored", "Biological", "Mechanical"}


def _our_facts(name: str) -> dict:
    unit = UNITS[TYPE_ID[name]]
    attributes = {"Light": unit.light, "Armored": unit.armoured, "Biological": unit.biological,
                  "Mechanical": not unit.biological}  # fmt: skip
    bonus = {"Light": unit.bonus_light, "Armored": unit.bonus_armoured}
    weapon = {
        "damage": unit.damage,
        "attacks": unit.hits,
        "range": unit.range,
        "period": unit.period,
        "bonus": {kind: value for kind, value in bonus.items() if value},
    }
    return {
        "speed": unit.speed,
        "armour": unit.armour,
        "attributes": sorted(kind for kind, true in attributes.items() if true),
        "weapons": [weapon] if unit.damage else [],
    }


def _same(one, other) -> bool:
    """Equal, with room for single precision."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, str):
        return one == other
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)


def _compare_experiment(one: Map, name: str, values: dict[str, float]) -> list[Difference]:
    battles = [EXPERIMENTS[name](_Simulated(one, seed)) for seed in range(_REPEATS)]
    found = []
    for key in dict.fromkeys([*values, *battles[0]]):
        ours = [battle[key] for battle in battles if key in battle]
        if key not in values or not ours or not _within(key, values[key], ours):
            game = f"{values[key]:.4g}" if key in values else "nothing"
            found.append(Difference(one.name, f"{name}: {key}", game, _range(ours)))
    return found


def _within(key: str, value: float, ours: list[float]) -> bool:
    """Whether a measurement lies among what the simulator's battles gave, or nearly."""
    unit = next((slack for word, slack in _STEP_SLACK.items() if word in key), _CELLS)
    slack = max(unit, _SLACK * abs(value))
    return min(ours) - slack <= value <= max(ours) + slack


def _range(ours: list[float]) -> str:
    if not ours:
        return "nothing"
    low, high = f"{min(ours):.4g}", f"{max(ours):.4g}"
    return low if low == high else f"{low} to {high}"


class _Simulated:
    """Our engine as an arena, see ``experiments.Arena``."""

    def __init__(self, one: Map, seed: int) -> None:
        self._map, self._seed = one, seed
        self._field: Battlefield | None = None
        self._order: np.ndarray | None = None

    def begin(self, recruits: Sequence[Recruit] = ()) -> np.ndarray:
        if recruits:
            units = np.zeros(len(recruits), UNIT_DTYPE)
            for row, (name, team, x, y) in zip(units, recruits, strict=True):
                row["type"], row["team"], row["x"], row["y"] = TYPE_ID[name], team, x, y
            units["autonomous"] = units["team"] == 1
        else:
            units = armies(self._map)
        self._field = Battlefield(self._map, units, self._seed)
        units = self._field.units
        self._order = np.lexsort((units["y"], units["x"], units["type"], units["team"]))
        return self.units()

    def units(self) -> np.ndarray:
        return self._field.units[self._order]

    def play(self, loops: int) -> np.ndarray:
        self._field.play(loops)
        return self.units()

    def attack(self, i: int, j: int) -> None:
        self._field.attack(int(self._order[i]), int(self._order[j]))

    def move(self, i: int, x: float, y: float) -> None:
        self._field.move(int(self._order[i]), x, y)

    def kill(self, indices: Sequence[int]) -> None:
        for i in indices:
            self._field.kill(int(self._order[i]))

    def wait_for_armies(self, limit: int) -> int:
        self.begin()
        return 1


def _print(differences: list[Difference]) -> None:
    console = Console()
    if not differences:
        console.print("the simulator agrees with the game in everything that was measured")
        return
    table = Table(title=f"{len(differences)} differences", title_justify="left")
    for column in ("map", "what", "game", "simulator"):
        table.add_column(column, overflow="fold")
    for each in differences:
        table.add_row(each.map, each.what, each.game, each.simulator)
    console.print(table)
