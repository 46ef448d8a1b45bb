"""QPLEX (Wang et al., ICLR 2021): duplex dueling value factorisation, the base of CDS and EMC.

Every agent's values are split into what its best action is worth and by how much another action
falls short of it. The mixer weighs the first by attention from the state to the agents' rows of it,
and the second by factors lambda that also read the joint action, so that any team value with
consistent greedy actions can be represented:

    w_i(s) = sum over heads of softmax_i(query(s) . key(u_i) / sqrt(E))       u_i agent i's row of s
    Q_tot(s, a) = V(s) + sum_i w_i Q_i(a_i) + sum_i (lambda_i(s, a) - 1) A_i
    A_i = w_i (Q_i(a_i) - max_a Q_i(a)) <= 0                                        without gradient
    lambda_i(s, a) = sum over kernels of |k(s)| sigmoid(k'_i(s)) sigmoid(k''_i(s, a))   > 0

so Q_i learns through the first sum only, lambda through the second only. The attention's logits are
kept small by a penalty.

This is the form that CDS's and EMC's code have in common ("dmaq_qatten"): attention for w, no
per-agent transformation bias but V, joint action and state as the inputs of lambda. They average
the penalty over padding too (``padding``). Not among the paper's seven methods, and not in
the registry; it is here as their base.

Shapes as in learner.py, and E attention width, U width of an agent's row of the state.
"""

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from algorithms.grouped import GroupedLinear
from algorithms.learner import NEVER, Learner, LearnerConfig, MixerInput, Online
from algorithms.networks import RecurrentAgent
from benchmark.envs.spec import EnvSpec
from benchmark.training.replay import Batch

#: Added to weights and kernels, so that none is zero.
_TINY = 1e-10


class QPlexMixer(nn.Module):
    """QPLEX's mixer; value and advantage in one pass.

    Args:
        spec: sizes; the state begins with one row per agent.
        attention_size: E.
        hyper_size: width of the hidden layer behind the queries.
        heads: of the attention.
        kernels: terms of lambda.
    """

    def __init__(
        self, spec: EnvSpec, attention_size: int, hyper_size: int, heads: int, kernels: int
    ) -> None:
        super().__init__()
        agents, state = spec.n_agents, spec.state_size
        self.shape = (agents, spec.ally_width)
        self.query_hidden = nn.Linear(state, heads * hyper_size)
        self.query = GroupedLinear(heads, hyper_size, attention_size, bias=False)
        self.key = GroupedLinear(heads, spec.ally_width, attention_size, bias=False)
        self.value = nn.Sequential(
            nn.Linear(state, attention_size), nn.ReLU(), nn.Linear(attention_size, 1)
        )
        self.kernel = nn.Linear(state, kernels)
        self.kernel_agent = nn.Linear(state, kernels * agents)
        self.kernel_action = nn.Linear(state + agents * spec.n_actions, kernels * agents)

    def forward(
        self, chosen: Tensor, best: Tensor, joint_action: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mixes.

        Args:
            chosen: the agents' values of the chosen actions, [T, B, N].
            best: of their best available actions, [T, B, N].
            joint_action: the chosen actions, one-hot side by side, [T, B, N A].
            state: [T, B, S].

        Returns:
            Q_tot [T, B], and the attention's logits [T, B, heads, N].
        """
        logits = self.attention_logits(state)
        scale = math.sqrt(self.query.weight.shape[-1])
        weight = (logits / scale).softmax(-1).sum(-2) + _TINY  # [T, B, N]
        advantage = (weight * (chosen - best)).detach()
        factor = self.advantage_factor(state, joint_action)
        total = (weight * chosen + (factor - 1) * advantage).sum(-1)
        return total + self.value(state).squeeze(-1), logits

    def attention_logits(self, state: Tensor) -> Tensor:
        """query(s) . key(u_i), [..., heads, N]."""
        agents, width = self.shape
        rows = state[..., : agents * width].unflatten(-1, self.shape)  # [..., N, U]
        hidden = self.query_hidden(state).relu().unflatten(-1, (len(self.query.weight), -1))
        # The query is linear in ``hidden`` and the key in ``rows``: both matrices are one.
        matrix = self.query.weight @ self.key.weight.transpose(1, 2)  # [heads, hidden, U]
        asked = torch.einsum("...hk,hku->...hu", hidden, matrix)
        return asked @ rows.transpose(-1, -2)

    def advantage_factor(self, state: Tensor, joint_action: Tensor) -> Tensor:
        """lambda_i(s, a), [..., N]."""
        agents = self.kernel_agent(state).sigmoid()
        actions = self.kernel_action(torch.cat([state, joint_action], dim=-1)).sigmoid()
        by_kernel = (agents * actions).unflatten(-1, (-1, self.shape[0]))  # [..., kernels, N]
        return ((self.kernel(state).abs() + _TINY).unsqueeze(-1) * by_kernel).sum(-2)


class QPLEX(Learner):
    """The shared learner with QPLEX's mixer."""

    class Config(LearnerConfig):
        """Hyper-parameters of QPLEX, those that CDS and EMC share."""

        attention_size: int = Field(32, gt=0)
        """E, width of the attention's queries and keys, and of V's hidden layer."""
        hypernet_size: int = Field(64, gt=0)
        """Width of the hidden layer behind a query."""
        attention_heads: int = Field(4, gt=0)
        """Heads, each with a query of its own."""
        advantage_kernels: int = Field(4, gt=0)
        """Terms of lambda."""
        attention_penalty: float = Field(0.001, ge=0)
        """Coefficient of the squared logits."""

    RELEASED: ClassVar[dict[str, Any]] = {"padding": "counted"}

    def build(self) -> None:
        spec, config = self.spec, self.config
        self.agent = self.build_agent()
        self.mixer = QPlexMixer(
            spec,
            config.attention_size,
            config.hypernet_size,
            config.attention_heads,
            config.advantage_kernels,
        )

    def build_agent(self) -> RecurrentAgent:
        """The agents' network."""
        spec = self.spec
        input_size = spec.obs_size + spec.n_actions + spec.n_agents
        return RecurrentAgent(input_size, self.config.hidden_size, spec.n_actions)

    def mix(self, mixer: nn.Module, inputs: MixerInput) -> tuple[Tensor, dict[str, Tensor]]:
        best = inputs.q_values.detach().masked_fill(~inputs.available, NEVER).amax(-1)
        joint_action = self.one_hot(inputs.actions).flatten(-2)
        q_tot, logits = mixer(inputs.chosen, best, joint_action, inputs.state)
        return q_tot, {"attention_logits": logits}

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        squares = online.extras["attention_logits"].square().mean(-1).sum(-1)
        penalty = self.step_mean(squares, batch.mask)
        return {"attention": self.config.attention_penalty * penalty}
