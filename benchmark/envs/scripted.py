"""Scripted policies: baselines for learned ones, and players for the simulator's tests.

A policy maps ``(observation, units, random)`` to actions [B, N]: the last observation of an env,
its privileged view ``env.units()``, and a NumPy generator. All but ``random`` are deterministic.
Shapes: ``B`` battles, ``N`` agents, ``E`` enemies, ``A`` actions.
"""

from collections.abc import Callable

import numpy as np

from benchmark.envs import playing
from benchmark.envs.maps import SIZE
from benchmark.envs.simulator.orders import FIRST_TARGET, NO_OP, NORTH, STOP
from benchmark.envs.simulator.units import UNITS
from benchmark.envs.spec import Observation

Policy = Callable[[Observation, np.ndarray, np.random.Generator], np.ndarray]

_RANGE = np.array([unit.range for unit in UNITS])
_HEALS = np.array([unit.heals > 0 for unit in UNITS])
_HEALTH = np.array([unit.health for unit in UNITS])
_TOO_CLOSE = 2.5  #: cells between centres; a chaser arrives before the shot is over
_MOVES = np.array([(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)])  # N, S, E, W


def random_policy(observation, units, random):
    """Uniform over the available actions."""
    draw = random.random(observation.available.shape)
    return np.where(observation.available, draw, -1.0).argmax(2)


def attack_nearest(observation, units, random):
    """Everybody attacks the nearest enemy that can be attacked, else walks towards the nearest."""
    distance = _distances(observation, units)
    return _attack_or_approach(observation, units, distance)


def focus_fire(observation, units, random):
    """Everybody attacks the enemy with least life left in reach: a shared target."""
    distance = _distances(observation, units)
    enemies = units[:, distance.shape[1] :]
    life = (enemies["health"] + enemies["shield"])[:, None, :]
    return _attack_or_approach(observation, units, life + 1e-3 * distance)


def spread_fire(observation, units, random):
    """Every agent prefers another target: agent i the enemy of index i modulo their number."""
    distance = _distances(observation, units)
    _, n, e = distance.shape
    preference = (np.arange(e)[None] - np.arange(n)[:, None]) % e
    return _attack_or_approach(observation, units, np.broadcast_to(preference, distance.shape))


def kite(observation, units, random):
    """Shoots enemies of shorter range from a distance and keeps away from them in between.

    An agent shoots when its weapon is ready and none of them is within ``_TOO_CLOSE``; otherwise it
    takes the move that leads to the safest place: far from them and from the map's edges.
    """
    distance = _distances(observation, units)
    n = distance.shape[1]
    agents, enemies = units[:, :n], units[:, n:]
    reach = _RANGE[agents["type"]]
    shorter = reach[:, :, None] > _RANGE[enemies["type"]][:, None] + 1.0
    chasers = shorter & np.isfinite(distance)
    nearest = np.where(chasers, distance, np.inf).min(2)
    flee = ((agents["cooldown"] > 0) & (nearest < reach)) | (nearest < _TOO_CLOSE)

    place = np.stack([agents["x"], agents["y"]], axis=2)[:, :, None] + 2.0 * _MOVES  # [B, N, 4, 2]
    to_enemy = place[:, :, :, None] - np.stack([enemies["x"], enemies["y"]], 2)[:, None, None]
    danger = (chasers[:, :, None] / (to_enemy**2).sum(-1).clip(0.1)).sum(-1)
    edges = np.concatenate([place, SIZE - place], axis=-1).clip(0.1)
    danger += (0.5 / edges**2).sum(-1)
    moves = observation.available[:, :, NORTH:FIRST_TARGET]
    away = NORTH + np.where(moves, danger, np.inf).argmin(2)
    flee &= agents["alive"] & moves.any(2)
    return np.where(flee, away, _attack_or_approach(observation, units, distance))


