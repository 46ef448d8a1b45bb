"""GoMARL (Zang et al., NeurIPS 2023): groups of agents that emerge while learning.

The team starts as one group. A mixing network adds the agents' q_values first within each group,
then over groups, with non-negative weights w1 that every agent's own hypernetwork makes from the
agent's hidden state. A lasso drives the weights of one group at a time towards zero; now and then
the members whose weights are far below their group's average move on to the next group, so that
agents end up grouped by how much they contribute together. Each agent has a group embedding e,
which is made alike within and unlike between groups; it generates the head of the agent's network,
and pooled over the group it generates the group's mixing weights.

    e_i = tanh(f(h_i)),   Q_i(.) = h_i' W(e_i) + b(e_i)              no gradient from Q_i into e_i
    Q_g = w2(e_g) . ELU(sum_{i in g} (Q_i w1_i(h_i) + b1_g(h_i))) + b2(e_g)
          where e_g = max_{i in g} e_i
    Q_tot = w4(s) . ELU(sum_g (Q_g w3(e_g) + b3(e_g))) + b4(s)
    L = 1/2 TD(lambda) + lasso sum_{i in g} mean w1_i + similarity SD
    SD = mean of (sum of cos(e_i, e_j) over pairs apart - over pairs together) / N^2

Regrouping (every 100 000 env steps, on 1024 replayed episodes): in every group of three or more,
the members with mean w1 below 0.7 of the group's mean move to the next group, to a new one from the
last; their hypernetworks get new weights, the lasso turns to the next group, targets are copied.

``unified`` makes one update per episode as all methods do; the authors make one per eight episodes,
from 128 of them (``released``, and targets copied after 25 such updates). Two defects are
``released`` only: the networks of a new group never reach the optimiser (``new_groups``), and the
mixing weights are averaged over padding too (``padding``), where the agents read one more action,
chosen after the end (``final_action``). Groups cannot become empty, since not
all members can be below 0.7 of their mean, so that part of the authors' code has no counterpart.

Shapes as in learner.py, and K groups, H width of hidden states, E of embeddings and mixing layers.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.grouped import GroupedLinear
from algorithms.learner import Learner, LearnerConfig, MixerInput, Online, masked_mean
from algorithms.networks import RecurrentAgent
from benchmark.training.protocol import PYMARL
from benchmark.training.replay import Batch, ReplayBuffer

#: Episodes that pass the agents' network at once in a regrouping, to save memory.
_PART = 32


class GroupAgent(RecurrentAgent):
    """The shared network with a head that each agent's group embedding generates.

    Its features are the hidden states without gradient, "hidden", and the "embedding".
    """

    def __init__(
        self, input_size: int, hidden_size: int, n_actions: int, embedding_size: int
    ) -> None:
        super().__init__(input_size, hidden_size, n_actions)
        self.embedding = nn.Sequential(
            nn.Linear(hidden_size, embedding_size),
            nn.ReLU(),
            nn.Linear(embedding_size, embedding_size),
            nn.Tanh(),
        )
        self.head = nn.ModuleDict(
            {
                "weight": nn.Linear(embedding_size, hidden_size * n_actions),
                "bias": nn.Linear(embedding_size, n_actions),
            }
        )

    def read(self, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        embedding = self.embedding(hidden.detach())
        features = {"hidden": hidden.detach(), "embedding": embedding}
        return self.q_values(hidden, embedding.detach()), features

    def q_values(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """h' W(e) + b(e), bilinear in h and e: the product with h comes first."""
        layer, actions = self.head["weight"], self.head["bias"].out_features
        factors = torch.cat([layer.weight, layer.bias.unsqueeze(1)], dim=1)  # [H A, E + 1]
        factors = factors.unflatten(0, (-1, actions)).flatten(1)  # [H, A (E + 1)]
        by_factor = (hidden @ factors).unflatten(-1, (actions, -1))  # [..., A, E + 1]
        extended = torch.cat([embedding, torch.ones_like(embedding[..., :1])], dim=-1)
        return (by_factor @ extended.unsqueeze(-1)).squeeze(-1) + self.head["bias"](embedding)


class Group(nn.Module):
    """One group's part of the mixer."""

    def __init__(self, hidden_size: int, size: int) -> None:
        super().__init__()
        self.b1 = nn.Linear(hidden_size, size)
        self.w2 = _mlp(size, size, size)
        self.b2 = _mlp(size, size, 1)

    def forward(self, size: int, weighted: Tensor, hidden: Tensor, pooled: Tensor) -> Tensor:
        """Mixes the group's members.

        Args:
            size: how many they are.
            weighted: the sum of their Q_i w1_i, [T, B, E].
            hidden: the sum of their hidden states, [T, B, H].
            pooled: the group's embedding, [T, B, E].

        Returns:
            Q_g, [T, B].
        """
        bias = F.linear(hidden, self.b1.weight) + size * self.b1.bias  # the sum of b1(h_i)
        layer = F.elu(weighted + bias)
        return (layer * self.w2(pooled).abs()).sum(-1) + self.b2(pooled).squeeze(-1)


