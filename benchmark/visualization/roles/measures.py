"""Measures of the roles in a battle, per agent and decision.

The dead see nothing and cannot act. They form a cluster of their own, which improves every measure;
so each is given twice: of all agents, as in the authors' notebook and in training, and of the
living, clustered among themselves.
"""

import numpy as np
import pandas as pd

from algorithms.counterfactual import policy_divergence
from algorithms.learner import NEVER
from benchmark.training.config import IDENTITY
from benchmark.training.policy import Policy
from benchmark.visualization.roles import clusters
from benchmark.visualization.roles.battles import Battle


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
    """``MEASURES`` of the agents that are present, [T, N]; NaN for the others."""
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
