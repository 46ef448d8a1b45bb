"""Measures of the roles in battles, per agent and decision, and their summary.

The dead see nothing and cannot act. They form a cluster of their own, which improves every measure;
so each is given twice: of all agents, as in the authors' notebook and in training, and of the
living, clustered among themselves.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from algorithms.learner import NEVER
from algorithms.role_swap import policy_divergence
from benchmark.analysis import bootstrap, labels
from benchmark.analysis.tables import Cell, Table
from benchmark.training.evaluations import IDENTITY
from benchmark.training.policy import Policy
from benchmark.visualization.roles import clusters
from benchmark.visualization.roles.battles import Battle

#: Measures per agent and decision: name -> heading. ``living_`` before a name: of the living only.
MEASURES = {
    "silhouette": "Silhouette",
    "own_centre": "Distance to own centre",
    "nearest_centre": "Distance to nearest other centre",
    "divergence": "Policy divergence (nats)",
    "other_action": "Another action in another role",
}
_SHOWN = {
    **{f"living_{name}": heading for name, heading in MEASURES.items()},
    "silhouette": "Silhouette, the dead included",
    "agreement": "Agreement with the training clusters",
}
_DIGITS = {"living_divergence": 4}
_REPLICATIONS = 2000


def measure(policy: Policy, battle: Battle) -> pd.DataFrame:
    """The measures of one battle: a row per decision and agent."""
    steps, agents = battle.alive.shape
    found, everyone = battle.clusters, np.ones_like(battle.alive)
    columns = {
        "role_cluster": found.roles,
        "training_cluster": found.training,
        "agreement": clusters.agreement(found.roles, found.training),
        **_measures(battle, found.roles, everyone),
    }
    living = {"cluster": found.living} | _measures(battle, found.living, battle.alive)
    columns |= {f"living_{name}": values for name, values in living.items()}
    frame = pd.DataFrame(
        {
            "battle": battle.seed,
            "t": np.repeat(np.arange(1, steps + 1), agents),
            "agent": np.tile(np.arange(agents), steps),
            "alive": battle.alive.ravel(),
            **{name: values.ravel() for name, values in columns.items()},
        }
    )
    return frame.assign(**policy.config.identity)[[*IDENTITY, *frame.columns]]


def _measures(battle: Battle, labels: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """``MEASURES`` of the agents that are present, [T, N] each; NaN for the others."""
    divergence, other_action = np.full((2, *present.shape), np.nan)
    masked = battle.swapped.masked_fill(~battle.batch.available[:-1, 0, :, None], NEVER)
    greedy = masked.argmax(-1).numpy()  # [T, N, N]
    for step, agents in enumerate(present):
        count = np.count_nonzero(agents)
        if count < 2:  # nobody to swap roles with
            continue
        of_step = battle.swapped[step, agents][:, agents]
        divergence[step, agents] = policy_divergence(of_step).numpy()
        chosen = greedy[step][np.ix_(agents, agents)]
        changed = chosen != chosen.diagonal()[:, None]
        other_action[step, agents] = changed.sum(1) / (count - 1)
    geometry = clusters.geometry(battle.roles, labels)
    return {**geometry._asdict(), "divergence": divergence, "other_action": other_action}


def per_battle(numbers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Means over agents: battles by decisions, NaN where a battle is over."""
    return numbers.pivot_table(name, "battle", "t", "mean", dropna=False)


def interval(means: np.ndarray) -> tuple[float, float, float]:
    """Mean over battles and its 95 % bootstrap interval, which a single battle does not have."""
    means = means[~np.isnan(means)]
    count = len(means)
    if count == 0:
        return np.nan, np.nan, np.nan
    if count == 1:
        return float(means[0]), np.nan, np.nan
    drawn = bootstrap.Bootstrap(replications=_REPLICATIONS).counts(count, "battles")
    low, high = bootstrap.interval(drawn @ means / count)
    return float(means.mean()), float(low), float(high)


def summary(numbers: pd.DataFrame, steps: Sequence[int]) -> Table:
    """The measures of each policy at some decisions, and over all of them.

    Args:
        numbers: of one map, see ``measure``.
        steps: decisions; those that no battle reached are left out.
    """
    rows = {}
    for (*_, algorithm, variant, seed), of_policy in numbers.groupby(IDENTITY, sort=False):
        name = f"{labels.label(algorithm, variant)}, seed {seed}"
        by_number = {column: per_battle(of_policy, column) for column in _SHOWN}
        length = of_policy.groupby("battle")["t"].max()
        for step in steps:
            lasting = int((length >= step).sum())
            if lasting:
                cells = {column: means[step] for column, means in by_number.items()}
                label = f"{name}: t = {step} ({labels.count([lasting], 'battle')})"
                rows[label] = _cells(cells, lasting)
        cells = {column: means.mean(axis=1) for column, means in by_number.items()}
        label = f"{name}: all t ({labels.count([len(length)], 'battle')})"
        rows[label] = _cells(cells, len(length))
    map = numbers["map"].iloc[0]
    caption = (
        f"Roles on {map}, decision t of greedy battles: mean over living agents and battles, with"
        " 95 % interval over battles. Silhouette and distances: of the role z among the k-means"
        " clusters of its step. Policy divergence: KL between an agent's policy and its mean over"
        " the roles of all. Another action in another role: share of comrades in whose role the"
        " agent would have acted otherwise. Agreement: share of comrades, dead included, of whom"
        " the clusters of z and those of the contrastive loss say the same. Source:"
        f" {labels.source(*numbers[['backend', 'protocol']].iloc[0])}."
    )
    return Table(f"roles_{map}", caption, "Policy", list(_SHOWN.values()), rows, numbers)


def _cells(means: dict[str, pd.Series], usual: int) -> list[Cell]:
    """One cell per measure, with a note where it is of fewer battles than usual."""
    cells = []
    for column, values in means.items():
        count = int(values.notna().sum())
        note = f"n = {count}" if 0 < count < usual else ""
        digits = _DIGITS.get(column, 2)
        cells.append(Cell(*interval(values.to_numpy()), note=note, digits=digits))
    return cells
