"""Availability, observations and state as the clients write them (compiled), and their sizes.

Layouts, in order (SMAC client; SMACv2's additions in brackets):

* observation of an agent, zeros when it is dead: 4 move bits | per enemy: attackable, distance, dx,
  dy, health, shield?, type one-hot | per other ally: visible, distance, dx, dy, health, shield?,
  type one-hot | own health, shield?, [x, y], type one-hot;
* state: per ally: health, cooldown or energy, x, y, shield?, type one-hot | per enemy: health, x,
  y, shield?, type one-hot | one-hot of every agent's last action.

Shield columns exist for protoss teams, type columns where a map has several types.
"""

import math

from benchmark.envs.maps import MAX_DISTANCE, SIZE, Map
from benchmark.envs.simulator.compiled import compiled
from benchmark.envs.simulator.orders import EAST, FIRST_TARGET, NO_OP, NORTH, SOUTH, STOP, WEST
from benchmark.envs.simulator.random import client_below
from benchmark.envs.simulator.units import ENERGY_MAX

_SMAC_SIGHT, _SMAC_REACH = 9.0, 6.0  #: SMAC's client uses one range for all units
_MOVE_CHECK = 1.0  #: a move needs the cell this far away to be open


def layout_of(one: Map) -> dict[str, int]:
    """Sizes of a map: the fields of ``EnvSpec`` that describe shapes."""
    bits, shield, enemy_shield = one.type_bits, int(one.ally_shields), int(one.enemy_shields)
    targets = max(one.n_agents, one.n_enemies) if one.healers else one.n_enemies
    sizes = {
        "n_agents": one.n_agents,
        "n_enemies": one.n_enemies,
        "n_actions": FIRST_TARGET + targets,
        "ally_width": 4 + shield + bits,
        "enemy_width": 3 + enemy_shield + bits,
        "obs_enemy_width": 5 + enemy_shield + bits,
        "obs_ally_width": 5 + shield + bits,
        "obs_own_width": 1 + shield + 2 * one.generated + bits,
    }
    sizes["obs_size"] = (
        4
        + one.n_enemies * sizes["obs_enemy_width"]
        + (one.n_agents - 1) * sizes["obs_ally_width"]
        + sizes["obs_own_width"]
    )
    sizes["state_size"] = (
        one.n_agents * (sizes["ally_width"] + sizes["n_actions"])
        + one.n_enemies * sizes["enemy_width"]
    )
    return sizes


@compiled
def write_available(units, types, rules, walkable, available):
    """Fills [N, A] with the available actions of every agent; a dead agent may only do nothing."""
    for i in range(rules.n_agents):
        u = units[i]
        row = available[i]
        row[NO_OP] = not u.alive
        if not u.alive:
            continue
        row[STOP] = True
        row[NORTH] = _is_open(u.x, u.y + _MOVE_CHECK, walkable)
        row[SOUTH] = _is_open(u.x, u.y - _MOVE_CHECK, walkable)
        row[EAST] = _is_open(u.x + _MOVE_CHECK, u.y, walkable)
        row[WEST] = _is_open(u.x - _MOVE_CHECK, u.y, walkable)
        reach = types[u.type].reach if rules.generated else _SMAC_REACH
        heals = rules.healers and types[u.type].heals > 0.0
        first = 0 if heals else rules.n_agents
        count = rules.n_agents if heals else rules.n_enemies
        for k in range(count):
            v = units[first + k]
            if v.alive and not (heals and types[v.type].heals > 0.0):
                dx, dy = v.x - u.x, v.y - u.y
                row[FIRST_TARGET + k] = dx * dx + dy * dy <= reach * reach


@compiled
def _is_open(x, y, walkable):
    """Whether the cell is on the map and walkable; truncates towards zero as the client does."""
    column, row = int(x), int(y)
    return 0 <= column < SIZE and 0 <= row < SIZE and walkable[column, row]


@compiled
def shuffle_agents(battle, rules, order):
    """Fills [>= N] with the order in which the client goes through the agents: SMACv2's is drawn
    again for every observation, and affects the blanked observations alone."""
    shuffled = rules.generated and rules.wiped_observations
    for k in range(rules.n_agents):
        order[k] = k
        if shuffled:
            j = client_below(battle, k + 1)
            order[k] = order[j]
            order[j] = k


@compiled
def write_observations(units, known, order, types, rules, available, obs):
    """Fills [N, O], which holds zeros, with what every agent sees.

    Args:
        known: [E] the agent that first saw each enemy, -1 while nobody has (SMACv2); updated.
        order: [>= N] the order in which the agents come, from ``shuffle_agents``.
    """
    wiped = rules.generated and rules.wiped_observations
    for k in range(rules.n_agents):
        i = order[k]
        if units[i].alive:
            blank = _meet_enemies(i, units, known, types, rules) if wiped else -1
            _write_observation(i, units, blank, types, rules, available[i], obs[i])


