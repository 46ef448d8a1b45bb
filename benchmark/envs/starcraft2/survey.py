"""Experiments on the real game: what a worker does for ``python -m benchmark probe``.

The game is launched through the map's own client, as in training; from then on the experiments talk
to it directly.
"""

from collections.abc import Sequence

import numpy as np

from benchmark.envs.simulator.records import UNIT_DTYPE
from benchmark.envs.simulator.units import GAME_ID, TYPE_ID, UNITS
from benchmark.envs.starcraft2 import client
from benchmark.envs.starcraft2.experiments import EXPERIMENTS, Recruit
from benchmark.envs.starcraft2.worker import Broken

_APPEARANCE = 200  #: loops in which created units have to appear
_ABILITY = {"move": 16, "attack": 23}


class Client(client.Client):
    """A game that is asked questions instead of being played."""

    def launch(self) -> str:
        """Starts the game on the map.

        Returns:
            what it calls itself.
        """
        self._env._launch()
        return self.game_version()

    def terrain(self) -> dict:
        """The map's measures, and the cells that the game calls passable, row by row from y = 0."""
        env = self._env
        info = env._controller.game_info().start_raw
        low, high = info.playable_area.p0, info.playable_area.p1
        return {
            "size": [env.map_x, env.map_y],
            "playable": [low.x, low.y, high.x, high.y],
            "passable": ["".join(".#"[int(cell)] for cell in row) for row in env.pathing_grid.T],
        }

    def catalogue(self) -> dict[str, dict]:
        """The facts about the nine types in the game's data, of the enemies' and of our version."""
        known = list(self._env._controller.data_raw().units)
        by_id = {unit.unit_id: unit for unit in known}
        first = self._first_rl_id(len(known))
        found = {}
        for index, unit in enumerate(UNITS):
            ids = {unit.name: GAME_ID[index]}
            if self._map.generated:  # only there all nine have a version of ours
                ids[f"rl_{unit.name}"] = first + index
            found |= {name: _facts(by_id[id]) for name, id in ids.items() if id in by_id}
        return found

    def experiment(self, name: str) -> dict[str, float]:
        """Runs one of ``EXPERIMENTS``."""
        return EXPERIMENTS[name](_Game(self))

    def _first_rl_id(self, catalogue_size: int) -> int:
        return catalogue_size - len(UNITS)


def _facts(unit) -> dict:
    attributes = [
        unit.DESCRIPTOR.fields_by_name["attributes"].enum_type.values_by_number[value].name
        for value in unit.attributes
    ]
    return {
        "sight": unit.sight_range,
        "speed": unit.movement_speed,
        "armour": unit.armor,
        "attributes": sorted(attributes),
        "weapons": [
            {
                "damage": weapon.damage,
                "attacks": weapon.attacks,
                "range": weapon.range,
                "period": weapon.speed,
                "bonus": {
                    bonus.DESCRIPTOR.fields_by_name["attribute"]
                    .enum_type.values_by_number[bonus.attribute]
                    .name: bonus.bonus
                    for bonus in weapon.damage_bonus
                },
            }
            for weapon in unit.weapons
        ],
    }


