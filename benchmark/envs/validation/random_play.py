"""Near-random play in the simulator compared with the real game.

The logs are of training runs that explored: an agent acts at random with probability epsilon, else
by a network that has hardly learned. Each row of the evidence is compared at its own mean epsilon.
At an epsilon of 1 nothing else is in it. Below 1 the network is not known: untrained ones of the
same shape take its part here, which leaves out what the game's had learned by then (its return
rises with the steps), so those rows are shown and not judged.
"""

import numpy as np

from benchmark.envs import make
from benchmark.envs.playing import play
from benchmark.envs.validation.evidence import interval
from benchmark.envs.validation.players import NearRandom

#: The row whose single points ``random_play_points.csv`` has, and their kind there.
_FIRST_LOGS, _FIRST_POINTS = "real eps=1.0 (first log)", "first_log_eps1"
PURE = 1.0  #: the exploration rate at which nothing but random actions is in a row
_BATCH = 32  #: battles of one untrained network
_MEASURES = {"length": "ep_length", "return": "return"}  #: here: in the evidence
_DEATHS = ("dead_allies", "dead_enemies")


def compare(evidence, maps: list[str], n_battles: int = 512, seed: int = 5) -> list[dict]:
    """One row per map and exploration rate: means here and in the game (``real_``), with 95 %
    intervals: over battles here, over logging points there."""
    rows = []
    points = evidence.table("random_play_points.csv")
    for _, real in evidence.table("random_play.csv").iterrows():
        if real["map"] not in maps:
            continue
        env = make(real["map"], _BATCH)
        played = play(env, NearRandom(real["mean_eps"], seed), n_battles, seed)
        row = {
            "map": real["map"], "epsilon": real["mean_eps"], "condition": real["condition"],
            "battles": n_battles, **_in_the_game(real),
        }  # fmt: skip
        if real["condition"] == _FIRST_LOGS and points is not None:
            first = (points["map"] == real["map"]) & (points["kind"] == _FIRST_POINTS)
            row |= _first_battles(points[first])
        for name in _MEASURES:
            row[name], row[f"{name}_interval"] = played[name].mean(), interval(played[name])
        row |= {side: played[side].mean() for side in _DEATHS}
        rows.append(row)
    return sorted(rows, key=lambda row: (maps.index(row["map"]), -row["epsilon"]))


def _in_the_game(real) -> dict[str, float]:
    """Means of a row of the evidence, with intervals from its standard errors over points."""
    row: dict[str, float] = {"real_battles": int(real["episodes"])}
    for name, column in _MEASURES.items():
        row[f"real_{name}"] = real[column]
        row[f"real_{name}_interval"] = 1.96 * real[f"sem_{name}_over_points"]
    return row | {f"real_{side}": real[side] for side in _DEATHS}


def _first_battles(points) -> dict[str, float]:
    """The same of the logs' first points, whose exploration rate is 1: mostly a run's first battle.

    Runs with one seed begin with one and the same battle (3s5z_vs_3s6z: 43 points, 13 of them
    different), which counts once. A point may be the mean of several battles and weighs as many.
    """
    from scipy.stats import t

    points = points.drop_duplicates(["n", *_MEASURES.values()])
    battles, k = points["n"], len(points)

    def mean(column: str) -> float:
        known = points[column].notna()
        return float(np.average(points[column][known], weights=battles[known]))

    row: dict[str, float] = {"real_battles": int(battles.sum())}
    for name, column in _MEASURES.items():
        row[f"real_{name}"] = mean(column)
        deviations = battles * (points[column] - mean(column))
        error = (deviations.pow(2).sum() * k / (k - 1)) ** 0.5 / battles.sum()
        row[f"real_{name}_interval"] = float(t.ppf(0.975, k - 1) * error)
    return row | {f"real_{side}": mean(side) for side in _DEATHS}
