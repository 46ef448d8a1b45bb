"""The embedded battle simulator: SMAC's and SMACv2's battles without StarCraft II."""

import numpy as np

from ..errors import BenchmarkError
from . import kernel
from .maps import Map
from .observation import layout_of
from .options import EnvOptions
from .records import BATTLE_DTYPE, RULES_DTYPE, UNIT_DTYPE
from .spec import EnvSpec, Observation, Transition
from .terrain import find_terrain
from .threads import share_out
from .units import TYPE_ID, UNITS, type_table

#: How many units a thread takes at a time: some 0.3 ms of work.
CHUNK_UNITS = 150
VERSION = "1"  #: raised whenever the same seed and actions may give another episode


def simulator_spec(one: Map) -> EnvSpec:
    """The sizes of a map on this backend, without compiling anything."""
    return EnvSpec(
        map=one.name,
        backend="simulator",
        backend_version=VERSION,
        episode_limit=one.limit,
        **layout_of(one),
    )


class Simulator:
    """A batch of battles in lockstep, see :class:`benchmark.envs.spec.Env`.

    All returned arrays are fresh: a caller may keep or change them.

    Args:
        one: the map.
        n_envs: number of battles ``B``.
        options: quirks and parameters; the defaults are what the papers ran.

    Raises:
        BenchmarkError: ``n_envs`` is not positive.
    """

    def __init__(self, one: Map, n_envs: int = 1, options: EnvOptions | None = None):
        if n_envs < 1:
            raise BenchmarkError(f"n_envs={n_envs}: an env needs at least one battle")
        self.map = one
        self.n_envs = n_envs
        self.options = options or EnvOptions()
        self.spec = simulator_spec(one)
        self._terrain = find_terrain(one.terrain, self.options.corridor_choke)
        types = _types(one, self.options)
        n_units = one.n_agents + one.n_enemies
        self._world = kernel.World(
            units=np.zeros((n_envs, n_units), UNIT_DTYPE),
            battles=np.zeros(n_envs, BATTLE_DTYPE),
            known=np.full((n_envs, one.n_enemies), -1, np.int32),
            last_actions=np.full((n_envs, one.n_agents), -1, np.int32),
            order=np.zeros((n_envs, n_units), np.int32),
            types=types,
            rules=_rules(one, self.spec, self.options),
            layout=_layout(one, types, self._terrain.walkable),
            walkable=self._terrain.walkable,
            beside_wall=self._terrain.beside_wall,
            via=self._terrain.via,
        )
        self._out = _output(n_envs, self.spec)
        self._started = False
        self._chunk = -(-CHUNK_UNITS // n_units)  # battles

    def reset(self, seeds: np.ndarray, battles: np.ndarray | None = None) -> Observation:
        """Starts new battles; see :meth:`benchmark.envs.spec.Env.reset`."""
        if battles is None:
            battles = np.arange(self.n_envs)
        elif not self._started:
            raise ValueError("the first reset of an env must reset all its battles")
        battles = np.ascontiguousarray(battles, np.int64)
        seeds = np.ascontiguousarray(seeds).astype(np.uint64, copy=False)
        if seeds.shape != battles.shape or battles.ndim != 1:
            raise ValueError(
                f"reset of {battles.size} battles needs as many seeds, got shape {seeds.shape}"
            )
        if battles.size and not (battles.min() >= 0 and battles.max() < self.n_envs):
            raise ValueError(f"battles to reset must be in 0 .. {self.n_envs - 1}")
        kernel.reset_battles(seeds, battles, self._world, self._out)
        self._started = True
        out = self._out
        return Observation(out.obs.copy(), out.state.copy(), out.available.copy())

    def step(self, actions: np.ndarray) -> Transition:
        """Plays one env step; see :meth:`benchmark.envs.spec.Env.step`."""
        if not self._started:
            raise ValueError("the env has not been reset yet")
        actions = np.ascontiguousarray(actions, np.int64)
        out = self._out
        if actions.shape != out.available.shape[:2]:
            raise ValueError(
                f"actions have shape {actions.shape}, expected {out.available.shape[:2]}"
            )
        b, i = kernel.find_unavailable(actions, out.available, self._world.battles)
        if b >= 0:
            raise ValueError(f"battle {b}, agent {i}: action {actions[b, i]} is not available")
        share_out(
            lambda first, last: kernel.step_battles(actions, self._world, out, first, last),
            self.n_envs,
            self._chunk,
        )
        return Transition(
            out.obs.copy(), out.state.copy(), out.available.copy(), out.reward.copy(),
            out.terminated.copy(), out.timed_out.copy(), out.battle_won.copy(),
            out.dead[0].copy(), out.dead[1].copy(),
        )  # fmt: skip

    def close(self) -> None:
        """Frees the battles."""
        self._world = self._out = None
        self._started = False

    def units(self) -> np.ndarray:
        """All units, for rendering, scripts and tests; a copy.

        Returns:
            [B, U] structured array, agents first (as numbered), then enemies, fields as in
            ``records.UNIT_DTYPE``. The useful ones:

            * ``type`` (index into ``units.UNITS``), ``team`` (0 allies, 1 enemies), ``alive``;
            * ``x``, ``y``: the centre, in cells, y grows north;
            * ``health``, ``shield``, ``energy``, ``cooldown`` (loops until the weapon is ready);
            * ``order``: ``records.IDLE``, ``MOVE``, ``ATTACK``, ``HEAL``, ``ATTACK_MOVE``,
              ``FOLLOW``; ``target``: index of the unit it attacks or heals, -1 none;
            * ``attacked``: its weapon went off, or it healed, in the last env step;
            * ``missile_target``: index of the unit that its missile flies to, -1 none in flight;
              ``missile_x``, ``missile_y``: where the missile is.
        """
        return self._world.units.copy()

    @property
    def walkable(self) -> np.ndarray:
        """[32, 32] bool, indexed [x, y]: the cells in which ground units can stand; read-only."""
        return self._terrain.walkable


def _output(b: int, spec: EnvSpec) -> kernel.Output:
    """Empty arrays for what the kernel writes."""
    return kernel.Output(
        obs=np.zeros((b, spec.n_agents, spec.obs_size), np.float32),
        state=np.zeros((b, spec.state_size), np.float32),
        available=np.zeros((b, spec.n_agents, spec.n_actions), np.bool_),
        reward=np.zeros(b, np.float32),
        terminated=np.zeros(b, np.bool_),
        timed_out=np.zeros(b, np.bool_),
        battle_won=np.zeros(b, np.bool_),
        dead=np.zeros((2, b), np.int32),
    )


def _layout(one: Map, types: np.ndarray, walkable: np.ndarray) -> np.ndarray:
    """The fixed start of a SMAC map: types and positions of all units, agents sorted."""
    layout = np.zeros(one.n_agents + one.n_enemies, UNIT_DTYPE)
    if one.generated:
        return layout
    layout["team"][one.n_agents :] = 1
    layout["type"] = [TYPE_ID[name] for name in one.allies + one.enemies]
    for axis, name in enumerate(("x", "y")):
        layout[name] = np.where(layout["team"] == 0, one.ally_spawn[axis], one.enemy_spawn[axis])
    kernel.arrange(layout, one.n_agents, types, walkable)
    return layout


def _types(one: Map, options: EnvOptions) -> np.ndarray:
    """The units' facts, with the columns that depend on the map."""
    types = type_table(options.missile_flight)
    swapped = options.swapped_enemy_types and one.swapped_types
    for column, name in enumerate(one.types):
        types["ally_column"][TYPE_ID[name]] = column
    for column, name in enumerate(one.swapped_types if swapped else one.types):
        types["enemy_column"][TYPE_ID[name]] = column
    for name, weight in one.weights:
        types["weight"][TYPE_ID[name]] = weight
        types["exception"][TYPE_ID[name]] = name in one.exceptions
    return types


def _rules(one: Map, spec: EnvSpec, options: EnvOptions) -> np.ndarray:
    """The constants of an env as one record."""
    rules = np.zeros(1, RULES_DTYPE)
    row = rules[0]
    row["n_agents"], row["n_enemies"] = spec.n_agents, spec.n_enemies
    row["n_actions"], row["limit"] = spec.n_actions, spec.episode_limit
    row["generated"], row["healers"], row["type_bits"] = one.generated, one.healers, one.type_bits
    row["ally_shields"], row["enemy_shields"] = one.ally_shields, one.enemy_shields
    for name in ("ally_width", "enemy_width", "obs_enemy_width", "obs_ally_width", "obs_own_width"):
        row[name] = getattr(spec, name)
    row["wiped_observations"] = options.wiped_observations
    row["max_distance"] = options.max_distance

    row["sparse"], row["only_positive"] = options.reward_sparse, options.reward_only_positive
    row["absolute"] = options.reward_absolute and not one.generated
    row["death_value"], row["win"] = options.reward_death_value, options.reward_win
    row["defeat"], row["negative_scale"] = options.reward_defeat, options.reward_negative_scale
    row["scale_rate"] = options.reward_scale_rate if options.reward_scale else 0.0
    row["max_reward"] = (
        expected_enemy_life(one) + options.reward_death_value * one.n_enemies + options.reward_win
    )
    row["first_draw"] = one.generated and options.max_reward == "first_draw"

    row["attack_x"], row["attack_y"] = one.attack_point
    row["home_x"], row["home_y"] = one.enemy_spawn
    row["medivacs_follow"] = options.enemy_medivac == "follow"
    row["autonomous_allies"] = options.ally_control == "engine"
    row["jitter"] = options.cooldown_jitter
    row["walls"] = find_terrain(one.terrain, options.corridor_choke).via.size > 1
    return rules


def expected_enemy_life(one: Map) -> float:
    """Health and shields of the enemy team; the mean over teams where they are drawn."""
    life = {unit.name: unit.health + unit.shield for unit in UNITS}
    if not one.generated:
        return sum(life[name] for name in one.enemies)
    return _expected_team_life(one, life, min(one.n_agents, one.n_enemies)) + _expected_team_life(
        one, life, max(one.n_enemies - one.n_agents, 0)
    )


def _expected_team_life(one: Map, life: dict[str, float], n: int) -> float:
    """Mean over teams of n independent draws, given that not all n are exceptions."""
    if n == 0:
        return 0.0
    weights = dict(one.weights)
    mean = sum(weight * life[name] for name, weight in weights.items())
    share = sum(weights[name] for name in one.exceptions)
    exceptional = sum(weights[name] * life[name] for name in one.exceptions)  # share x its mean
    return n * (mean - share ** (n - 1) * exceptional) / (1.0 - share**n)
