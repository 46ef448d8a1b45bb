"""K-means of many small problems against scikit-learn's, one by one."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from algorithms.kmeans import cluster


def inertia(points, labels) -> float:
    means = [points[labels == label].mean(0) for label in labels.unique()]
    gaps = [
        (points[labels == label] - m).square().sum()
        for label, m in zip(labels.unique(), means, strict=True)
    ]
    return float(sum(gaps))


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def reference(points, clusters) -> np.ndarray:
    return np.array(
        [KMeans(clusters, n_init=10, random_state=0).fit(each.numpy()).inertia_ for each in points]
    )


@pytest.mark.parametrize(("agents", "clusters"), [(8, 3), (10, 4), (27, 3), (8, 5)])
def test_as_good_as_scikit_learn(agents, clusters):
    """On teams with groups in them nearly always, on noise (many local optima) on average."""
    centres = torch.randn(60, clusters, 16, generator=stream(1))
    truth = torch.arange(agents) % clusters
    noise = torch.randn(60, agents, 16, generator=stream(2))
    grouped = centres[:, truth] + 0.5 * noise
    mine = [
        inertia(*each) for each in zip(grouped, cluster(grouped, clusters, stream()), strict=True)
    ]
    assert (mine <= reference(grouped, clusters) * (1 + 1e-5) + 1e-4).mean() >= 0.95
    mine = [inertia(*each) for each in zip(noise, cluster(noise, clusters, stream()), strict=True)]
    assert np.mean(mine) == pytest.approx(reference(noise, clusters).mean(), rel=0.01)


def test_finds_separated_groups_far_from_the_origin():
    truth = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    centres = 100 + 5 * torch.eye(3, 12)
    points = centres[truth] + 0.1 * torch.randn(50, 8, 12, generator=stream(2))
    labels = cluster(points, 3, stream())
    together = truth[:, None] == truth[None]
    assert torch.equal(labels.unsqueeze(2) == labels.unsqueeze(1), together.expand(50, 8, 8))


def test_coinciding_points_and_more_clusters_than_points():
    same = torch.ones(5, 6, 4)
    assert (cluster(same, 3, stream()) < 3).all()
    two = torch.cat([torch.zeros(1, 4, 2), torch.ones(1, 4, 2)], dim=1)
    labels = cluster(two, 3, stream())[0]
    assert labels[:4].unique().numel() == labels[4:].unique().numel() == 1
    assert labels[0] != labels[4]
    assert cluster(torch.randn(2, 3, 4), 8, stream()).tolist() == [[0, 1, 2]] * 2


def test_permuting_points_permutes_labels_and_streams_decide():
    groups = torch.randn(30, 3, 16, generator=stream(3))[:, torch.arange(8) % 3]
    points = groups + 0.3 * torch.randn(30, 8, 16, generator=stream(7))
    assert torch.equal(cluster(points, 3, stream(4)), cluster(points, 3, stream(4)))
    order = torch.randperm(8, generator=stream(5))
    plain, moved = cluster(points, 3, stream(4)), cluster(points[:, order], 3, stream(6))
    same = plain.unsqueeze(2) == plain.unsqueeze(1)
    agree = (same[:, order][:, :, order] == (moved.unsqueeze(2) == moved.unsqueeze(1))).all((1, 2))
    assert agree.float().mean() >= 0.9  # both find the best partition of nearly every problem
