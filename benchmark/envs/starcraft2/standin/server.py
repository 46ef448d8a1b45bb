"""What the stand-in answers: StarCraft II's API for the battles of SMAC and SMACv2, on our engine.

It understands the requests that the smac and smacv2 clients send through pysc2, and answers every
other one with an error, as the game does for requests that it cannot fulfil. How it differs from
the game beyond the engine:

* orders: stop, move to a point, attack an enemy, heal a friend; never queued;
* units are created on an empty map only;
* a SMAC map's armies return at the end of the request after which no unit is alive.
"""

import random
from collections.abc import Callable

import numpy as np

from benchmark.envs.maps import BORDER, MAPS, SIZE, Map, find_map
from benchmark.envs.simulator.engine import Engine, armies
from benchmark.envs.simulator.records import HEAL, MOVE, UNIT_DTYPE
from benchmark.envs.simulator.terrain import find_terrain
from benchmark.envs.simulator.units import ENERGY_MAX, GAME_ID, UNITS, Unit
from benchmark.envs.starcraft2.installation import FLAT_MAP
from benchmark.envs.starcraft2.messages import common_pb2, data_pb2, error_pb2, raw_pb2
from benchmark.envs.starcraft2.messages import sc2api_pb2 as api
from benchmark.errors import BenchmarkError

VERSION = "4.10.0 (stand-in)"
BUILD = 75689
#: The RL units' types in the catalogue follow all others; where they begin depends on the version.
FIRST_RL_ID = 1935

_ABILITIES = {"stop": 4, "move": 16, "attack": 23, "heal": 386}
_TYPE_OF = {id: index for index, id in enumerate(GAME_ID)}
_TYPE_OF |= {FIRST_RL_ID + index: index for index in range(len(UNITS))}
_RACES = {
    "terran": common_pb2.Terran, "zerg": common_pb2.Zerg, "protoss": common_pb2.Protoss,
}  # fmt: skip
_IN_GAME = ("game_info", "observation", "action", "step", "debug", "data", "save_replay")
#: Request -> the status in which it can be answered, None for any.
_REQUESTS = {"ping": None, "create_game": None, "join_game": api.init_game}
_REQUESTS |= dict.fromkeys(_IN_GAME, api.in_game)
LAST_LOOP = 2**19  #: at which a game ends, whatever happens in it
_MOST_LOOPS = 20_000  #: of one step: a quarter of an hour of the game, in less than a second
_MOST_UNITS = 200  #: to be created; the game's own limit of supplies
_PLATEAU = 127  #: terrain height of the playing ground, of 0 .. 255
_GROUND_Z, _AIR_Z = 12.0, 15.75


class Refused(Exception):
    """A request that the game answers with an error."""


