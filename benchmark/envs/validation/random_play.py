"""Near-random play in the simulator compared with the real game.

The logs are of training runs that explored: an agent acts at random with probability epsilon and by
an untrained network, which prefers one action for long, otherwise. Only the first logs have an
epsilon of 1, and only they are compared: in later windows the network's part is not known.
"""

import numpy as np

from benchmark.envs import make
from benchmark.envs.scripted import play, random_policy
from benchmark.envs.validation.evidence import RANDOM, interval


def compare(evidence, maps: list[str], n_battles: int = 512, seed: int = 5) -> list[dict]:
    """One row per map: means of length, return and deaths here and in the game, 95 % intervals."""
    table = evidence.table("random_play.csv")
    table = table[table["condition"] == RANDOM].set_index("map")
    rows = []
    for name in maps:
        if name not in table.index:
            continue
        real = table.loc[name]
        env = make(name, min(n_battles, 128))
        played = play(env, random_policy, n_battles, seed)
        row = {"map": name, "battles": len(played["won"]), "real_battles": int(real["episodes"])}
        for here, there in (("length", "ep_length"), ("return", "return")):
            error = real[f"sem_{here}_over_points"]
            row[here], row[f"{here}_interval"] = played[here].mean(), interval(played[here])
            row[f"real_{here}"], row[f"real_{here}_interval"] = real[there], 1.96 * error
        for side in ("allies", "enemies"):
            row[f"dead_{side}"] = np.mean(played[f"dead_{side}"])
            row[f"real_dead_{side}"] = real[f"dead_{side}"]
        rows.append(row)
    return rows
