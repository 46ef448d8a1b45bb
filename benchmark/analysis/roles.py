"""The summary of the roles in battles: measures per agent and decision, averaged over battles.

The measures themselves are taken in :mod:`benchmark.visualization.roles.measures`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis import bootstrap, labels
from benchmark.analysis.tables import Cell, Table
from benchmark.training.config import IDENTITY

STEPS = (1, 20, 35, 50)  #: decisions in the paper's figure 4
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
        numbers: of one map, see ``benchmark.visualization.roles.measures``.
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
        " the roles of all. Another action in another role: share of teammates in whose role the"
        " agent would have acted otherwise. Agreement: share of teammates, dead included, of whom"
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