class Server:
    """One process of the game, from launch to quit.

    Args:
        no_units: how probably units that are to be created do not appear, as happens in the game.
        handicap: share of their health and shields with which enemies begin.
    """

    def __init__(self, no_units: float = 0.0, handicap: float = 1.0) -> None:
        self.engine: Engine | None = None  #: the battle; None before the first
        self.loop = 0  #: game loops played
        self._no_units, self._handicap = no_units, handicap
        self._status = api.launched
        self._map: Map | None = None
        self._path = ""
        self._seed = 0
        self._battles = 0  # battles begun
        self._next_tag = 1 << 32
        self._tags: dict[int, int] = {}  # tag -> unit index
        self._to_kill: list[int] = []  # tags to be killed
        self._to_create: list[tuple[int, int, float, float]] = []  # unit type, owner, x, y

    def answer(self, request: api.Request) -> api.Response | None:
        """Fulfils one request.

        Returns:
            the response; None when the game was asked to quit, which has none.
        """
        kind = request.WhichOneof("request")
        if kind == "quit":
            return None
        response = api.Response()
        if request.HasField("id"):
            response.id = request.id
        try:
            self._handler(kind)(getattr(request, kind), getattr(response, kind))
        except Refused as refusal:
            response.error.append(str(refusal))
        response.status = self._status
        return response

    def undecodable(self) -> api.Response:
        """The response to a message that is no request of this protocol."""
        return api.Response(error=["not a request, or one that was damaged"], status=self._status)

    def _handler(self, kind: str | None) -> Callable:
        """The method that answers a request in the present status."""
        if kind not in _REQUESTS:
            raise Refused(f"{kind or 'empty'}: the stand-in does not know this request")
        if _REQUESTS[kind] not in (None, self._status):
            raise Refused(f"{kind}: not in a game that can take it")
        return getattr(self, f"_{kind}")

    # Before the battle ----------------------------------------------------------------------------

    def _ping(self, request, response) -> None:
        response.game_version = VERSION
        response.data_version = "stand-in"
        response.data_build = response.base_build = BUILD

    def _create_game(self, request, response) -> None:
        path = request.local_map.map_path
        if isinstance(path, bytes):  # protobuf leaves text that is not UTF-8 as it came
            path = path.decode(errors="replace")
        name = path.rsplit("/")[-1].removesuffix(".SC2Map")
        if not request.local_map.map_data:
            response.error = api.ResponseCreateGame.MissingMap
            return
        try:
            self._map = MAPS["protoss_5_vs_5"] if name == FLAT_MAP else find_map(name)
        except BenchmarkError:
            response.error = api.ResponseCreateGame.InvalidMapPath
            response.error_details = f"the stand-in does not know the map {name[:80]}"
            return
        self._path = path
        seeded = request.HasField("random_seed")
        self._seed = request.random_seed if seeded else random.SystemRandom().getrandbits(32)
        self._status = api.init_game

    def _join_game(self, request, response) -> None:
        response.player_id = 1
        self.loop = self._battles = 0
        self.engine = None
        for left in (self._tags, self._to_kill, self._to_create):
            left.clear()
        self._status = api.in_game
        self._create_units()

    def _game_info(self, request, response) -> None:
        response.map_name = response.local_map_path = self._path
        for player in (1, 2):
            info = response.player_info.add(player_id=player)
            info.type = api.Participant if player == 1 else api.Computer
        start = response.start_raw
        start.map_size.x = start.map_size.y = SIZE
        start.playable_area.p0.x = start.playable_area.p0.y = BORDER
        start.playable_area.p1.x = start.playable_area.p1.y = SIZE - BORDER
        walkable = find_terrain(self._map.terrain).walkable.T  # rows of equal y
        _fill(start.pathing_grid, 1, np.packbits(walkable, axis=1).tobytes())
        _fill(start.placement_grid, 1, bytes(SIZE * SIZE // 8))
        _fill(start.terrain_height, 8, bytes([_PLATEAU]) * (SIZE * SIZE))

    def _data(self, request, response) -> None:
        if request.ability_id:
            for name, ability in _ABILITIES.items():
                response.abilities.add(ability_id=ability, link_name=name, button_name=name)
        if request.unit_type_id:
            for id in range(FIRST_RL_ID + len(UNITS)):
                described = response.units.add(unit_id=id, name=f"Type{id}")
                if id in _TYPE_OF:
                    _describe(UNITS[_TYPE_OF[id]], id, described)

    # The battle -----------------------------------------------------------------------------------

    def _observation(self, request, response) -> None:
        seen = response.observation
        seen.game_loop = self.loop
        seen.player_common.player_id = 1
        if self.engine is None:
            return
        units = self.engine.units
        tags = {index: tag for tag, index in self._tags.items()}
        for index in np.flatnonzero(units["alive"]).tolist():
            _show(units, index, tags, seen.raw_data.units.add())

    def _action(self, request, response) -> None:
        for action in request.actions:
            response.result.append(self._order(action.action_raw.unit_command))

    def _order(self, command: raw_pb2.ActionRawUnitCommand) -> int:
        """Gives one order to one or more of player 1's units."""
        target = self._living(command.target_unit_tag)
        for tag in command.unit_tags:
            i = self._living(tag)
            if command.queue_command or i is None or self._team(i) != 0:
                return error_pb2.ActionResult.Value("NotSupported")
            ability = command.ability_id
            if ability == _ABILITIES["stop"]:
                self.engine.stop(i)
            elif ability == _ABILITIES["move"] and command.HasField("target_world_space_pos"):
                goal = command.target_world_space_pos
                if not _near_map(goal):
                    return error_pb2.ActionResult.Value("NotSupported")
                self.engine.move(i, goal.x, goal.y)
            elif ability == _ABILITIES["attack"] and self._team(target) == 1:
                self.engine.attack(i, target)
            elif ability == _ABILITIES["heal"] and self._team(target) == 0:
                if not UNITS[self.engine.units["type"][i]].heals:
                    return error_pb2.ActionResult.Value("NotSupported")
                self.engine.heal(i, target)
            else:
                return error_pb2.ActionResult.Value("NotSupported")
        return error_pb2.ActionResult.Value("Success")

    def _debug(self, request, response) -> None:
        """Debug commands take effect in the next step."""
        for command in request.debug:
            kind = command.WhichOneof("command")
            if kind == "kill_unit":
                self._to_kill += command.kill_unit.tag
            elif kind == "create_unit":
                wanted = command.create_unit
                if wanted.unit_type not in _TYPE_OF:
                    raise Refused(f"create_unit: the stand-in has no units of {wanted.unit_type}")
                if wanted.owner not in (1, 2) or not _near_map(wanted.pos):
                    raise Refused("create_unit: for player 1 or 2, on the map")
                quantity = max(wanted.quantity, 1)
                if len(self._to_create) + quantity > _MOST_UNITS:
                    raise Refused(f"create_unit: at most {_MOST_UNITS} units")
                recruit = (wanted.unit_type, wanted.owner, wanted.pos.x, wanted.pos.y)
                self._to_create += [recruit] * quantity
            elif kind != "draw":
                raise Refused(f"debug {kind}: the stand-in does not know this command")

    def _step(self, request, response) -> None:
        count = max(request.count, 1)
        if count > _MOST_LOOPS:
            raise Refused(f"step: at most {_MOST_LOOPS} game loops")
        for tag in self._to_kill:
            if (index := self._living(tag)) is not None:
                self.engine.kill(index)
        self._to_kill.clear()
        if self.engine is not None:
            self.engine.play(count)
        self.loop += count
        if self.loop >= LAST_LOOP:
            self._status = api.ended
        self._create_units()
        response.simulation_loop = self.loop

    def _save_replay(self, request, response) -> None:
        response.data = b"No replay: this battle was played by a stand-in for StarCraft II.\n"

    def _create_units(self) -> None:
        """Creates units; on a SMAC map both armies once all units are dead."""
        empty = self.engine is None or not self.engine.units["alive"].any()
        if self._to_create:
            if not empty:
                self._to_create.clear()
                raise Refused("create_unit: the stand-in creates units on an empty map only")
            units = np.zeros(len(self._to_create), UNIT_DTYPE)
            for unit, (id, owner, x, y) in zip(units, self._to_create, strict=True):
                unit["type"], unit["team"] = _TYPE_OF[id], owner - 1
                unit["x"], unit["y"] = x, y
                unit["autonomous"] = id < FIRST_RL_ID
            self._to_create.clear()
            self._deploy(units[np.argsort(units["team"], kind="stable")])
        elif empty and not self._map.generated:
            self._deploy(armies(self._map))

    def _deploy(self, units: np.ndarray) -> None:
        if random.random() < self._no_units:
            return
        self.engine = Engine(self._map, units, self._seed + self._battles)
        enemies = self.engine.units["team"] == 1
        for name in ("health", "shield"):
            self.engine.units[name][enemies] *= self._handicap
        self._battles += 1
        self._tags = {self._next_tag + index: index for index in range(len(units))}
        self._next_tag += len(units)

    def _team(self, index: int | None) -> int | None:
        return None if index is None else int(self.engine.units["team"][index])

    def _living(self, tag: int) -> int | None:
        """The index of a living unit."""
        index = self._tags.get(tag)
        return index if index is not None and self.engine.units["alive"][index] else None


def _near_map(point: common_pb2.Point2D) -> bool:
    """Whether a point is on the map or a map's width from it; clients point beyond the border."""
    return all(-SIZE <= value <= 2 * SIZE for value in (point.x, point.y))  # false for NaN


def _show(units: np.ndarray, index: int, tags: dict[int, int], seen: raw_pb2.Unit) -> None:
    """Fills in what the game shows of a living unit."""
    row = units[index]
    kind = UNITS[row["type"]]
    own = row["team"] == 0
    seen.tag = tags[index]
    seen.unit_type = GAME_ID[row["type"]] if row["autonomous"] else FIRST_RL_ID + int(row["type"])
    seen.owner = 1 if own else 2
    seen.alliance = raw_pb2.Self if own else raw_pb2.Enemy
    seen.display_type = raw_pb2.Visible
    seen.pos.x, seen.pos.y = row["x"], row["y"]
    seen.pos.z = _AIR_Z if kind.flies else _GROUND_Z
    seen.radius, seen.is_flying, seen.build_progress = kind.radius, kind.flies, 1.0
    seen.health, seen.health_max = row["health"], kind.health
    if kind.shield:
        seen.shield, seen.shield_max = row["shield"], kind.shield
    if kind.energy:
        seen.energy, seen.energy_max = row["energy"], ENERGY_MAX
    if not own:
        return  # the rest is not shown of enemies
    seen.weapon_cooldown = max(row["cooldown"], 0.0)
    target = int(row["target"])
    if target >= 0:
        ability = "heal" if row["order"] == HEAL else "attack"
        seen.orders.add(ability_id=_ABILITIES[ability], target_unit_tag=tags[target])
        seen.engaged_target_tag = tags[target]
    elif row["order"] == MOVE:
        goal = seen.orders.add(ability_id=_ABILITIES["move"]).target_world_space_pos
        goal.x, goal.y = row["goal_x"], row["goal_y"]


def _describe(kind: Unit, id: int, described: data_pb2.UnitTypeData) -> None:
    """Fills in the catalogue's entry of one of our unit types."""
    described.name = f"RL {kind.name.title()}" if id >= FIRST_RL_ID else kind.name.title()
    described.available = True
    described.race = _RACES[kind.race]
    described.sight_range = kind.sight
    described.movement_speed = kind.speed
    described.armor = kind.armour
    attributes = ("light", data_pb2.Light), ("armoured", data_pb2.Armored)
    described.attributes.extend(value for name, value in attributes if getattr(kind, name))
    biological = data_pb2.Biological if kind.biological else data_pb2.Mechanical
    described.attributes.append(biological)
    if kind.damage:
        weapon = described.weapons.add(damage=kind.damage, attacks=kind.hits, range=kind.range)
        weapon.type = data_pb2.Weapon.Any if kind.hits_air else data_pb2.Weapon.Ground
        weapon.speed = kind.period
        for bonus, value in ((kind.bonus_light, data_pb2.Light),
                             (kind.bonus_armoured, data_pb2.Armored)):  # fmt: skip
            if bonus:
                weapon.damage_bonus.add(attribute=value, bonus=bonus)


def _fill(image: common_pb2.ImageData, bits: int, data: bytes) -> None:
    image.bits_per_pixel, image.data = bits, data
    image.size.x = image.size.y = SIZE