class GroupMixer(nn.Module):
    """Mixes within groups, then over groups; holds which agent is in which.

    Args:
        n_agents: N, also the most groups that there can be.
        state_size: S.
        hidden_size: H.
        size: E.
        new_groups: "trained", or "frozen" at their initial weights as in the authors' code.
    """

    def __init__(
        self, n_agents: int, state_size: int, hidden_size: int, size: int, new_groups: str
    ) -> None:
        super().__init__()
        self.w1_hidden = GroupedLinear(n_agents, hidden_size, size)
        self.w1 = GroupedLinear(n_agents, size, size)
        self.groups = nn.ModuleList(Group(hidden_size, size) for _ in range(n_agents))
        if new_groups == "frozen":
            self.groups[1:].requires_grad_(False)
        self.w3 = _mlp(size, size, size)
        self.b3 = nn.Linear(size, size)
        self.w4 = _mlp(state_size, size, size)
        self.b4 = _mlp(state_size, size, 1)
        self.register_buffer("group", torch.zeros(n_agents, dtype=torch.int64))  #: of every agent
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))  #: group of the lasso
        self._rows: list[Tensor] = []
        self.register_load_state_dict_post_hook(GroupMixer._list_members)
        self._list_members()

    def assign(self, group: Tensor) -> None:
        """Puts every agent into a group, [N]; every number up to the largest has a member."""
        self.group.copy_(group)
        self._list_members()

    def _list_members(self, *_: Any) -> None:
        """Lists the agents of each group on the CPU, to be read without waiting for a GPU."""
        group = self.group.tolist()
        self.members = [[i for i, g in enumerate(group) if g == k] for k in range(max(group) + 1)]
        self._rows = []

    def rows(self) -> list[Tensor]:
        """The agents of each group, to index with: lists would be copied to a GPU at every use."""
        device = self.group.device
        if not self._rows or self._rows[0].device != device:
            self._rows = [torch.tensor(members, device=device) for members in self.members]
        return self._rows

    def forward(
        self, q_values: Tensor, hidden: Tensor, embedding: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mixes.

        Args:
            q_values: of the chosen actions, [T, B, N].
            hidden: the agents' hidden states, [T, B, N, H].
            embedding: [T, B, N, E].
            state: [T, B, S].

        Returns:
            Q_tot [T, B], and every agent's mean mixing weight [T, B, N].
        """
        w1 = self.mixing_weights(hidden)
        belongs = torch.stack([(self.group == k).float() for k in range(len(self.members))])
        weighted = (belongs @ (q_values.unsqueeze(-1) * w1)).unbind(-2)
        summed = (belongs @ hidden).unbind(-2)
        pooled = [embedding[:, :, rows].amax(-2) for rows in self.rows()]
        of_groups = [
            self.groups[k](len(members), weighted[k], summed[k], pooled[k])
            for k, members in enumerate(self.members)
        ]
        q_groups, pooled = torch.stack(of_groups, -1), torch.stack(pooled, -2)  # [T, B, K(, E)]
        layer = F.elu((q_groups.unsqueeze(-1) * self.w3(pooled).abs() + self.b3(pooled)).sum(-2))
        q_tot = (layer * self.w4(state).abs()).sum(-1) + self.b4(state).squeeze(-1)
        return q_tot, w1.mean(-1)

    def mixing_weights(self, hidden: Tensor) -> Tensor:
        """w1, [T, B, N, E]."""
        rows = hidden.flatten(0, 1).transpose(0, 1)  # [N, M, H]
        w1 = self.w1(self.w1_hidden(rows).relu()).abs()
        return w1.transpose(0, 1).unflatten(0, hidden.shape[:2])

    @torch.no_grad()
    def regroup(self, weights: Tensor, threshold: float, generator: torch.Generator) -> bool:
        """Moves the agents whose weight is far below their group's.

        Args:
            weights: every agent's mean mixing weight, [N].
            threshold: the fraction of the group's mean below which an agent moves.
            generator: draws the movers' new hypernetworks.

        Returns:
            whether any agent moved.
        """
        moves = torch.zeros_like(self.group, dtype=torch.bool)
        for members in self.members:
            if len(members) >= 3:
                moves[members] = weights[members] < threshold * weights[members].mean()
        if not moves.any():
            return False
        self.assign(self.group + moves)
        self.turn.copy_((self.turn + 1) % len(self.members))
        for layer in (self.w1_hidden, self.w1):
            layer.reset(moves, generator)
        return True


class GoMARL(Learner):
    """The shared learner with groups."""

    class Config(LearnerConfig):
        """Hyper-parameters of GoMARL; one setting for all maps."""

        optimizer: Literal["rmsprop", "adam"] = "adam"
        learning_rate: float = Field(1e-3, gt=0)
        td_lambda: float = Field(0.6, ge=0, le=1)
        group_size: int = Field(32, gt=0)
        """E, width of embeddings, mixing layers and hypernetworks."""
        lasso: float = Field(0.005, ge=0)
        """Coefficient of the mixing weights, at the beginning."""
        lasso_decay: float = Field(0.96, gt=0, le=1)
        """Factor on it every ``lasso_interval`` env steps."""
        lasso_interval: int = Field(100_000, gt=0)
        """Env steps between its decays."""
        similarity: float = Field(0.005, ge=0)
        """Coefficient of the SD loss."""
        regroup_interval: int = Field(100_000, gt=0)
        """Env steps between regroupings."""
        regroup_batches: int = Field(4, gt=0)
        """Batches over which a regrouping averages the mixing weights."""
        regroup_batch_size: int = Field(256, gt=0)
        """Episodes in each; there is no regrouping before as many are stored."""
        regroup_threshold: float = Field(0.7, gt=0, le=1)
        """Members below this fraction of their group's mean weight move."""
        new_groups: Literal["trained", "frozen"] = "trained"
        """Whether the networks of groups that form later are trained."""

    RELEASED: ClassVar[dict[str, Any]] = PYMARL | {
        "n_envs": 8,
        "updates_per_episode": 1 / 8,
        "batch_size": 128,
        "epsilon_steps": 100_000,
        "target_interval": 25,
        "padding": "counted",
        "final_action": "stored",
        "new_groups": "frozen",
    }
    STREAMS: ClassVar[tuple[str, ...]] = ("regrouping",)
    TD_WEIGHT: ClassVar[float] = 0.5

    def build(self) -> None:
        spec, config = self.spec, self.config
        input_size = spec.obs_size + spec.n_actions + spec.n_agents
        self.agent = GroupAgent(input_size, config.hidden_size, spec.n_actions, config.group_size)
        self.mixer = GroupMixer(
            spec.n_agents,
            spec.state_size,
            config.hidden_size,
            config.group_size,
            config.new_groups,
        )
        self.register_buffer("regroupings", torch.zeros((), dtype=torch.int64))  #: that were due

    def runs_on_padding(self) -> bool:
        return self.config.padding == "counted"

    def mix(self, mixer: nn.Module, inputs: MixerInput) -> tuple[Tensor, dict[str, Tensor]]:
        q_tot, weights = mixer(inputs.chosen, **inputs.features, state=inputs.state)
        return q_tot, {"mixing_weights": weights}

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        config = self.config
        weights = online.extras["mixing_weights"]
        lasso = config.lasso * config.lasso_decay ** (self.env_steps // config.lasso_interval)
        shrunk = self.mixer.group == self.mixer.turn
        difference = self.similarity_difference(online.features["embedding"][:-1])
        return {
            "lasso": lasso * (self.weight_average(weights, batch.mask_index) * shrunk).sum(),
            "similarity": config.similarity * masked_mean(difference, batch.mask),
        }

    def similarity_difference(self, embedding: Tensor) -> Tensor:
        """SD of embeddings [T, B, N, E] before the average over steps, [T, B].

        With unit vectors u_i, sums of cosines over pairs are squared lengths of sums of vectors.
        """
        unit = F.normalize(embedding, dim=-1)
        everyone = unit.sum(-2).square().sum(-1)
        groups = self.mixer.rows()
        together = sum(unit[:, :, rows].sum(-2).square().sum(-1) for rows in groups)
        return (everyone - 2 * together) / self.spec.n_agents**2

    def weight_average(self, weights: Tensor, index: Tensor) -> Tensor:
        """Every agent's weight [T, B, N] averaged over steps, [N]; ``index``: Batch.mask_index."""
        if self.config.padding == "counted":
            return weights.mean((0, 1))
        return weights.flatten(0, 1)[index].mean(0)

    # Regrouping -----------------------------------------------------------------------------------

    def after_round(self, replay: ReplayBuffer) -> None:
        due = self.env_steps // self.config.regroup_interval
        if due <= self.regroupings:
            return
        self.regroupings.fill_(due)
        if len(replay) < self.config.regroup_batch_size:
            return
        generator = self.streams["regrouping"]
        seed = torch.randint(2**62, (), generator=generator, device=self.device)
        rng = np.random.default_rng(int(seed))
        weights = [
            self.replayed_weights(replay.sample(self.config.regroup_batch_size, rng))
            for _ in range(self.config.regroup_batches)
        ]
        average = torch.stack(weights).mean(0)
        if self.mixer.regroup(average, self.config.regroup_threshold, generator):
            self.move_targets()

    @torch.no_grad()
    def replayed_weights(self, batch: Batch) -> Tensor:
        """Every agent's mean mixing weight over sampled episodes, [N]."""
        weights = []
        for part in batch.split(_PART):
            part = part.to(self.device)
            inputs, _ = self.encode(part)
            _, _, features = self.agent(inputs, mask=self.network_mask(part))
            weights.append(self.mixer.mixing_weights(features["hidden"][:-1]).mean(-1))
        return self.weight_average(torch.cat(weights, dim=1), batch.mask_index.to(self.device))


def _mlp(input_size: int, hidden_size: int, output_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(input_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, output_size)
    )
