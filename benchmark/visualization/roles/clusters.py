"""Clusters of roles, step by step: their members, their names over time, their distances.

Shapes: T steps, N agents, D features. Labels are [T, N] in 0 ... M - 1 for M clusters, ``ABSENT``
for agents that are left out of a step.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples

from algorithms.kmeans import cluster

ABSENT = -1
SEED = 42  #: of k-means and t-SNE, as in the authors' notebook


class Clusters(NamedTuple):
    """Labels of the agents of a battle, [T, N], the same ones for the same clusters over time."""

    roles: np.ndarray  #: of all agents, on z
    training: np.ndarray  #: of all agents, on e, as the contrastive loss forms them
    living: np.ndarray  #: of the living, on z


class Geometry(NamedTuple):
    """Agents among the clusters of their step, [T, N]; NaN for agents that are left out."""

    silhouette: np.ndarray  #: Rousseeuw 1987; 0 alone in a cluster
    own_centre: np.ndarray  #: distance to the centre of one's cluster
    nearest_centre: np.ndarray  #: to the nearest centre of another cluster


def find_clusters(
    roles: np.ndarray,
    embeddings: np.ndarray,
    alive: np.ndarray,
    clusters: int,
    reference: np.ndarray | None = None,
) -> Clusters:
    """Clusters the agents of every decision of a battle.

    Args:
        roles: [T, N, Z].
        embeddings: [T, N, E].
        alive: [T, N] bool.
        clusters: how many, as in training.
        reference: [N], the first decision's labels of another battle, to number them alike.
    """
    everyone = np.ones_like(alive)
    labels = align(kmeans(roles, everyone, clusters), reference)
    training = kmeans(embeddings, everyone, clusters)
    living = kmeans(roles, alive, clusters)
    return Clusters(
        labels,
        np.stack([match(*step) for step in zip(training, labels, strict=True)]),
        np.stack([match(*step) for step in zip(living, labels, strict=True)]),
    )


def kmeans(points: np.ndarray, present: np.ndarray, clusters: int) -> np.ndarray:
    """Clusters the agents of each step on its own, as the contrastive loss does.

    Args:
        points: [T, N, D].
        present: [T, N] bool, agents to be clustered.
        clusters: M; where there are no more agents than that, each is a cluster.

    Returns:
        labels [T, N], in no order.
    """
    labels = np.full(present.shape, ABSENT)
    stream = torch.Generator().manual_seed(SEED)
    counts = present.sum(1)
    for count in np.unique(counts[counts > 0]):  # steps with as many agents, at once
        chosen = present & (counts == count)[:, None]
        alike = torch.from_numpy(points[chosen].astype(np.float64)).unflatten(0, (-1, int(count)))
        labels[chosen] = cluster(alike, clusters, stream).flatten().numpy()
    return labels


def match(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Renames the clusters of one step so that as many agents as possible keep their label.

    The Hungarian method on the number of common members.

    Args:
        labels: [N].
        reference: [N], the labels to agree with.
    """
    clusters = max(labels.max(), reference.max()) + 1
    common = np.zeros((clusters, clusters))
    both = (labels != ABSENT) & (reference != ABSENT)
    np.add.at(common, (labels[both], reference[both]), 1)
    _, names = linear_sum_assignment(common, maximize=True)
    return np.where(labels == ABSENT, ABSENT, names[labels])


def align(labels: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Renames the clusters of every step after those of the step before.

    Args:
        labels: [T, N].
        reference: [N], for the first step; without one its clusters are numbered by their lowest
            agent.
    """
    aligned = labels.copy()
    if reference is None:
        _, first = np.unique(labels[0], return_index=True)
        order = [label for label in labels[0, np.sort(first)] if label != ABSENT]
        others = [label for label in range(labels.max() + 1) if label not in order]
        names = np.argsort([*order, *others])
        reference = np.where(labels[0] == ABSENT, ABSENT, names[labels[0]])
    for step in range(len(labels)):
        aligned[step] = reference = match(labels[step], reference)
    return aligned


def geometry(points: np.ndarray, labels: np.ndarray) -> Geometry:
    """Measures the clusters of every step, with Euclidean distances.

    A silhouette is undefined (NaN) in steps with a single cluster, or with as many clusters as
    agents; the distance to another centre in steps with a single cluster.

    Args:
        points: [T, N, D].
        labels: [T, N].
    """
    found = Geometry(*np.full((3, *labels.shape), np.nan))
    for step, present in enumerate(labels != ABSENT):
        own_points = points[step, present].astype(np.float64)
        names, own = np.unique(labels[step, present], return_inverse=True)
        if len(names) == 0:
            continue
        centres = np.stack([own_points[own == k].mean(0) for k in range(len(names))])
        distances = cdist(own_points, centres)
        mine = np.arange(len(own)), own
        found.own_centre[step, present] = distances[mine]
        if len(names) > 1:
            distances[mine] = np.inf
            found.nearest_centre[step, present] = distances.min(1)
            if len(names) < len(own):
                found.silhouette[step, present] = silhouette_samples(own_points, own)
    return found


def agreement(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each agent, the share of its teammates of whom two clusterings say the same, [T, N].

    That is, with it or apart from it; the mean over agents is the Rand index.
    """
    same = labels[:, :, None] == labels[:, None]
    alike = same == (others[:, :, None] == others[:, None])  # [T, N, N], true on the diagonal
    return (alike.sum(-1) - 1) / (labels.shape[1] - 1)
