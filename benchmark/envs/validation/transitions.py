"""The simulator compared with recorded steps of the real game.

A recording shows positions, health, shields and the agents' cooldowns, not the enemies' cooldowns,
targets and phases. A battle is therefore followed by many simulated ones ("particles"): each plays
the recorded actions from the recorded state; those that agree with what followed are kept, take
over the recorded positions and health, and play the next step. So hidden things are those that fit
the past, and every step is predicted before it is seen. From every fifth step on the particles also
play five steps without correction.

A perfect model would not be certain either: every cooldown is -1 to 2 loops longer at random, and
units look for targets at times of their own. How well the particles agree with each other says what
the simulator would reach if the game were the simulator (``ceiling``).
"""

from typing import NamedTuple, cast

import numpy as np

from benchmark.envs import find_map, make
from benchmark.envs.simulator import kernel
from benchmark.envs.simulator.env import Simulator
from benchmark.envs.simulator.records import FOLLOW, IDLE
from benchmark.envs.simulator.units import TYPE_ID, UNITS

#: Columns of a recording (``a0_hp``, ``a0_hp_next``, ..., ``e0_hp``) and the unit's field.
FIELDS = {
    "hp": "health", "cd": "cooldown", "x": "x", "y": "y", "sh": "shield", "en": "energy",
    "type": "type",
}  # fmt: skip
HORIZON = 5  #: steps without correction
_POSITION_SCALE = 0.25  #: cells; how far off an enemy may be before a particle counts for little
_LIFE_SCALE = 6.0  #: one hit of a marine


class Recording(NamedTuple):
    """``n`` recorded env steps."""

    actions: np.ndarray  #: [n, N]
    before: np.ndarray  #: [n, U] of ``FIELDS``' fields, NaN where not recorded
    after: np.ndarray  #: the same after the step
    chains: list[np.ndarray]  #: indices of consecutive steps; each a stretch of one battle


def load(table, one) -> Recording:
    """A table of recorded steps on a map; a unit's ``type`` is a name."""
    columns = {}
    for k in range(one.n_agents + one.n_enemies):
        name = f"a{k}" if k < one.n_agents else f"e{k - one.n_agents}"
        for column in FIELDS:
            columns[k, column] = f"{name}_{column}"
    dtype = np.dtype([(field, "f8") for field in FIELDS.values()])

    def units(suffix):
        found = np.full((len(table), one.n_agents + one.n_enemies), np.nan, dtype)
        for (k, column), name in columns.items():
            if name + suffix in table:
                values = table[name + suffix]
                values = values.map(TYPE_ID) if column == "type" else values
                found[FIELDS[column]][:, k] = values
        return found

    actions = table[[f"act{i}" for i in range(one.n_agents)]].to_numpy()
    before, after = units(""), units("_next")
    return Recording(actions, before, after, _chains(table, before, after))


def _chains(table, before, after):
    """Consecutive steps: the next row of the same battle, or, where steps that were recorded before
    are left out (as in the recording of 3m), the one that begins as this one ends."""
    starts, ends = _rounded(before), _rounded(after)
    index = {row.tobytes(): i for i, row in enumerate(starts)}
    battle = table[["file", "sequence", "t"]].to_numpy()
    following = []
    for i, row in enumerate(ends):
        goes_on = i + 1 < len(ends) and (battle[i, :2] == battle[i + 1, :2]).all()
        goes_on = goes_on and battle[i, 2] + 1 == battle[i + 1, 2] and (row == starts[i + 1]).all()
        following.append(i + 1 if goes_on else index.get(row.tobytes(), -1))
    chains = []
    for head in sorted(set(range(len(table))) - set(following)):
        chain, i = {}, head  # in order, and without a step twice
        while i >= 0 and i not in chain:
            chain[i] = True
            i = following[i]
        chains.append(np.array(list(chain)))
    return chains


def _rounded(units):
    numbers = units.view("f8").reshape(len(units), -1)
    return np.nan_to_num(np.round(numbers, 2)) + 0.0


