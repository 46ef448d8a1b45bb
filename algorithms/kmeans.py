"""K-means of many small point sets at once, for ACORM's clusters of agents.

Each problem has few points (the agents of a team) in many dimensions, so everything is computed
from the N x N matrix of inner products: the distance of point i to the mean of a cluster C is

    |x_i - mean_C|^2 = <x_i, x_i> - 2 / |C| sum_{j in C} <x_i, x_j>
                       + 1 / |C|^2 sum_{j in C} sum_{l in C} <x_j, x_l>

The choices are scikit-learn's: greedy k-means++ seeding, Lloyd's iterations until nothing moves,
the best of several restarts.

Shapes: P problems, N points, D dimensions, M clusters, R restarts.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Lloyd's iterations at most; a dozen points settle in a handful.
_ITERATIONS = 50


@torch.no_grad()
def cluster(
    points: Tensor, clusters: int, generator: torch.Generator, restarts: int = 10
) -> Tensor:
    """Assigns points to clusters, problem by problem.

    Args:
        points: [P, N, D].
        clusters: M; as many as there are points, when these are fewer.
        generator: draws the seeds, on the points' device.
        restarts: R; the one with the least inertia wins.

    Returns:
        labels [P, N] in 0 ... M - 1; a label may be unused where points coincide.
    """
    problems, count, _ = points.shape
    clusters = min(clusters, count)
    if clusters == count:  # every point for itself
        return torch.arange(count, device=points.device).expand(problems, count)
    centred = points - points.mean(1, keepdim=True)  # keeps the differences below precise
    products = centred @ centred.transpose(1, 2)  # [P, N, N]
    squares = products.diagonal(dim1=1, dim2=2)  # [P, N]
    between = (squares.unsqueeze(2) + squares.unsqueeze(1) - 2 * products).clamp_(min=0)
    labels = _seeds(between, clusters, restarts, generator)
    for _ in range(_ITERATIONS):
        distances = _distances(products, squares, labels, clusters)
        moved = distances.argmin(-1)
        if torch.equal(moved, labels):
            break
        labels = moved
    distances = _distances(products, squares, labels, clusters)
    inertia = distances.gather(-1, labels.unsqueeze(-1)).sum((2, 3))  # [P, R]
    best = inertia.argmin(1)
    return labels[torch.arange(problems, device=points.device), best]


def _seeds(between: Tensor, clusters: int, restarts: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): labels by the nearest seed, [P, R, N].

    Every further seed is drawn with probability proportional to the squared distance from the seeds
    so far; of a few such candidates the one that leaves the least inertia is taken.

    Args:
        between: squared distances, [P, N, N].
    """
    problems, count, _ = between.shape
    candidates = 2 + int(math.log(clusters))
    device = between.device
    problem = torch.arange(problems, device=device).view(-1, 1, 1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(problems, restarts, *shape, generator=generator, device=device)

    first = (uniform(1) * count).long().clamp_(max=count - 1)  # [P, R, 1]
    from_seeds = between[problem, first]  # [P, R, seeds, N]
    for _ in range(clusters - 1):
        nearest = from_seeds.amin(2)  # [P, R, N]
        mass = nearest.cumsum(-1)
        uniforms = uniform(candidates) * mass[..., -1:]
        drawn = torch.searchsorted(mass, uniforms, right=True).clamp_(max=count - 1)
        from_drawn = between[problem, drawn]  # [P, R, candidates, N]
        left = torch.minimum(from_drawn, nearest.unsqueeze(2)).sum(-1)
        chosen = left.argmin(-1)[..., None, None].expand(-1, -1, 1, count)
        from_seeds = torch.cat([from_seeds, from_drawn.gather(2, chosen)], dim=2)
    return from_seeds.argmin(2)


def _distances(products: Tensor, squares: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Squared distance of every point to the mean of every cluster, [P, R, N, M].

    Infinite for an empty cluster.
    """
    members = F.one_hot(labels, clusters).to(products.dtype)  # [P, R, N, M]
    size = members.sum(2, keepdim=True)  # [P, R, 1, M]
    toward = products.unsqueeze(1) @ members  # sums of <x_i, x_j> over j in the cluster
    within = (members * toward).sum(2, keepdim=True)
    distances = squares[:, None, :, None] - 2 * toward / size + within / size.square()
    return distances.masked_fill_(size == 0, math.inf)
