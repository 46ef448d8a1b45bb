"""Policies that were trained in the real game, or won there, played in the simulator."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark.envs import make
from benchmark.envs.playing import Player, play
from benchmark.envs.validation.evidence import interval


def compare(
    evidence,
    maps: list[str],
    open_player: Callable[[Path, str, int], Player],
    n_battles: int = 256,
    seed: int = 1,
) -> list[dict]:
    """One row per policy: wins, return and length here, and wins in the game where known.

    Args:
        open_player: makes a player of a file, the kind of its network and a seed.
    """
    rows = []
    for _, one in evidence.policies.iterrows():
        if one["map"] not in maps:
            continue
        env = make(one["map"], min(n_battles, 128))
        played = play(env, open_player(one["path"], one["network"], seed), n_battles, seed)
        rows.append(
            {
                "map": one["map"], "algorithm": one["algorithm"], "file": one["file"],
                "real_win": one["real_win"], "win": played["won"].mean(),
                "win_interval": interval(played["won"]), "return": played["return"].mean(),
                "length": played["length"].mean(), "battles": len(played["won"]),
                "source": f"{one['repository']}@{one['commit']}",
            }
        )  # fmt: skip
    return rows


def difference(rows: list[dict]) -> dict[str, float]:
    """Mean over a map's policies of |win rate here - in the game|, by map; unknown rates are left
    out."""
    by_map: dict[str, list[float]] = {}
    for row in rows:
        if not np.isnan(row["real_win"]):
            by_map.setdefault(row["map"], []).append(abs(row["win"] - row["real_win"]))
    return {name: float(np.mean(values)) for name, values in by_map.items()}
