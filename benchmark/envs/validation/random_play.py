"""Near-random play in the simulator compared with the real game.

The logs are of training runs that explored: an agent acts at random with probability epsilon, else
by a network that has hardly learned. Each row of the evidence is compared at its own mean epsilon.
At an epsilon of 1 nothing else is in it. Below 1 the network is not known: untrained ones of the
same shape take its part here, which leaves out what the game's had learned by then (its return
rises with the steps), so those rows are shown and not judged.
"""

from benchmark.envs import make
from benchmark.envs.playing import play
from benchmark.envs.validation.evidence import interval
from benchmark.envs.validation.players import NearRandom

PURE = 1.0  #: the exploration rate at which nothing but random actions is in a row
_BATCH = 32  #: battles of one untrained network


def compare(evidence, maps: list[str], n_battles: int = 512, seed: int = 5) -> list[dict]:
    """One row per map and exploration rate: means here and in the game (``real_``), with 95 %
    intervals: over battles here, over logging points there."""
    rows = []
    for _, real in evidence.table("random_play.csv").iterrows():
        if real["map"] not in maps:
            continue
        env = make(real["map"], _BATCH)
        played = play(env, NearRandom(real["mean_eps"], seed), n_battles, seed)
        row = {
            "map": real["map"], "epsilon": real["mean_eps"], "condition": real["condition"],
            "battles": n_battles, "real_battles": int(real["episodes"]),
        }  # fmt: skip
        for here, there in (("length", "ep_length"), ("return", "return")):
            error = real[f"sem_{here}_over_points"]
            row[here], row[f"{here}_interval"] = played[here].mean(), interval(played[here])
            row[f"real_{here}"], row[f"real_{here}_interval"] = real[there], 1.96 * error
        for side in ("dead_allies", "dead_enemies"):
            row[side], row[f"real_{side}"] = played[side].mean(), real[side]
        rows.append(row)
    return sorted(rows, key=lambda row: (maps.index(row["map"]), -row["epsilon"]))
