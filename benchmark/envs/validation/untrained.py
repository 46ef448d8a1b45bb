"""Untrained policies that were tested in the real game, rebuilt from their seeds.

A public training run tests its policy before it has learned anything. That policy is what PyTorch
draws for the run's seed, so a seed, a mean return and a mean length are evidence about whole
battles, for which nobody's weights are needed. ``results/real/untrained_runs.csv`` lists such
tests. The policies do odd things that trained ones never do, and always the same in either place:
they flee, pass the enemy by, stand at a wall, or shoot at one enemy only.
"""

import numpy as np

from benchmark.envs import find_map, make
from benchmark.envs.maps import Map
from benchmark.envs.playing import play
from benchmark.envs.spec import EnvSpec, Observation
from benchmark.envs.validation.evidence import FACTS, interval, read_table
from benchmark.envs.validation.players import RecurrentPolicy, untrained_network

RUNS = FACTS / "untrained_runs.csv"
MEASURES = ("return", "length")
_SHIELDS = "shields"  #: in column ``columns``: the run's client gave every unit a shield column


class Untrained(RecurrentPolicy):
    """The policy of a seed. Greedy, nothing is drawn.

    Args:
        spec: of the map.
        columns: of an observation that the run had, in our order, or ``None``: all and no others.
        width: of the run's observation.
    """

    def __init__(self, seed: int, spec: EnvSpec, columns: np.ndarray | None, width: int):
        inputs = width + spec.n_actions + spec.n_agents
        super().__init__(untrained_network(seed, inputs, spec.n_actions), "rnn")
        self._columns, self._width = columns, width

    def act(self, now: Observation) -> np.ndarray:
        if self._columns is not None:
            obs = np.zeros((*now.obs.shape[:2], self._width), np.float32)
            obs[..., self._columns] = now.obs
            now = now._replace(obs=obs)
        return super().act(now)


def shield_columns(where: Map) -> tuple[np.ndarray, int]:
    """Where the columns of our observation lie in that of a client which gives every unit a shield
    column (zero for those without), and how wide that is."""
    columns, width = list(range(4)), 4
    rows = [(5, where.enemy_shields)] * where.n_enemies
    rows += [(5, where.ally_shields)] * (where.n_agents - 1) + [(1, where.ally_shields)]
    for before, shields in rows:
        columns += range(width, width + before + shields)
        width += before + 1
        columns += range(width, width + where.type_bits)
        width += where.type_bits
    return np.array(columns), width


def compare(maps: list[str], n_battles: int = 64, seed: int = 1) -> list[dict]:
    """One row per test in the game: means there (``real_``) and here, with 95 % intervals."""
    rows = []
    tests = read_table(RUNS)
    for name in [name for name in maps if name in set(tests["map"])]:
        env = make(name, n_battles)
        for _, test in tests[tests["map"] == name].iterrows():
            columns, width = None, env.spec.obs_size
            if test["columns"] == _SHIELDS:
                columns, width = shield_columns(find_map(name))
            player = Untrained(int(test["seed"]), env.spec, columns, width)
            played = play(env, player, n_battles, seed)
            row = {"map": name, "seed": test["seed"], "columns": test["columns"]}
            for measure in MEASURES:
                row[f"real_{measure}"] = test[measure]
                row[measure] = played[measure].mean()
                row[f"{measure}_interval"] = interval(played[measure])
                # What chance alone would make of the difference, if both were the same.
                several = (1 / n_battles + 1 / test["battles"]) ** 0.5
                row[f"{measure}_error"] = float(played[measure].std()) * several
            rows.append(row)
    return rows


def summary(rows: list[dict]) -> list[dict]:
    """One row per map: number of policies, means there and here, the mean absolute difference and
    that of two samples of the same battles, and the correlation over policies."""
    found = []
    for name in dict.fromkeys(row["map"] for row in rows):
        these = [row for row in rows if row["map"] == name]
        line = {"map": name, "policies": len(these)}
        for measure in MEASURES:
            real = np.array([row[f"real_{measure}"] for row in these])
            here = np.array([row[measure] for row in these])
            errors = np.array([row[f"{measure}_error"] for row in these])
            line |= {
                f"real_{measure}": real.mean(), measure: here.mean(),
                f"{measure}_difference": np.abs(here - real).mean(),
                f"{measure}_chance": (2 / np.pi) ** 0.5 * errors.mean(),
                f"{measure}_correlation": np.corrcoef(real, here)[0, 1],
            }  # fmt: skip
        found.append(line)
    return found
