"""Greedy battles of a trained policy, with every agent's role.

A battle is recorded and unrolled once more, as in training: that gives every agent's embedding e,
role z, and its values Q_i(. | j) in every teammate's role. All policies play battles of the same
seeds with correct last actions, as in the authors' notebook, also where their runs' protocol has
others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from algorithms import ALGORITHMS
from algorithms.acorm import ACORM
from algorithms.counterfactual import counterfactual_values
from benchmark.analysis import labels
from benchmark.errors import BenchmarkError
from benchmark.training.policy import Policy, load_policy
from benchmark.training.replay import Batch, ReplayBuffer
from benchmark.training.rollout import record_greedy
from benchmark.visualization.recorder import Recorder, Recording
from benchmark.visualization.roles.clusters import Clusters, find_clusters


@dataclass(frozen=True)
class Battle:
    """A greedy battle of T decisions, and what the policy's networks made of it.

    Decision t = 1 is the first, at the start of the battle. N agents, E embedding, Z role features,
    A actions.
    """

    seed: int
    recording: Recording
    batch: Batch
    alive: np.ndarray  #: [T, N] bool, at the decision
    embeddings: np.ndarray  #: e, [T, N, E]
    roles: np.ndarray  #: z, [T, N, Z]
    swapped: torch.Tensor  #: Q_i(. | j), [T, N (i), N (j), A]
    clusters: Clusters


def load(paths: Sequence[Path]) -> list[Policy]:
    """Reads the policies of one figure.

    Raises:
        BenchmarkError: as :func:`load_policy`; one has no roles or was not trained on the
            simulator; or they cannot be compared.
    """
    policies = []
    for path in paths:
        policy = load_policy(path, evaluated_last_action="correct")
        if policy.config.backend != "simulator":
            raise BenchmarkError(
                f"{path} was trained on {policy.config.backend}; roles are shown on the simulator"
                " only"
            )
        if not isinstance(policy.learner, ACORM):
            others = sorted(name for name, one in ALGORITHMS.items() if issubclass(one, ACORM))
            raise BenchmarkError(
                f"{path} is a policy of {labels.label(policy.config.algorithm)}, which has no"
                f" roles like ACORM's; give policies of {' or '.join(others)}"
            )
        for other in policies:
            _check_comparable(other, policy)
        policies.append(policy)
    return policies


def _check_comparable(one: Policy, other: Policy) -> None:
    """Policies of one figure come from the same source and have different names."""
    for name in ("map", "backend", "protocol", "env"):
        values = [getattr(policy.config, name) for policy in (one, other)]
        if values[0] != values[1]:
            what = "env options" if name == "env" else f"{name} ({values[0]}, {values[1]})"
            raise BenchmarkError(
                f"{one.path} and {other.path} differ in their {what}; make a figure of each"
            )
    name = labels.run_label(one.config)
    if name == labels.run_label(other.config):
        raise BenchmarkError(
            f"{one.path} and {other.path} are both {name}; a figure tells policies apart by"
            " method, variant and seed"
        )


def play(policy: Policy, seeds: Iterable[int]) -> Iterator[Battle]:
    """Plays one greedy battle per seed.

    Args:
        policy: of ACORM or a method built on it.
        seeds: of the battles; the clusters of all are numbered as those of the first.
    """
    learner, reference = policy.learner, None
    recorder = Recorder(policy.make_env(1))
    n_agents, n_clusters = recorder.spec.n_agents, learner.config.clusters
    for seed in seeds:
        episodes, _ = record_greedy(recorder, learner, learner.rules, np.array([seed], np.uint64))
        replay = ReplayBuffer(recorder.spec, capacity=1)
        replay.add(episodes)
        batch = replay.sample(1, np.random.default_rng(0))
        recording = recorder.recording
        alive = np.stack([shot.units["alive"][:n_agents] for shot in recording.snapshots[:-1]])
        embeddings, roles, swapped = unroll(learner, batch)
        clusters = find_clusters(roles, embeddings, alive, n_clusters, reference)
        reference = clusters.roles[0] if reference is None else reference
        yield Battle(seed, recording, batch, alive, embeddings, roles, swapped, clusters)


@torch.no_grad()
def unroll(learner: ACORM, batch: Batch) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Embeddings, roles and values of one episode, see ``Battle``."""
    embeddings = learner.embed(batch)[:-1]
    seen = learner.inputs(batch.obs, batch.last_actions)[:-1]
    roles = learner.role_encoder(embeddings)
    inputs = torch.cat([seen, roles], dim=-1)
    values = counterfactual_values(learner.agent, inputs, roles.shape[-1], batch.mask_cpu)
    return embeddings[:, 0].numpy(), roles[:, 0].numpy(), values
