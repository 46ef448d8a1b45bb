"""Plays battles with any player: a trained network, a scripted policy, a run of our own."""

from typing import Any, Protocol

import numpy as np

from benchmark.envs.spec import Observation


class Player(Protocol):
    """Plays a batch of battles from their start."""

    def begin(self, now: Observation) -> None:
        """Forgets everything; ``now`` is the battles' start."""
        ...

    def act(self, now: Observation) -> np.ndarray:
        """Actions [B, N]."""
        ...


def play(
    env: Any, player: Player, n_battles: int, seed: int = 0, frames: list | None = None
) -> dict[str, np.ndarray]:
    """Plays battles to their end, as many at once as the env has; aborted ones do not count.

    Args:
        env: an ``Env``; with ``frames`` one that has ``units()``, as both backends have.
        seed: of the first battle; later ones count up.
        frames: gets the units before every step, the actions, the rewards and the units after it,
            of every battle that counts: (battle [n], step, units [n, U], actions [n, N],
            reward [n], units after [n, U]).

    Returns:
        arrays [n_battles] ``won``, ``truncated``, ``return``, ``length``, ``dead_allies``,
        ``dead_enemies``, in the order of the seeds.
    """
    ends, sums = ("won", "truncated"), ("return", "length", "dead_allies", "dead_enemies")
    batches, played, b = [], 0, env.n_envs
    kept = [] if frames is None else frames
    while played < n_battles:
        now = env.reset(np.arange(seed, seed + b, dtype=np.uint64))
        player.begin(now)
        total = {name: np.zeros(b, bool) for name in ends} | {name: np.zeros(b) for name in sums}
        running, whole, seen = np.ones(b, bool), np.ones(b, bool), []
        units = env.units() if frames is not None else None
        while running.any():
            actions = player.act(now)
            step = env.step(actions)
            now = Observation(step.obs, step.state, step.available)
            if frames is not None:
                after = env.units()
                seen.append((running.copy(), units, actions, step.reward, after))
                units = after
            total["won"] |= step.battle_won
            total["truncated"] |= step.truncated
            total["return"] += step.reward
            total["length"] += running
            total["dead_allies"] = np.maximum(total["dead_allies"], step.dead_allies)
            total["dead_enemies"] = np.maximum(total["dead_enemies"], step.dead_enemies)
            whole &= ~step.aborted
            running &= ~(step.terminated | step.truncated | step.aborted)
        counted = np.flatnonzero(whole)[: n_battles - played]
        for t, (alive, *arrays) in enumerate(seen):
            chosen = counted[alive[counted]]
            kept.append((seed + chosen, t, *(array[chosen] for array in arrays)))
        batches.append({name: values[counted] for name, values in total.items()})
        played, seed = played + len(counted), seed + b
    return {name: np.concatenate([batch[name] for batch in batches]) for name in (*ends, *sums)}