def hold(x: float, y: float, radius: float = 2.0) -> Policy:
    """A policy that gathers around a point and attacks enemies in reach from there."""

    def policy(observation, units, random):
        distance = _distances(observation, units)
        agents = units[:, : distance.shape[1]]
        way = np.stack([x - agents["x"], y - agents["y"]], axis=2)
        attack = _attack_or_approach(observation, units, distance)
        outside = np.hypot(way[..., 0], way[..., 1]) > radius
        stay = np.where(agents["alive"], STOP, NO_OP)
        return np.where(
            outside & agents["alive"],
            _walk(observation, way),
            np.where(attack >= FIRST_TARGET, attack, stay),
        )

    return policy


#: The policies that need no parameters, by name.
POLICIES: dict[str, Policy] = {
    "random": random_policy,
    "attack_nearest": attack_nearest,
    "focus_fire": focus_fire,
    "spread_fire": spread_fire,
    "kite": kite,
}


def _distances(observation, units):
    """[B, N, E] distances between the centres of agents and enemies, infinite to the dead."""
    n = observation.available.shape[1]
    agents, enemies = units[:, :n, None], units[:, None, n:]
    distance = np.hypot(enemies["x"] - agents["x"], enemies["y"] - agents["y"])
    return np.where(enemies["alive"], distance, np.inf)


def _attack_or_approach(observation, units, cost):
    """Attacks the available target of least cost [B, N, E], else walks to the nearest enemy.

    Medivacs heal the friend with the smallest share of health, else fly to the nearest enemy
    as the others do.
    """
    n = observation.available.shape[1]
    agents, enemies = units[:, :n], units[:, n:]
    targets = observation.available[:, :, FIRST_TARGET:]
    heals = _HEALS[agents["type"]]
    share = agents["health"] / _HEALTH[agents["type"]]

    price = np.full(targets.shape, np.inf)
    e = min(enemies.shape[1], targets.shape[2])
    price[:, :, :e] = cost[:, :, :e]
    if heals.any():
        patients = np.full(targets.shape, np.inf)
        patients[:, :, :n] = share[:, None, :]
        price = np.where(heals[:, :, None], patients, price)
    price = np.where(targets, price, np.inf)
    attack = FIRST_TARGET + price.argmin(2)

    goals = [np.where(enemies["alive"], enemies[axis], np.inf) for axis in ("x", "y")]
    distance = np.hypot(
        goals[0][:, None] - agents["x"][:, :, None], goals[1][:, None] - agents["y"][:, :, None]
    )
    nearest = distance.argmin(2)
    way = np.stack(
        [np.take_along_axis(enemies[axis], nearest, 1) - agents[axis] for axis in ("x", "y")],
        axis=2,
    )
    approach = _walk(observation, way)
    actions = np.where(targets.any(2), attack, approach)
    return np.where(agents["alive"] & observation.available[:, :, STOP], actions, NO_OP)


def _walk(observation, way):
    """The available move that leads furthest along ``way`` [B, N, 2], else stop or no-op."""
    gain = way @ _MOVES.T  # [B, N, 4]
    gain = np.where(observation.available[:, :, NORTH:FIRST_TARGET], gain, -np.inf)
    idle = np.where(observation.available[:, :, STOP], STOP, NO_OP)
    return np.where(gain.max(2) > 0, NORTH + gain.argmax(2), idle)


class _Scripted:
    """A policy as a player of an env."""

    def __init__(self, policy: Policy, env, seed: int):
        self._policy, self._env = policy, env
        self._random = np.random.default_rng(seed)

    def begin(self, now: Observation) -> None:
        pass  # it remembers nothing

    def act(self, now: Observation) -> np.ndarray:
        return self._policy(now, self._env.units(), self._random)


def play(env, policy: Policy, n_battles: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Plays battles of a policy in any env with ``units()``; as ``playing.play``.

    Args:
        seed: of the policy's generator and the first battle; later ones count up.
    """
    return playing.play(env, _Scripted(policy, env, seed), n_battles, seed)