@compiled
def _meet_enemies(i, units, known, types, rules):
    """SMACv2 since 2023: the first agent to see an enemy makes it known to all; the last enemy
    that is not known when an agent's turn comes blanks those before it.

    Returns:
        the index of that enemy, -1 if all are known.
    """
    u = units[i]
    sight = types[u.type].sight
    blank = -1
    for e in range(rules.n_enemies):
        if known[e] < 0:
            v = units[rules.n_agents + e]  # dead or alive: corpses count as seen
            dx, dy = v.x - u.x, v.y - u.y
            if dx * dx + dy * dy < sight * sight:
                known[e] = i
            else:
                blank = e
    return blank


@compiled
def forget_enemies(units, known, rules):
    """SMACv2: who is dead, or was first seen by an agent that is dead now, is unknown again."""
    for e in range(rules.n_enemies):
        if known[e] >= 0 and not (units[known[e]].alive and units[rules.n_agents + e].alive):
            known[e] = -1


@compiled
def _write_observation(i, units, blank, types, rules, available, row):
    """One agent's observation; enemies up to ``blank`` stay zero."""
    u = units[i]
    kind = types[u.type]
    sight = kind.sight if rules.generated else _SMAC_SIGHT
    for k in range(4):
        row[k] = 1.0 if available[NORTH + k] else 0.0
    column = 4 + (blank + 1) * rules.obs_enemy_width
    for e in range(blank + 1, rules.n_enemies):
        v = units[rules.n_agents + e]
        if v.alive:
            # For a medivac this is whether *ally* e can be healed: the client's slots coincide.
            flag = 1.0 if available[FIRST_TARGET + e] else 0.0
            bit = types[v.type].enemy_column
            _write_other(u, v, sight, flag, rules.enemy_shields, bit, types, rules, row, column)
        column += rules.obs_enemy_width
    for j in range(rules.n_agents):
        if j == i:
            continue
        v = units[j]
        if v.alive:
            bit = types[v.type].ally_column
            _write_other(u, v, sight, 1.0, rules.ally_shields, bit, types, rules, row, column)
        column += rules.obs_ally_width
    row[column] = u.health / kind.health
    column += 1
    if rules.ally_shields:
        row[column] = u.shield / kind.shield
        column += 1
    if rules.generated:
        row[column] = u.x / SIZE
        row[column + 1] = u.y / SIZE
        column += 2
    if rules.type_bits > 0:
        row[column + types[u.type].ally_column] = 1.0


@compiled
def _write_other(u, v, sight, flag, shields, bit, types, rules, row, column):
    """What u sees of v, if v is in sight."""
    dx, dy = v.x - u.x, v.y - u.y
    square = dx * dx + dy * dy
    if square >= sight * sight:
        return
    row[column] = flag
    row[column + 1] = math.sqrt(square) / sight
    row[column + 2] = dx / sight
    row[column + 3] = dy / sight
    row[column + 4] = v.health / types[v.type].health
    column += 5
    if shields:
        row[column] = v.shield / types[v.type].shield
        column += 1
    if rules.type_bits > 0:
        row[column + bit] = 1.0


@compiled
def write_state(units, last_actions, types, rules, state):
    """Fills [S], which holds zeros, with the global state; last actions of -1 mean none yet."""
    half = SIZE / 2
    column = 0
    for i in range(rules.n_agents + rules.n_enemies):
        u = units[i]
        ally = i < rules.n_agents
        width = rules.ally_width if ally else rules.enemy_width
        if u.alive:
            kind = types[u.type]
            k = column
            state[k] = u.health / kind.health
            if ally:
                # The scale is the client's; true cooldowns differ, so the ratio may exceed 1.
                clock = u.energy if kind.heals > 0.0 else max(u.cooldown, 0.0)
                state[k + 1] = clock / (ENERGY_MAX if kind.heals > 0.0 else kind.cooldown_scale)
                k += 1
            state[k + 1] = (u.x - half) / MAX_DISTANCE
            state[k + 2] = (u.y - half) / MAX_DISTANCE
            if rules.ally_shields if ally else rules.enemy_shields:
                state[k + 3] = u.shield / kind.shield
            if rules.type_bits > 0:
                bit = types[u.type].ally_column if ally else types[u.type].enemy_column
                state[column + width - rules.type_bits + bit] = 1.0
        column += width
    for i in range(rules.n_agents):
        if last_actions[i] >= 0:
            state[column + last_actions[i]] = 1.0
        column += rules.n_actions
