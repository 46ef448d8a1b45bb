"""The kernel's memory for a map: facts and rules as tables, battles that have not begun."""

import numpy as np

from benchmark.envs.maps import Map
from benchmark.envs.options import EnvOptions
from benchmark.envs.simulator import kernel
from benchmark.envs.simulator.observation import layout_of
from benchmark.envs.simulator.records import BATTLE_DTYPE, RULES_DTYPE, UNIT_DTYPE
from benchmark.envs.simulator.terrain import find_terrain
from benchmark.envs.simulator.units import TYPE_ID, UNITS, type_table
from benchmark.envs.spec import EnvSpec


def make_world(one: Map, n_envs: int, options: EnvOptions) -> kernel.World:
    """``n_envs`` battles on a map, to be reset before they are stepped."""
    terrain = find_terrain(one.terrain)
    types = map_types(one, options)
    n_units = one.n_agents + one.n_enemies
    return kernel.World(
        units=np.zeros((n_envs, n_units), UNIT_DTYPE),
        battles=np.zeros(n_envs, BATTLE_DTYPE),
        known=np.full((n_envs, one.n_enemies), -1, np.int32),
        last_actions=np.full((n_envs, one.n_agents), -1, np.int32),
        order=np.zeros((n_envs, n_units), np.int32),
        types=types,
        rules=map_rules(one, options),
        layout=start_layout(one, types, terrain.walkable),
        walkable=terrain.walkable,
        near_wall=terrain.near_wall,
        via=terrain.via,
    )


def make_output(spec: EnvSpec, b: int) -> kernel.Output:
    """Empty arrays for what the kernel writes."""
    return kernel.Output(
        obs=np.zeros((b, spec.n_agents, spec.obs_size), np.float32),
        state=np.zeros((b, spec.state_size), np.float32),
        available=np.zeros((b, spec.n_agents, spec.n_actions), np.bool_),
        reward=np.zeros(b, np.float32),
        terminated=np.zeros(b, np.bool_),
        truncated=np.zeros(b, np.bool_),
        battle_won=np.zeros(b, np.bool_),
        dead=np.zeros((2, b), np.int32),
    )


def start_layout(one: Map, types: np.ndarray, walkable: np.ndarray) -> np.ndarray:
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


def map_types(one: Map, options: EnvOptions) -> np.ndarray:
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


def map_rules(one: Map, options: EnvOptions) -> np.ndarray:
    """The constants of an env as one record."""
    rules = np.zeros(1, RULES_DTYPE)
    row = rules[0]
    sizes = layout_of(one)
    row["n_agents"], row["n_enemies"] = one.n_agents, one.n_enemies
    row["n_actions"], row["limit"] = sizes["n_actions"], one.limit
    row["generated"], row["healers"], row["type_bits"] = one.generated, one.healers, one.type_bits
    row["ally_shields"], row["enemy_shields"] = one.ally_shields, one.enemy_shields
    for name in ("ally_width", "enemy_width", "obs_enemy_width", "obs_ally_width", "obs_own_width"):
        row[name] = sizes[name]
    row["wiped_observations"] = options.wiped_observations

    row["sparse"], row["only_positive"] = options.reward_sparse, options.reward_only_positive
    row["absolute"] = options.reward_absolute and not one.generated
    row["death_value"], row["win"] = options.reward_death_value, options.reward_win
    row["defeat"], row["negative_scale"] = options.reward_defeat, options.reward_negative_scale
    row["scale_rate"] = options.reward_scale_rate if options.reward_scale else 0.0
    row["max_reward"] = expected_max_reward(one, options)
    row["first_draw"] = one.generated and options.max_reward == "first_draw"

    row["attack_x"], row["attack_y"] = one.attack_point
    row["home_x"], row["home_y"] = one.enemy_spawn
    row["medivacs_follow"] = options.enemy_medivac == "follow"
    row["autonomous_allies"] = options.ally_control == "engine"
    row["jitter"] = options.cooldown_jitter
    row["walls"] = find_terrain(one.terrain).via.size > 1
    return rules


def expected_max_reward(one: Map, options: EnvOptions) -> float:
    """What a client scales rewards by; the mean over teams where they are drawn."""
    return (
        expected_enemy_life(one) + options.reward_death_value * one.n_enemies + options.reward_win
    )


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
