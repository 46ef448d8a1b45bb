"""What the roles of a trained policy are like in battle, as numbers per agent and decision.

A policy plays greedy battles, which are recorded and unrolled once more, as in training: that gives
every agent's embedding e, role z, and its values Q_i(. | j) in every comrade's role. Decision t = 1
is the first, at the start of the battle.

The dead see nothing and cannot act. They form a cluster of their own, which flatters every number;
so each is given twice, of all agents (as the authors' notebook and the training do) and of the
living, clustered among themselves.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from algorithms.acorm import ACORM
from algorithms.learner import NEVER
from algorithms.role_swap import policy_divergence, swapped_values
from benchmark.analysis import bootstrap, labels
from benchmark.analysis.tables import Cell, Table
from benchmark.training.evaluations import IDENTITY
from benchmark.training.policy import Policy
from benchmark.training.replay import Batch, ReplayBuffer
from benchmark.training.rollout import record_greedy
from benchmark.visualization import role_clusters
from benchmark.visualization.recorder import Camera, Film

STEPS = (1, 20, 35, 50)  #: decisions in the paper's figure 4
#: Numbers per agent and decision: name -> heading. ``living_`` before a name: of the living only.
NUMBERS = {
    "silhouette": "Silhouette",
    "own_centre": "Distance to own centre",
    "nearest_centre": "Distance to nearest other centre",
    "divergence": "Policy divergence (nats)",
    "other_action": "Another action in another role",
}
_SHOWN = {
    **{f"living_{name}": heading for name, heading in NUMBERS.items()},
    "silhouette": "Silhouette, the dead included",
    "agreement": "Agreement with the training clusters",
}
_DIGITS = {"living_divergence": 4}
_REPLICATIONS = 2000


@dataclass(frozen=True)
class Battle:
    """A greedy battle of T decisions, and what the policy's networks made of it.

    N agents, E embedding, Z role features, A actions.
    """

    seed: int
    film: Film
    batch: Batch
    alive: np.ndarray  #: [T, N] bool, at the decision
    embeddings: np.ndarray  #: e, [T, N, E]
    roles: np.ndarray  #: z, [T, N, Z]
    swapped: torch.Tensor  #: Q_i(. | j), [T, N (i), N (j), A]


@dataclass(frozen=True)
class Clusters:
    """Labels of the agents of a battle, [T, N], the same ones for the same clusters over time."""

    roles: np.ndarray  #: of all agents, on z
    training: np.ndarray  #: of all agents, on e, as the contrastive loss forms them
    living: np.ndarray  #: of the living, on z


def play(policy: Policy, seeds: Iterable[int]) -> Iterator[Battle]:
    """Plays one greedy battle per seed.

    Args:
        policy: of ACORM or a method built on it.
        seeds: of the battles.
    """
    learner, env = policy.learner, policy.make_env(1)
    for seed in seeds:
        camera = Camera(env)
        episodes, _ = record_greedy(camera, learner, learner.rules, np.array([seed], np.uint64))
        replay = ReplayBuffer(camera.spec, capacity=1)
        replay.add(episodes)
        batch = replay.sample(1, np.random.default_rng(0))
        film = camera.film
        alive = np.stack([frame.units["alive"] for frame in film.frames[:-1]])
        yield Battle(seed, film, batch, alive[:, : camera.spec.n_agents], *unroll(learner, batch))


@torch.no_grad()
def unroll(learner: ACORM, batch: Batch) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Embeddings, roles and values of one episode, see ``Battle``."""
    embeddings = learner.embed(batch)[:-1]
    seen = learner.inputs(batch.obs, batch.last_actions)[:-1]
    roles = learner.role_encoder(embeddings)
    inputs = torch.cat([seen, roles], dim=-1)
    values = swapped_values(learner.agent, inputs, roles.shape[-1], batch.real)
    return embeddings[:, 0].numpy(), roles[:, 0].numpy(), values


def find_clusters(battle: Battle, clusters: int, reference: np.ndarray | None = None) -> Clusters:
    """Clusters the agents of every decision of a battle.

    Args:
        battle: the battle.
        clusters: how many, as in training.
        reference: [N] labels of another battle's first decision, to be continued.
    """
    everyone = np.ones_like(battle.alive)
    roles, living, training = (
        role_clusters.kmeans(points, present, clusters)
        for points, present in (
            (battle.roles, everyone),
            (battle.roles, battle.alive),
            (battle.embeddings, everyone),
        )
    )
    roles = role_clusters.align(roles, reference)
    return Clusters(
        roles,
        np.stack([role_clusters.match(*step) for step in zip(training, roles, strict=True)]),
        np.stack([role_clusters.match(*step) for step in zip(living, roles, strict=True)]),
    )


def measure(policy: Policy, battle: Battle, clusters: Clusters) -> pd.DataFrame:
    """The numbers of one battle: a row per decision and agent."""
    steps, agents = battle.alive.shape
    everyone = np.ones_like(battle.alive)
    columns = {
        "role_cluster": clusters.roles,
        "training_cluster": clusters.training,
        "agreement": role_clusters.agreement(clusters.roles, clusters.training),
        **_numbers(battle, clusters.roles, everyone),
    }
    living = {"cluster": clusters.living} | _numbers(battle, clusters.living, battle.alive)
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


def _numbers(battle: Battle, labels: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """``NUMBERS`` of the agents that are present, [T, N] each; NaN for the others."""
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
    geometry = role_clusters.geometry(battle.roles, labels)
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
    """The numbers of each policy at some decisions, and over all of them.

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
    """One cell per number; it says where it rests on fewer battles than are usual."""
    cells = []
    for column, values in means.items():
        count = int(values.notna().sum())
        note = f"n = {count}" if 0 < count < usual else ""
        digits = _DIGITS.get(column, 2)
        cells.append(Cell(*interval(values.to_numpy()), note=note, digits=digits))
    return cells
