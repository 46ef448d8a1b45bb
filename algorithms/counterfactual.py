"""Q_values under other agents' roles, and how much an agent's own role decides its policy.

    Q_i(. | j)   agent i's q_values, with its own observations and actions but agent j's roles
    P_ij         softmax Q_i(. | j)
    divergence   KL(P_ii, mean_j P_ij), R3DM's policy term (its eq. 7)

Shapes as in learner.py; M packed rows, P real steps (see packing.py).
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from algorithms.networks import RecurrentAgent
from algorithms.packing import Packing

#: Whose role is swapped: that of the whole history, or of the last step.
Counterfactual = Literal["history", "step"]


def counterfactual_values(
    agent: RecurrentAgent,
    inputs: Tensor,
    role_size: int,
    mask: Tensor,
    counterfactual: Counterfactual = "history",
) -> Tensor:
    """The q_values of all agents under the roles of all agents, arguments as below.

    Returns:
        Q_i(. | j) of every real step, [P, N (i), N (j), A].
    """
    return read_values(agent, counterfactual_states(agent, inputs, role_size, mask, counterfactual))


def counterfactual_states(
    agent: RecurrentAgent,
    inputs: Tensor,
    role_size: int,
    mask: Tensor,
    counterfactual: Counterfactual,
) -> Tensor:
    """The agents' hidden states after every real step, under the roles of all agents.

    Args:
        agent: reads observation, last action and role, in this order.
        inputs: of the agents, [T, B, N, D], the last ``role_size`` of D are the role.
        role_size: Z.
        mask: [T, B] bool on the CPU, false beyond the end of an episode.
        counterfactual: whose role is swapped, that of the whole history or of the last step.

    Returns:
        [P, N (i), N (j), H].
    """
    packing = Packing(mask, inputs.shape[2], inputs.device)
    features = _features(agent, packing.pack(inputs), packing.shape[2], role_size)
    if counterfactual == "history":
        return _whole_history(agent, features, mask)
    return _last_step(agent, features, packing)


def next_states(
    agent: RecurrentAgent,
    states: Tensor,
    rows: Tensor,
    role_size: int,
    counterfactual: Counterfactual,
) -> Tensor:
    """The hidden states after one more step.

    Args:
        agent, role_size, counterfactual: as in ``counterfactual_states``.
        states: of which these follow, [P, N, N, H].
        rows: what the agents read in that step, [P N, D].

    Returns:
        [P, N, N, H].
    """
    features = _features(agent, rows, states.shape[1], role_size)
    if counterfactual == "history":
        return _step(agent, features, states.flatten(0, 2))
    return _step(agent, features, _own(states).repeat_interleave(states.shape[1], 0))


def read_values(agent: RecurrentAgent, states: Tensor) -> Tensor:
    """The q_values of hidden states, [P, N, N, H] -> [P, N, N, A]."""
    return agent.head(states.flatten(0, 2)).unflatten(0, states.shape[:3])


def policy_divergence(q_values: Tensor, sharpness: float = 1.0) -> Tensor:
    """How far an agent's policy is from its average over all roles, in nats.

    Args:
        q_values: Q_i(. | j), [..., N, N, A].
        sharpness: inverse temperature of the agent's own policy.

    Returns:
        [..., N], between 0 and log N where ``sharpness`` is 1.
    """
    agents = q_values.shape[-2]
    own = q_values.diagonal(dim1=-3, dim2=-2).transpose(-1, -2)  # [..., N, A]
    log_own = (sharpness * own).log_softmax(-1)
    log_mean = q_values.log_softmax(-1).logsumexp(-2) - math.log(agents)
    return (log_own.exp() * (log_own - log_mean)).sum(-1)


def _features(agent: RecurrentAgent, rows: Tensor, agents: int, role_size: int) -> Tensor:
    """What the GRU reads in steps of agent i with the role of agent j, [P, N, N, H]."""
    # The first layer is linear: the part of i's history plus the part of j's role.
    own_weight, role_weight = agent.encoder.weight.split(
        [rows.shape[-1] - role_size, role_size], dim=1
    )
    own_inputs, roles = rows.split([own_weight.shape[1], role_weight.shape[1]], dim=1)
    of_history = F.linear(own_inputs, own_weight, agent.encoder.bias)
    of_role = F.linear(roles, role_weight)
    by_agent = (-1, agents)
    of_history = of_history.unflatten(0, by_agent).unsqueeze(2)
    of_role = of_role.unflatten(0, by_agent).unsqueeze(1)
    return torch.relu(of_history + of_role)


def _whole_history(agent: RecurrentAgent, features: Tensor, mask: Tensor) -> Tensor:
    """The agent's hidden states with j's role in all steps."""
    packing = Packing(mask, features.shape[1] ** 2, features.device)
    start = features.new_zeros(1, int(packing.sizes[0]), features.shape[-1])
    hidden, _ = agent.gru(PackedSequence(features.flatten(0, 2), packing.sizes), start)
    return hidden.data.view_as(features)


def _last_step(agent: RecurrentAgent, features: Tensor, single: Packing) -> Tensor:
    """The agent's hidden states with its own role, but j's in the last step."""
    own = _own(features)
    start = own.new_zeros(1, int(single.sizes[0]), own.shape[-1])
    hidden, _ = agent.gru(PackedSequence(own, single.sizes), start)
    after = single.unpack(hidden.data)  # [T, B, N, H]
    before = single.pack(torch.cat([torch.zeros_like(after[:1]), after[:-1]]))
    return _step(agent, features, before.repeat_interleave(features.shape[1], 0))


def _own(pairs: Tensor) -> Tensor:
    """Those of the pairs (i, j) where i is j, [P, N, N, H] -> [P N, H]."""
    return pairs.diagonal(dim1=1, dim2=2).transpose(1, 2).flatten(0, 1)


def _step(agent: RecurrentAgent, features: Tensor, before: Tensor) -> Tensor:
    """The hidden states [P, N, N, H] one step after ``before`` [P N N, H]."""
    gru = agent.gru
    weights = gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0
    return torch.gru_cell(features.flatten(0, 2), before, *weights).view_as(features)