def compare(table, name: str, n_particles: int = 200, n_chains: int | None = None, seed: int = 0):
    """Follows the recorded battles of a map.

    Returns:
        a dict: ``map``, ``steps``; ``one`` and ``five``: dicts of measure -> (here, ceiling), see
        ``_measures``; ``hurt``: the first measure where an agent is hurt; ``log_agents``: mean
        natural logarithm of the first, by which rules are compared; ``targets``: see ``_aimed``.
    """
    one = find_map(name)
    recording = load(table, one)
    env, ahead = (cast(Simulator, make(name, n_particles)) for _ in range(2))
    ahead.reset(np.arange(n_particles, dtype=np.uint64))
    random = np.random.default_rng(seed)
    judged: set[int] = set()
    rows: dict[int, list] = {1: [], HORIZON: []}
    hurt, targets = [], []
    for number, chain in enumerate(recording.chains[:n_chains]):
        env.reset(np.arange(n_particles, dtype=np.uint64) + np.uint64(n_particles * number))
        _begin(env, recording.before[chain[0]])
        victim = -1  # whom a lone enemy hit last
        for t, i in enumerate(chain):
            before, after = recording.before[i], recording.after[i]
            new = i not in judged
            if new and t % HORIZON == 0 and t + HORIZON <= len(chain):
                ahead._world.units[:] = env._world.units
                ahead._world.battles[:] = env._world.battles
                for j in chain[t : t + HORIZON]:
                    _step(ahead, recording.actions[j])
                rows[HORIZON].append(_judge(ahead, recording.after[chain[t + HORIZON - 1]]))
            _step(env, recording.actions[i])
            if new:
                rows[1].append(_judge(env, after))
                lost = before["health"] - after["health"]
                hurt.append((lost[: one.n_agents] > 0.5).any())
                aimed = _aimed(env, before, after)
                if aimed is not None:
                    targets.append((*aimed, victim))
            victim = _lone_victim(env, before, after, victim)
            judged.add(i)
            env._world.units[:] = env._world.units[_resample(env, after, random)]
            _show(env, after)
    here = np.array([row["agents"][0] for row in rows[1]])
    floor = np.maximum(here, 0.5 / n_particles)
    return {
        "map": name, "steps": len(here), "one": _means(rows[1]), "five": _means(rows[HORIZON]),
        "hurt": _mean(here[np.array(hurt)]), "log_agents": np.log(floor).mean(),
        "targets": _count_targets(targets),
    }  # fmt: skip


def _step(env, actions):
    played = np.broadcast_to(actions, (env.n_envs, len(actions))).copy()
    kernel.step_battles(played, env._world, env._out, 0, env.n_envs)
    env._world.battles["running"] = True


def _show(env, units):
    """Sets what the recording shows in all particles."""
    world = env._world
    mine = world.units
    for field in FIELDS.values():
        known = np.isfinite(units[field])
        mine[field][:, known] = units[field][known]
    mine["alive"] = units["health"] > 0
    mine["seen_x"], mine["seen_y"] = mine["x"], mine["y"]
    mine["seen_life"] = mine["health"] + mine["shield"]
    world.battles["running"] = True
    world.battles["steps"] = 0


def _begin(env, seen):
    """Puts battles that have just been reset where a stretch of the recording begins.

    The game numbers enemies in an order of its own: each is given what the simulator gives a unit
    of its type. A SMAC map's enemies walk to the attack point, in formation.
    """
    units = env._world.units
    if np.isfinite(seen["type"]).all():
        if env.map.generated:
            kinds = [UNITS[int(k)] for k in seen["type"]]  # energy and order as spawn.prepare's
            units["energy"] = [kind.energy for kind in kinds]
            follows = env.options.enemy_medivac == "follow"
            orders = [FOLLOW if kind.heals and follows else IDLE for kind in kinds]
            units["order"][:, env.map.n_agents :] = orders[env.map.n_agents :]
        else:
            place, team = np.empty(len(seen), int), units["team"][0]
            place[np.lexsort((seen["type"], team))] = np.lexsort((units["type"][0], team))
            units[:] = units[:, place]
    _show(env, seen)
    if env.map.generated:
        return
    enemies = units[:, env.map.n_agents :]
    for axis, point in zip("xy", env.map.attack_point, strict=True):
        middle = enemies[axis].mean(1, keepdims=True)
        enemies[f"goal_{axis}"] = point + enemies[axis] - middle


def _judge(env, after) -> dict[str, tuple[float, float]]:
    """Measures of the particles against what was recorded, and against each other."""
    units = env._world.units
    n = env.map.n_agents
    truth = np.broadcast_to(after, units.shape)
    other = np.roll(units, 1, axis=0)
    here, among = _measures(units, truth, n), _measures(units, other, n)
    return {name: (here[name], among[name]) for name in here}


