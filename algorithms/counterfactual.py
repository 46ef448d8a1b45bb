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


def counterfactual_values(
    agent: RecurrentAgent,
    inputs: Tensor,
    role_size: int,
    mask: Tensor,
    counterfactual: Literal["history", "step"] = "history",
) -> Tensor:
    """The q_values of all agents under the roles of all agents.

    Args:
        agent: reads observation, last action and role, in this order.
        inputs: of the agents, [T, B, N, D], the last ``role_size`` of D are the role.
        role_size: Z.
        mask: [T, B] bool on the CPU, false beyond the end of an episode.
        counterfactual: whose role is swapped, that of the whole history or of the last step.

    Returns:
        Q_i(. | j) of every real step, [P, N (i), N (j), A].
    """
    agents = inputs.shape[2]
    single = Packing(mask, agents, inputs.device)
    rows = single.pack(inputs)
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
    features = torch.relu(of_history + of_role)  # [P, N, N, H]
    if counterfactual == "history":
        hidden = _whole_history(agent, features, mask)
    else:
        hidden = _last_step(agent, features, single)
    return agent.head(hidden).unflatten(0, (-1, agents, agents))


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


def _whole_history(agent: RecurrentAgent, features: Tensor, mask: Tensor) -> Tensor:
    """The agent's hidden states with j's role in all steps, [P N N, H]."""
    packing = Packing(mask, features.shape[1] ** 2, features.device)
    start = features.new_zeros(1, int(packing.sizes[0]), features.shape[-1])
    hidden, _ = agent.gru(PackedSequence(features.flatten(0, 2), packing.sizes), start)
    return hidden.data


def _last_step(agent: RecurrentAgent, features: Tensor, single: Packing) -> Tensor:
    """The agent's hidden states with its own role, but j's in the last step, [P N N, H]."""
    own = features.diagonal(dim1=1, dim2=2).transpose(1, 2).flatten(0, 1)
    start = own.new_zeros(1, int(single.sizes[0]), own.shape[-1])
    hidden, _ = agent.gru(PackedSequence(own, single.sizes), start)
    after = single.unpack(hidden.data)  # [T, B, N, H]
    before = single.pack(torch.cat([torch.zeros_like(after[:1]), after[:-1]]))
    pairs = before.repeat_interleave(features.shape[1], 0)  # i's hidden state for every j
    gru = agent.gru
    weights = gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0
    return torch.gru_cell(features.flatten(0, 2), pairs, *weights)
