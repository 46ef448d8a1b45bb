"""The simulator compared with recorded steps of 3m.

The recording shows positions, health and the agents' cooldowns, not the enemies' cooldowns,
targets and phases. A battle is therefore followed by many simulated ones ("particles"): each plays
the recorded actions from the recorded state; those that agree with what followed are kept, take
over the recorded positions and health, and play the next step. So hidden things are those that fit
the past, and every step is predicted before it is seen.

A perfect model would not be certain either: every cooldown is -1 to 2 loops longer at random, and
units look for targets at times of their own. ``log_losses`` compares rules; 0 would be certainty.
"""

import numpy as np

from benchmark.envs import make
from benchmark.envs.simulator import kernel

_POSITION_SCALE = 0.25  #: cells; how far off an enemy may be before a particle counts for little
_LIFE_SCALE = 6.0  #: one hit of a marine


def load(table):
    """The recording as chains of consecutive steps.

    Args:
        table: ``3m_transitions.csv``.

    Returns:
        ``actions`` [n, 3], ``before`` and ``after`` [n, 6, 4] (health, cooldown, x, y; enemies'
        cooldowns are NaN), and a list of index arrays, each a stretch of one battle.
    """
    actions = table[[f"act{i}" for i in range(3)]].to_numpy()

    def units(suffix):
        blocks = []
        for side in "ae":
            for i in range(3):
                names = [f"{side}{i}_{name}{suffix}" for name in ("hp", "cd", "x", "y")]
                blocks.append(table.reindex(columns=names).to_numpy())
        return np.stack(blocks, 1)

    before, after = units(""), units("_next")
    index = {row.tobytes(): i for i, row in enumerate(_rounded(before))}
    following = [index.get(row.tobytes(), -1) for row in _rounded(after)]
    chains = []
    for head in sorted(set(range(len(table))) - set(following)):
        chain, i = [], head
        while i >= 0:
            chain.append(i)
            i = following[i]
        chains.append(np.array(chain))
    return actions, before, after, chains


def _rounded(units):
    return np.nan_to_num(np.round(units, 2)) + 0.0


def compare(table, n_particles: int = 200, n_chains: int | None = None, seed: int = 0):
    """Follows the recorded battles.

    Returns:
        a dict: number of steps; ``losses``: mean share of particles that predict all three agents'
        health after the step; ``log_losses``: mean natural logarithm of that share;
        ``hurt_losses`` and ``log_hurt_losses``: the same over steps in which an agent is hurt;
        ``shots``: the same share for the enemies' health; ``position``: mean distance, in cells,
        of enemies from where they were recorded.
    """
    actions, before, after, chains = load(table)
    env = make("3m", n_particles)
    random = np.random.default_rng(seed)
    rows = []
    for number, chain in enumerate(chains[:n_chains]):
        env.reset(np.arange(n_particles, dtype=np.uint64) + np.uint64(n_particles * number))
        _show(env, before[chain[0]])
        _aim(env)
        for i in chain:
            played = np.broadcast_to(actions[i], (n_particles, 3)).copy()
            kernel.step_battles(played, env._world, env._out, 0, n_particles)
            rows.append(_judge(env, before[i], after[i]))
            env._world.units[:] = env._world.units[_resample(env, after[i], random)]
            _show(env, after[i])
    table = np.array(rows)
    losses, shots, position, hurt = table.T
    floor = np.maximum(losses, 0.5 / n_particles)
    hurt = hurt > 0
    return {
        "steps": len(table), "losses": losses.mean(), "log_losses": np.log(floor).mean(),
        "hurt_losses": losses[hurt].mean(), "log_hurt_losses": np.log(floor[hurt]).mean(),
        "shots": shots.mean(), "position": np.nanmean(position),
    }  # fmt: skip


def _show(env, units):
    """Sets what the recording shows in all particles."""
    world = env._world
    mine = world.units
    health, cooldown, x, y = units.T
    mine["health"] = mine["seen_life"] = health
    mine["alive"] = health > 0
    mine["x"] = mine["seen_x"] = x
    mine["y"] = mine["seen_y"] = y
    mine["cooldown"][:, :3] = cooldown[:3]
    world.battles["running"] = True
    world.battles["steps"] = 0


def _aim(env):
    """Sends the enemies from where they are to the attack point, in formation."""
    enemies = env._world.units[:, 3:]
    for axis, point in zip("xy", env.map.attack_point, strict=True):
        middle = enemies[axis].mean(1, keepdims=True)
        enemies[f"goal_{axis}"] = point + enemies[axis] - middle


def _judge(env, before, after):
    """Shares of particles that agree in the agents' and in the enemies' health; distance; hurt."""
    units = env._world.units
    agree = np.abs(units["health"] - after[:, 0]) < 0.5
    alive = after[3:, 0] > 0
    away = np.hypot(units["x"][:, 3:] - after[3:, 2], units["y"][:, 3:] - after[3:, 3])
    position = away[:, alive].mean() if alive.any() else np.nan
    hurt = (after[:3, 0] < before[:3, 0] - 0.5).any()
    return agree[:, :3].all(1).mean(), agree[:, 3:].all(1).mean(), position, hurt


def _resample(env, after, random):
    """Indices of particles, drawn by how well they agree with what was recorded."""
    units = env._world.units
    life = np.abs(units["health"] - after[:, 0]).sum(1) / _LIFE_SCALE
    alive = after[3:, 0] > 0
    dx, dy = units["x"][:, 3:] - after[3:, 2], units["y"][:, 3:] - after[3:, 3]
    away = ((dx**2 + dy**2) * alive).sum(1) / (2 * _POSITION_SCALE**2)
    score = -3.0 * life - away
    weight = np.exp(score - score.max())
    return random.choice(len(weight), len(weight), p=weight / weight.sum())