def _measures(units, other, n: int) -> dict[str, float]:
    """How two sets of particles [P, U] differ, ``n`` agents first.

    Shares of particles in which the life (health and shield) of all agents, of all enemies, and who
    lives, are the same; mean distances of agents and enemies that live in both, in cells; mean
    difference of the agents' cooldowns, in loops.
    """
    life = [np.nan_to_num(u["shield"]) + u["health"] for u in (units, other)]
    same = np.abs(life[0] - life[1]) < 0.5
    alive = (units["health"] > 0) == (other["health"] > 0)
    both = (units["health"] > 0) & (other["health"] > 0)
    away = np.where(both, np.hypot(units["x"] - other["x"], units["y"] - other["y"]), np.nan)
    clocks = [np.maximum(u["cooldown"][:, :n], 0.0) for u in (units, other)]
    late = np.where(both[:, :n], np.abs(clocks[0] - clocks[1]), np.nan)
    return {
        "agents": same[:, :n].all(1).mean(), "enemies": same[:, n:].all(1).mean(),
        "alive": alive.all(1).mean(), "agents_off": _mean(away[:, :n]),
        "enemies_off": _mean(away[:, n:]), "cooldown_off": _mean(late),
    }  # fmt: skip


def _mean(values):
    known = values[np.isfinite(values)]
    return known.mean() if known.size else np.nan


def _means(rows):
    if not rows:
        return {}
    return {name: tuple(np.nanmean([row[name] for row in rows], axis=0)) for name in rows[0]}


def _resample(env, after, random):
    """Indices of particles, drawn by how well they agree with what was recorded."""
    units, n = env._world.units, env.map.n_agents
    shield = np.nan_to_num(after["shield"])
    life = np.abs(units["health"] + units["shield"] - after["health"] - shield).sum(1) / _LIFE_SCALE
    dx, dy = (units[axis][:, n:] - after[axis][n:] for axis in "xy")
    away = ((dx**2 + dy**2) * (after["health"][n:] > 0)).sum(1) / (2 * _POSITION_SCALE**2)
    score = -3.0 * life - away
    weight = np.exp(score - score.max())
    return random.choice(len(weight), len(weight), p=weight / weight.sum())


def _lone_victim(env, before, after, last: int) -> int:
    """The agent that a lone enemy hits in this step, or the one that it hit before; -1 none."""
    n = env.map.n_agents
    if (before["health"][n:] > 0).sum() != 1:
        return -1
    lost = before["health"][:n] - after["health"][:n]
    return int(lost.argmax()) if (lost > 0.5).sum() == 1 else last


def _aimed(env, before, after):
    """How the target of a lone enemy with a choice is predicted.

    Such a step has one living enemy, at its start two or more living agents within the range of its
    weapon, and one agent that is hit. A particle predicts the agent that is hit in it, or, where
    none is, the enemy's target at the end of the step.

    Returns:
        (share of particles that predict the agent that was hit, whether most agree on it, the
        agent, share of particles that predict what most do); ``None`` for other steps.
    """
    one, units = env.map, env._world.units
    n = one.n_agents
    enemies = np.flatnonzero(before["health"][n:] > 0)
    hit = np.flatnonzero(before["health"][:n] - after["health"][:n] > 0.5)
    if len(enemies) != 1 or len(hit) != 1:
        return None
    e = n + enemies[0]
    types = units["type"][0]
    kind = UNITS[types[e]]
    radii = np.array([UNITS[k].radius for k in types[:n]])
    gap = np.hypot(*(before[axis][:n] - before[axis][e] for axis in "xy")) - radii - kind.radius
    if ((before["health"][:n] > 0) & (gap <= kind.range)).sum() < 2:
        return None
    lost = before["health"][:n] - units["health"][:, :n]
    aimed = np.where((lost > 0.5).any(1), lost.argmax(1), units["target"][:, e])
    counts = np.bincount(aimed[aimed >= 0], minlength=n)
    return (
        (aimed == hit[0]).mean(),
        counts.argmax() == hit[0],
        int(hit[0]),
        counts.max() / len(aimed),
    )


def _count_targets(targets) -> dict[str, tuple[int, float, float, float]]:
    """Of all steps with a choice, and by whether the enemy's last victim is known and hit again:
    number, share predicted by most particles, mean share of particles, and what the first share
    would be if the game were the simulator."""
    groups = {
        "all": targets,
        "target kept": [row for row in targets if row[4] == row[2]],
        "target changed": [row for row in targets if 0 <= row[4] != row[2]],
        "last target not known": [row for row in targets if row[4] < 0],
    }
    return {
        name: (len(rows), *(np.mean([row[k] for row in rows]) for k in (1, 0, 3)))
        for name, rows in groups.items()
        if rows
    }
