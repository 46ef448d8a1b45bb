"""Battles of the real clients against the stand-in, with the truth about their units."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.envs.maps import SIZE, Map
from benchmark.envs.scripted import POLICIES
from benchmark.envs.simulator.orders import FIRST_TARGET, NO_OP, NORTH, STOP
from benchmark.envs.spec import Observation
from benchmark.envs.starcraft2.env import StarCraft2
from benchmark.envs.starcraft2.standin.process import Journal
from tests.envs.starcraft2.reference import Observed

_MOVES = np.array([(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)])  # N, S, E, W


def flee(observation, units, random):
    """Everybody keeps away from all enemies and from the edges: battles that reach their limit."""
    n = observation.available.shape[1]
    agents, enemies = units[:, :n], units[:, n:]
    place = np.stack([agents["x"], agents["y"]], 2)[:, :, None] + 2.0 * _MOVES  # [B, N, 4, 2]
    way = place[:, :, :, None] - np.stack([enemies["x"], enemies["y"]], 2)[:, None, None]
    near = np.where(enemies["alive"][:, None, None], 1.0 / (way**2).sum(-1).clip(0.1), 0.0)
    edges = np.concatenate([place, SIZE - place], axis=-1).clip(0.1)
    danger = near.sum(-1) + (1.0 / edges**2).sum(-1)
    moves = observation.available[:, :, NORTH:FIRST_TARGET]
    away = NORTH + np.where(moves, danger, np.inf).argmin(2)
    stay = np.where(observation.available[:, :, STOP], STOP, NO_OP)
    return np.where(moves.any(2), away, stay)


_POLICIES = POLICIES | {"flee": flee}


class Moment(NamedTuple):
    """A battle after its reset (without actions) or after a step."""

    truth: np.ndarray  #: a record of the stand-in's journal: its units and random stream
    actions: np.ndarray | None  #: [N] what led here
    known: np.ndarray  #: [E] through which agent SMACv2's client knows each enemy, -1 none
    seen: Observed  #: what the real client says


def follow(env: StarCraft2, one: Map, journal: Path, seed: int, policy: str) -> Iterator[Moment]:
    """Plays one battle of an env with a single one, to its end.

    Args:
        journal: the folder into which the stand-in writes, for this env alone.
        seed: of the battle and of the policy.
        policy: one of the scripted ones, or "flee".
    """
    random = np.random.default_rng(seed)
    n_units = one.n_agents + one.n_enemies
    out = env.reset(np.array([seed], np.uint64))
    seen = Observed(out.obs[0], out.state[0], out.available[0], 0.0, False, False, False, 0, 0)
    yield Moment(_newest(journal, n_units), None, env._question(0, "known"), seen)
    while not (seen.terminated or seen.truncated):
        actions = _POLICIES[policy](Observation(*out[:3]), env.units(), random)
        out = env.step(actions)
        assert not out.aborted[0]
        seen = Observed(*(column[0] for column in out[:9]))
        yield Moment(_newest(journal, n_units), actions[0], env._question(0, "known"), seen)


def _newest(folder: Path, n_units: int) -> np.ndarray:
    """The last record in the only journal of a folder."""
    (journal,) = folder.glob("*.journal")
    kind = Journal.dtype(n_units)
    with open(journal, "rb") as file:
        file.seek(-kind.itemsize, 2)
        return np.frombuffer(file.read(), kind)[0]
