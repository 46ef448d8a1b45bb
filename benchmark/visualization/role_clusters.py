"""Clusters of roles, step by step: who forms one, how far apart they lie, which is which over time.

Shapes: T steps, N agents, D features. Labels are [T, N] in 0 ... M - 1 for M clusters, ``ABSENT``
for agents that are left out of a step.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from algorithms.kmeans import cluster

ABSENT = -1
SEED = 42  #: of k-means and t-SNE, as in the authors' notebook


class Geometry(NamedTuple):
    """Where agents lie among the clusters of their step; NaN for those that are left out."""

    silhouette: np.ndarray  #: [T, N], Rousseeuw 1987; 0 alone in a cluster
    own_centre: np.ndarray  #: [T, N], distance to the centre of one's cluster
    nearest_centre: np.ndarray  #: [T, N], to the nearest centre of another cluster


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
    points = points.astype(np.float64)
    members = (labels[..., None] == np.arange(labels.max() + 1)).astype(float)  # [T, N, M]
    present = labels != ABSENT
    size = members.sum(1)[:, None]  # [T, 1, M]
    count = (size > 0).sum(-1)  # clusters, [T, 1]
    away = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)  # [T, N, N]
    with np.errstate(divide="ignore", invalid="ignore"):
        centres = np.swapaxes(members, 1, 2) @ points / np.swapaxes(size, 1, 2)  # [T, M, D]
        to_centre = np.linalg.norm(points[:, :, None] - centres[:, None], axis=-1)  # [T, N, M]
        towards = away @ members  # [T, N, M], sums of distances
        inside = _own(towards, members) / (_own(size, members) - 1)
        outside = _nearest_other(towards / size, members)
        silhouette = (outside - inside) / np.maximum(inside, outside)
    silhouette = np.where(np.isfinite(silhouette), silhouette, 0.0)  # alone, or all coincide
    defined = present & (count > 1)
    separable = defined & (count < present.sum(1, keepdims=True))
    return Geometry(
        np.where(separable, silhouette, np.nan),
        np.where(present, _own(to_centre, members), np.nan),
        np.where(defined, _nearest_other(to_centre, members), np.nan),
    )


def agreement(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each agent, the share of its comrades of whom two clusterings say the same, [T, N].

    That is, with it or apart from it; the mean over agents is the Rand index.
    """
    same = labels[:, :, None] == labels[:, None]
    alike = same == (others[:, :, None] == others[:, None])  # [T, N, N], true on the diagonal
    return (alike.sum(-1) - 1) / (labels.shape[1] - 1)


def _own(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The value [..., M] of each agent's own cluster, [T, N]."""
    return np.where(members > 0, values, 0.0).sum(-1)


def _nearest_other(distances: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The least distance [T, N, M] among the clusters that are not one's own, [T, N]."""
    others = (members == 0) & np.isfinite(distances)
    return np.where(others, distances, np.inf).min(-1)
