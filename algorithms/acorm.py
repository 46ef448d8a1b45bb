"""ACORM (Hu et al., ICLR 2024): attention-guided contrastive role representations, on QMIX.

Every agent's trajectory is embedded by a recurrent encoder, and the embedding e becomes a role z,
which the agent's action values and the mixer read. Roles are shaped by contrast: now and then the
agents of each single step are clustered by their embeddings, and an agent's role is drawn towards
the roles of its cluster and away from the others'. The mixer attends, from the state's history, to
the roles.

    e_i = f_e(o_i, last action; history),   z_i = sigmoid(LayerNorm(f_r(e_i)))
    s_ij = z_i' W k_j,   k_j = f_r'(e_j)     f_r' is the EMA of f_r (momentum encoder)
    L_contrast = mean over real steps and agents of
                 log sum_j exp s_ij - log sum_{j in cluster of i} exp s_ij          (R3DM's eq. 14)
    Q_tot = QMIX mixer whose state is [g ; attention(queries = GRU(g), keys = values = z)]

The TD loss also trains f_e and f_r, through the agents' inputs and the attention. Before the first
TD step f_e learns to predict the next observation and the agent's number, then f_r and W the
contrastive loss alone.

Where paper and code differ we follow the code of R3DM's authors, which made the results for both
methods (docs/fidelity.md lists every difference): a mixing network with ELU and hypernetworks of
width 64, targets copied every 100 updates, a target agent whose GRU starts at the second
observation. ``released`` adds three defects: the key encoder is also trained by gradient (their
``detach`` has no effect), the contrastive loss counts padding in its mean, and the greedy action
after the last step is chosen with a fresh memory. Online g and queries serve the target mixer too,
in both.

The class is a base of R3DM's. Shapes as in learner.py, and E embedding, Z role features.
"""

import copy
import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from algorithms.kernels.gru import GRU
from algorithms.kmeans import cluster
from algorithms.learner import Learner, LearnerConfig, Online, masked_mean, polyak_update
from algorithms.mixers import QMixer
from algorithms.networks import RecurrentAgent
from algorithms.packing import Packing
from benchmark.training.replay import Batch