class _Game:
    """The game as an arena, see ``experiments.Arena``."""

    def __init__(self, client: Client) -> None:
        from benchmark.envs.starcraft2.messages import common_pb2, debug_pb2, raw_pb2, sc2api_pb2

        self._client = client
        self._common, self._debug = common_pb2, debug_pb2
        self._raw, self._api = raw_pb2, sc2api_pb2
        self._controller = client._env._controller
        self._tags: list[int] = []
        self._last: np.ndarray | None = None

    def begin(self, recruits: Sequence[Recruit] = ()) -> np.ndarray:
        self._kill_tags([unit.tag for unit in self._seen()])
        if recruits:
            while self._seen():
                self._controller.step(1)
            self._create(recruits)
            self._wait(len(recruits))
        else:
            one = self._client._map
            self._controller.step(2)
            self._wait(one.n_agents + one.n_enemies)
        return self._learn_units()

    def units(self) -> np.ndarray:
        return self._last.copy()

    def play(self, loops: int) -> np.ndarray:
        self._controller.step(loops)
        now = {unit.tag: unit for unit in self._seen()}
        for row, tag in zip(self._last, self._tags, strict=True):
            unit = now.get(tag)
            row["alive"] = unit is not None
            for name in ("health", "shield", "energy"):
                row[name] = getattr(unit, name) if unit is not None else 0.0
            if unit is not None:
                row["x"], row["y"] = unit.pos.x, unit.pos.y
        return self.units()

    def attack(self, i: int, j: int) -> None:
        self._order(i, _ABILITY["attack"], target_unit_tag=self._tags[j])

    def move(self, i: int, x: float, y: float) -> None:
        goal = self._common.Point2D(x=x, y=y)
        self._order(i, _ABILITY["move"], target_world_space_pos=goal)

    def kill(self, indices: Sequence[int]) -> None:
        self._kill_tags([self._tags[i] for i in indices])

    def wait_for_armies(self, limit: int) -> int:
        one = self._client._map
        for loops in range(limit):
            seen = self._seen()
            fresh = not {unit.tag for unit in seen} & set(self._tags)
            if fresh and len(seen) == one.n_agents + one.n_enemies:
                self._learn_units()
                return loops
            self._controller.step(1)
        raise Broken(f"the armies did not return within {limit} loops")

    def _seen(self) -> list:
        return list(self._controller.observe().observation.raw_data.units)

    def _wait(self, count: int) -> None:
        for _ in range(_APPEARANCE):
            if len(self._seen()) == count:
                return
            self._controller.step(1)
        raise Broken(f"{count} units were expected, {len(self._seen())} are there")

    def _learn_units(self) -> np.ndarray:
        """Numbers the units by team, type and place."""
        seen = self._seen()
        rows = np.zeros(len(seen), UNIT_DTYPE)
        ours = [unit.unit_type for unit in seen if unit.owner == 1]
        for row, unit in zip(rows, seen, strict=True):
            row["team"], row["alive"] = unit.owner - 1, True
            row["type"] = self._type(unit, min(ours, default=0))
            row["x"], row["y"] = unit.pos.x, unit.pos.y
            for name in ("health", "shield", "energy"):
                row[name] = getattr(unit, name)
        order = np.lexsort((rows["y"], rows["x"], rows["type"], rows["team"]))
        self._last = rows[order]
        self._tags = [seen[k].tag for k in order]
        return self.units()

    def _type(self, unit, lowest: int) -> int:
        if unit.owner == 2:
            return GAME_ID.index(unit.unit_type)
        one = self._client._map
        if one.generated:
            return unit.unit_type - self._first_rl_id()
        return TYPE_ID[sorted(set(one.allies), key=TYPE_ID.get)[unit.unit_type - lowest]]

    def _first_rl_id(self) -> int:
        return self._client._first_rl_id(len(self._controller.data_raw().units))

    def _create(self, recruits: Sequence[Recruit]) -> None:
        first = self._first_rl_id()
        commands = []
        for name, team, x, y in recruits:
            kind = TYPE_ID[name]
            wanted = self._debug.DebugCreateUnit(
                unit_type=first + kind if team == 0 else GAME_ID[kind],
                owner=team + 1,
                pos=self._common.Point2D(x=x, y=y),
                quantity=1,
            )
            commands.append(self._debug.DebugCommand(create_unit=wanted))
        self._controller.debug(commands)
        self._controller.step(1)

    def _kill_tags(self, tags: list[int]) -> None:
        command = self._debug.DebugCommand(kill_unit=self._debug.DebugKillUnit(tag=tags))
        self._controller.debug([command])

    def _order(self, i: int, ability: int, **target) -> None:
        command = self._raw.ActionRawUnitCommand(
            ability_id=ability, unit_tags=[self._tags[i]], **target
        )
        action = self._api.Action(action_raw=self._raw.ActionRaw(unit_command=command))
        self._controller.actions(self._api.RequestAction(actions=[action]))