class StateEncoder(nn.Module):
    """The state and its history, as the mixer reads them: g = ReLU(FC(s)) and GRU(g)."""

    def __init__(self, state_size: int, history_size: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(state_size, state_size)
        self.gru = GRU(state_size, history_size)

    def forward(self, state: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Runs over time.

        Args:
            state: [T, B, S].
            mask: [T, B] bool on the CPU, false beyond the end of an episode.

        Returns:
            g [T, B, S] and the history [T, B, M]; zero where not ``mask``.
        """
        packing = Packing(mask, agents=1, device=state.device)
        features = torch.relu(self.encoder(packing.pack(state.unsqueeze(2))))
        start = features.new_zeros(1, state.shape[1], self.gru.hidden_size)
        history, _ = self.gru(PackedSequence(features, packing.sizes), start)
        return packing.unpack(features).squeeze(2), packing.unpack(history.data).squeeze(2)


class AttentionMixer(nn.Module):
    """QMIX's mixer on [g ; attention over roles]; four heads, as in the paper's Table 1."""

    def __init__(
        self,
        n_agents: int,
        state_size: int,
        role_size: int,
        mixer_size: int,
        hypernet_size: int,
        attention_size: int = 128,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.n_agents, self.heads = n_agents, heads
        self.parts = [state_size, n_agents * role_size, n_agents * role_size]
        self.queries = nn.Linear(role_size, attention_size, bias=False)
        self.keys = nn.Linear(role_size, attention_size, bias=False)
        self.values = nn.Linear(role_size, attention_size)
        self.output = nn.Linear(attention_size, role_size)
        self.qmix = QMixer(n_agents, state_size + n_agents * role_size, mixer_size, hypernet_size)

    def forward(self, q_values: Tensor, state: Tensor) -> Tensor:
        """Mixes.

        Args:
            q_values: of the chosen actions, [T, B, N].
            state: g, the state's history (one query per agent) and the roles: [T, B, S + 2 N Z].

        Returns:
            Q_tot, [T, B].
        """
        g, queries, roles = state.split(self.parts, dim=-1)
        attended = self.attend(queries, roles)
        return self.qmix(q_values, torch.cat([g, attended], dim=-1))

    def attend(self, queries: Tensor, roles: Tensor) -> Tensor:
        """Multi-head attention of N queries to N roles; all [T, B, N Z]."""
        q, k, v = (
            layer(vectors.unflatten(-1, (self.n_agents, -1))).unflatten(-1, (self.heads, -1))
            for layer, vectors in (
                (self.queries, queries),
                (self.keys, roles),
                (self.values, roles),
            )
        )  # [T, B, N, heads, attention_size / heads]
        scores = torch.einsum("tbihd,tbjhd->tbhij", q / math.sqrt(q.shape[-1]), k)
        result = torch.einsum("tbhij,tbjhd->tbihd", scores.softmax(-1), v)
        return self.output(result.flatten(-2)).flatten(-2)


class ACORM(Learner):
    """QMIX with roles: trajectory and role encoders, contrastive updates, attention mixer."""

    class Config(LearnerConfig):
        """Hyper-parameters of ACORM; defaults from R3DM's Tables 1 and 2 and its authors' code."""

        optimizer: Literal["rmsprop", "adam"] = "adam"
        learning_rate: float = Field(6e-4, gt=0)
        """Of the TD step, before its decay."""
        learning_rate_decay: float = Field(0.98, gt=0, le=1)
        """Factor on the TD step's rate every ``learning_rate_decay_interval`` updates."""
        learning_rate_decay_interval: int = Field(500, gt=0)
        """Updates between the decays."""
        target_interval: int = Field(100, gt=0)
        target_first_step: Literal[0, 1] = 1
        last_greedy_memory: Literal["carried", "fresh"] = "carried"
        """The agents' memory when they choose the greedy action of the batch's last target. Fresh
        in ACORM's copy by R3DM's authors; tells only after a full episode at the limit."""
        mixer_size: int = Field(32, gt=0)
        """Width of the mixing network."""
        hypernet_size: int = Field(64, gt=0)
        """Width of the hypernetworks' hidden layer."""
        embedding_size: int = Field(128, gt=0)
        """E, width of the trajectory encoder and of its embedding."""
        role_size: int = Field(64, gt=0)
        """Z, width of a role, and of one query of the state's history."""

        clusters: int = Field(3, gt=0)
        """Clusters of agents in the contrastive loss."""
        contrastive_interval: int = Field(100, ge=0)
        """Updates between contrastive steps; 0 for none after pre-training."""
        contrastive_learning_rate: float = Field(8e-4, gt=0)
        """Adam's rate of the contrastive step, constant."""
        key_tau: float = Field(0.005, gt=0, le=1)
        """Of the key encoder's Polyak update after each contrastive step and each TD step."""
        key_gradient: Literal["stopped", "flowing"] = "stopped"
        """Whether the contrastive loss also trains the key encoder."""
        embedding_pretraining: int = Field(120, ge=0)
        """Updates that train the trajectory encoder alone, before the first TD step."""
        embedding_learning_rate: float = Field(1e-3, gt=0)
        """Adam's rate of those updates."""
        contrastive_pretraining: int = Field(100, ge=0)
        """Contrastive steps after those, before the first TD step."""

    RELEASED: ClassVar[dict[str, Any]] = {
        "key_gradient": "flowing",
        "last_greedy_memory": "fresh",
        "padding": "counted",
    }
    MAP_HYPERPARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {  # R3DM's Table 2
        "5m_vs_6m": {"clusters": 5},
        "terran_10_vs_11": {"clusters": 4},
    }
    STREAMS: ClassVar[tuple[str, ...]] = ("clusters",)

    def build(self) -> None:
        spec, config = self.spec, self.config
        embedding, role = config.embedding_size, config.role_size
        self.hidden_width = embedding + config.hidden_size  # trajectory encoder's, then agent's
        input_size = spec.obs_size + spec.n_actions
        self.trajectory_encoder = RecurrentAgent(input_size, embedding, embedding)
        self.trajectory_decoder = nn.Sequential(  # of pre-training
            nn.Linear(embedding, embedding),
            nn.ReLU(),
            nn.Linear(embedding, spec.obs_size + spec.n_agents),
        )
        self.role_encoder = nn.Sequential(
            nn.Linear(embedding, role), nn.LayerNorm(role), nn.Sigmoid()
        )
        self.key_encoder = copy.deepcopy(self.role_encoder)
        self.bilinear = nn.Parameter(torch.rand(role, role))  # W
        self.agent = RecurrentAgent(input_size + role, config.hidden_size, spec.n_actions)
        self.state_encoder = StateEncoder(spec.state_size, role * spec.n_agents)
        self.mixer = AttentionMixer(
            spec.n_agents, spec.state_size, role, config.mixer_size, config.hypernet_size
        )
        self.pretraining_updates = 0

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        contrastive = [*self.role_encoder.parameters(), self.bilinear]
        if self.config.key_gradient == "flowing":
            contrastive += self.key_encoder.parameters()
        pretraining = [*self.trajectory_encoder.parameters(), *self.trajectory_decoder.parameters()]
        return super().make_optimizers() | {
            "contrastive": _adam(contrastive, self.config.contrastive_learning_rate),
            "pretraining": _adam(pretraining, self.config.embedding_learning_rate),
        }

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        td = [self.agent, self.mixer, self.state_encoder]
        roles = [self.role_encoder, self.trajectory_encoder]
        return {"td": _parameters(td), "roles": _parameters(roles)}

    # Roles ----------------------------------------------------------------------------------------

    def inputs(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """What the trajectory encoder reads: observation and last action, no agent's number."""
        return torch.cat([obs, self.one_hot(last_actions)], dim=-1)

    def embed(self, batch: Batch) -> Tensor:
        """The trajectory encoder's embeddings, [T + 1, B, N, E]."""
        observed = self.inputs(batch.obs, batch.last_actions)
        return self.trajectory_encoder(observed, mask=self.network_mask(batch))[0]

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        observed = self.inputs(batch.obs, batch.last_actions)
        roles = self.role_encoder(self.embed(batch))
        g, queries = self.state_encoder(batch.state, self.network_mask(batch))
        state = torch.cat([g, queries, roles.flatten(-2)], dim=-1)
        return torch.cat([observed, roles], dim=-1), state

    def online(self, batch: Batch) -> Online:
        online = super().online(batch)
        if self.config.last_greedy_memory == "carried":
            return online
        with torch.no_grad():
            fresh = self.agent(online.inputs[-1:])[0]
        return online._replace(q_values=torch.cat([online.q_values[:-1], fresh]))

    # Acting ---------------------------------------------------------------------------------------

    @torch.inference_mode()
    def act(self, obs: Tensor, last_actions: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        obs, last_actions = obs.to(self.device), last_actions.to(self.device)
        observed = self.inputs(obs[None], last_actions[None])
        of_trajectory, of_agent = self._split(hidden)
        embeddings, of_trajectory, _ = self.trajectory_encoder(observed, of_trajectory)
        inputs = torch.cat([observed, self.role_encoder(embeddings)], dim=-1)
        q_values, of_agent, _ = self.agent(inputs, of_agent)
        return q_values[0], torch.cat([of_trajectory, of_agent], dim=-1)

    def frozen_hidden(self, before: Tensor, after: Tensor) -> Tensor:
        # The authors' code advances the trajectory encoder on random steps, but not the agent.
        return torch.cat([self._split(after)[0], self._split(before)[1]], dim=-1)

    def _split(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return hidden.split([self.config.embedding_size, self.config.hidden_size], dim=-1)

    # Learning -------------------------------------------------------------------------------------

    def pretrain(self, batch: Batch, *others: Batch) -> bool:
        embedding, contrastive = (
            self.config.embedding_pretraining,
            self.config.contrastive_pretraining,
        )
        if self.pretraining_updates >= embedding + contrastive:
            return False
        if self.pretraining_updates < embedding:
            self._step("pretraining", self.prediction_loss(batch))
        else:
            self.contrast(batch)
        self.pretraining_updates += 1
        return True

    def before_update(self, batch: Batch, *others: Batch) -> None:
        interval = self.config.contrastive_interval
        if interval and (self.updates + 1) % interval == 0:
            self.contrast(batch)

    def after_update(self) -> None:
        config = self.config
        polyak_update(self.key_encoder, self.role_encoder, config.key_tau)
        if self.updates % config.learning_rate_decay_interval == 0:
            for name in self.parameter_groups():
                for group in self.optimizers[name].param_groups:
                    group["lr"] *= config.learning_rate_decay

    def contrast(self, batch: Batch) -> None:
        """One contrastive step, and one move of the key encoder."""
        self._step("contrastive", self.contrastive_loss(batch))
        polyak_update(self.key_encoder, self.role_encoder, self.config.key_tau)

    def contrastive_loss(self, batch: Batch) -> Tensor:
        """Contrast of roles between clusters of agents (R3DM's eq. 14); f_e gets no gradient.

        Clusters are formed in every step from the embeddings of its N agents alone. An agent's
        positives are its cluster's agents, its negatives the others.
        """
        with torch.no_grad():
            embeddings = self.embed(batch)[:-1].flatten(0, 1)[batch.mask_index]  # [P, N, E]
            labels = cluster(embeddings, self.config.clusters, self.streams["clusters"])
        queries, keys = self.role_encoder(embeddings), self.key_encoder(embeddings)
        if self.config.key_gradient == "stopped":
            keys = keys.detach()
        logits = queries @ self.bilinear @ keys.transpose(1, 2)  # [P, N, N]
        negatives = labels.unsqueeze(2) != labels.unsqueeze(1)
        positives = logits.masked_fill(negatives, -math.inf)
        contrast = logits.logsumexp(-1) - positives.logsumexp(-1)
        if self.config.padding == "excluded":
            return contrast.mean()
        return contrast.sum() / (batch.mask.numel() * self.spec.n_agents)

    def prediction_loss(self, batch: Batch) -> Tensor:
        """Squared error of next observation and agent's number, predicted from the embedding."""
        predicted = self.trajectory_decoder(self.embed(batch)[:-1])
        numbers = self.agent_codes.expand(*predicted.shape[:-1], -1)
        target = torch.cat([batch.obs[1:], numbers], dim=-1)
        return masked_mean((predicted - target).square().mean((2, 3)), batch.mask)

    def _step(self, name: str, loss: Tensor) -> None:
        """One unclipped step of one of the additional optimisers."""
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()
        self.log(**{name: loss})

    # Bookkeeping ----------------------------------------------------------------------------------

    def training_state(self) -> dict:
        return super().training_state() | {"pretraining_updates": self.pretraining_updates}

    def load_training_state(self, state: dict) -> None:
        super().load_training_state(state)
        self.pretraining_updates = state["pretraining_updates"]


def _adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=learning_rate, foreach=True)


def _parameters(modules: list[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]
