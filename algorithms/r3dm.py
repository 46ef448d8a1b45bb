"""R3DM (Goel et al., ICML 2025): roles that shape the future, on ACORM.

A good role should follow from an agent's past and decide its future. ACORM's contrast does the
first; R3DM adds the second as a reward: for acting in a way that depends on the agent's own role
(policy term), and for reaching observations that a model predicts better if it knows the role
(dynamics term). Two world models of single agents, with the role and without, are trained for that.

    policy term    r_pol[i] = KL(P_ii, mean_j P_ij)                                       (eq. 7)
                   P_ij = softmax Q_i(. | history_i, role_j)
    dynamics term  r_dyn[i] = error_p(o') - beta1 error_q(o')                             (eq. 9)
                   error: squared symlog error of the imagined next observation, minus a
                   log-likelihood; q reads the role, p does not
    latent term    r_lat[i] = -log p(d') + beta1 log q(d')                                (eq. 9)
    target         y = r + alpha mean_i (beta3 r_pol + r_dyn + beta2 r_lat) + gamma Q'   (eq. 10)

With beta1 = 1 the dynamics term is what knowing the role adds to a prediction. Table 3's other
values add (1 - beta1) error_q: above 1 (5m_vs_6m, MMM2) a price on observations that are hard to
predict, at first more than the task's return; below 1 a bonus.

Rewards are computed for every batch, with moving averages of the world models (EMA), by
imagining ``horizon`` steps with the replayed actions from every step of the batch at once.

The paper's text and the authors' code disagree on the method itself; the code made the results, and
is our default in both protocols. The fields ``counterfactual``, ``policy_sharpness``,
``policy_steps``, ``role_enters``, ``future_roles`` and ``reward_reduction`` switch to the text one
by one. Table 3's alpha belongs to the mean over agents. ``released`` adds the defects: imagination
runs beyond the end of short episodes, the models miss the last observation of all but the longest
and count padding in their mean, and the settings per map are those of the authors' files.
docs/fidelity.md lists every difference.
"""

import copy
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from algorithms.acorm import ACORM
from algorithms.counterfactual import (
    counterfactual_states,
    next_states,
    policy_divergence,
    read_values,
)
from algorithms.learner import Online, polyak_update
from algorithms.packing import Packing
from algorithms.world_model import RSSMState, WorldModel, squared_errors, symexp, symlog
from benchmark.training.replay import Batch, send

#: Rows of the policy term that are computed together; bounds its memory (27 agents make 729 pairs).
_CHUNK = 2**19


class R3DM(ACORM):
    """ACORM with world models and intrinsic rewards."""

    class Config(ACORM.Config):
        """Hyper-parameters of R3DM; defaults from the paper's Tables 3 and 4 (docs/fidelity.md)."""

        alpha: float = Field(0.1, ge=0)
        """Weight of the intrinsic reward."""
        beta1: float = Field(1.0, ge=0)
        """Weight of the role-conditioned model; in the code also an inverse temperature."""
        beta2: float = Field(0.0, ge=0)
        """Weight of the latent term (``intr_beta3`` in the authors' files)."""
        beta3: float = Field(1.0, ge=0)
        """Weight of the policy term (``intr_beta2`` in the authors' files)."""
        horizon: int = Field(1, gt=0)
        """k, steps that are imagined."""

        counterfactual: Literal["history", "step"] = "history"
        """Where another's role enters: in the whole history (code), or its last step (paper)."""
        policy_sharpness: Literal["beta1", "one"] = "beta1"
        """Inverse temperature of an agent's own policy in the policy term: code, or paper."""
        policy_steps: Literal["first", "all"] = "first"
        """Steps of the policy term: the present one (code), or all imagined ones too (paper)."""
        role_enters: Literal["gru", "prior"] = "gru"
        """Where the world model reads the role, apart from its decoder: code, or paper."""
        future_roles: Literal["replayed", "frozen"] = "replayed"
        """Roles of imagined steps: those of the replayed steps (code), or the first's (paper)."""
        reward_reduction: Literal["mean", "sum"] = "mean"
        """Over agents and imagined steps: code, or paper."""
        imagination_end: Literal["episode", "batch"] = "episode"
        """Where imagination stops: at the episode's end, or running into its padding."""

        model_learning_rate: float = Field(1e-4, gt=0)
        """Adam's rate of the world models, constant."""
        model_gradient_clip: float = Field(1000.0, gt=0)
        """Largest gradient norm of each model."""
        model_tau: float = Field(0.009975, gt=0, le=1)
        """Of the models' Polyak update per step (0.005 twice in the authors' code)."""
        pretraining_model_tau: float = Field(0.009975, gt=0, le=1)
        """The same during the contrastive steps of pre-training (0.005 once in their code)."""
        model_observations: Literal["all", "longest"] = "all"
        """Whether the last observation is learned from: always, or in the longest episodes only."""
        free_nats: float = Field(1.0, ge=0)
        """KL divergences below this have no gradient."""

    RELEASED: ClassVar[dict[str, Any]] = ACORM.RELEASED | {
        "imagination_end": "batch",
        "last_greedy_memory": "carried",
        "model_observations": "longest",
        "pretraining_model_tau": 0.005,
        "replay_tails": "stale",
    }
    #: Table 3, and Table 2's clusters.
    MAP_HYPERPARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {
        "5m_vs_6m": {"clusters": 5, "alpha": 0.05, "beta1": 2.0},
        "MMM2": {"alpha": 0.05, "beta1": 2.0},
        "3s5z_vs_3s6z": {"alpha": 0.1},
        "27m_vs_30m": {"alpha": 0.1},
        "corridor": {"alpha": 0.1, "beta3": 2.0},
        "6h_vs_8z": {"alpha": 0.1, "beta1": 0.9, "beta3": 2.0},
        "protoss_5_vs_5": {"alpha": 0.05, "beta1": 0.5},
        "terran_5_vs_5": {"alpha": 0.05},
        "zerg_5_vs_5": {"alpha": 0.05, "beta1": 0.2, "beta3": 0.5},
        "protoss_10_vs_11": {"alpha": 0.05, "beta1": 0.5, "beta3": 0.5},
        "terran_10_vs_11": {"clusters": 4, "alpha": 0.05, "beta1": 0.5, "beta3": 0.5},
        "zerg_10_vs_11": {"alpha": 0.05, "beta1": 0.2},
    }
    #: The authors' YAML files where they differ; one that lacks the horizon gets the paper's 1.
    RELEASED_MAPS: ClassVar[dict[str, dict[str, Any]]] = {
        "3s5z": {"alpha": 0.01, "beta2": 1.0, "horizon": 2},
        "MMM2": {"alpha": 0.01, "beta1": 1.0, "beta2": 1.0, "horizon": 2},
        "27m_vs_30m": {"alpha": 0.05, "horizon": 2},
        "corridor": {"horizon": 2},
        "6h_vs_8z": {"alpha": 0.01, "beta1": 1.0, "beta2": 1.0, "beta3": 1.0, "horizon": 2},
        "protoss_5_vs_5": {"alpha": 0.03, "beta1": 0.2},
        "terran_5_vs_5": {"alpha": 0.15, "beta1": 0.5, "beta3": 0.5},
        "zerg_5_vs_5": {"beta3": 1.0},
        "protoss_10_vs_11": {"horizon": 2},
        "terran_10_vs_11": {"alpha": 0.1, "beta1": 0.2, "horizon": 2},
    }
    BATCHES: ClassVar[int] = 2
    STREAMS: ClassVar[tuple[str, ...]] = (*ACORM.STREAMS, "model", "reward")

    def build(self) -> None:
        super().build()
        spec, config = self.spec, self.config
        self.models = nn.ModuleDict(
            {
                name: WorldModel(
                    spec.obs_size, spec.n_actions, role_size, role_enters=config.role_enters
                )
                for name, role_size in (("agnostic", 0), ("role", config.role_size))
            }
        )
        self.ema_models = copy.deepcopy(self.models).requires_grad_(False)

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = self.config.model_learning_rate
        return super().make_optimizers() | {
            name: torch.optim.Adam(model.parameters(), lr=rate, foreach=True)
            for name, model in self.models.items()
        }

    def runs_on_padding(self) -> bool:
        """Imagination without an end reads the roles of padding."""
        return self.config.imagination_end == "batch" and self.config.horizon > 1

    def policy_state(self) -> dict[str, Tensor]:
        """Without the world models: acting needs none, and they are most of the bytes."""
        models = ("models.", "ema_models.")
        state = super().policy_state()
        return {name: value for name, value in state.items() if not name.startswith(models)}

    # World models ---------------------------------------------------------------------------------

    def pretrain(self, batch: Batch, *others: Batch) -> bool:
        copies = self.pretraining_updates < self.config.embedding_pretraining
        pretrained = super().pretrain(batch)
        if pretrained:
            self.train_models(*others, tau=1.0 if copies else self.config.pretraining_model_tau)
        return pretrained

    def before_update(self, batch: Batch, *others: Batch) -> None:
        self.train_models(*others, tau=self.config.model_tau)
        super().before_update(batch)

    def train_models(self, batch: Batch, tau: float) -> None:
        """One step of both models on a batch of their own, and of their averages."""
        with torch.no_grad():
            roles = self.role_encoder(self.embed(batch))
        mask = batch.obs_mask_cpu
        if self.config.model_observations == "longest":
            mask = torch.cat([batch.mask_cpu, batch.mask_cpu[-1:]])
        packing = Packing(mask, self.spec.n_agents, self.device)
        data = self._observed(batch, symlog(batch.obs), roles, packing)
        padded = mask.numel() * self.spec.n_agents
        count = padded if self.config.padding == "counted" else len(packing.rows)
        for name, model in self.models.items():
            optimizer = self.optimizers[name]
            parts = model.losses(
                *data,
                packing.sizes.tolist(),
                self._uniforms("model", len(packing.rows)),
                self.config.free_nats,
            )
            losses = {part: rows.sum() / count for part, rows in parts.items()}
            optimizer.zero_grad(set_to_none=True)
            sum(losses.values()).backward()
            losses["gradient_norm"] = nn.utils.clip_grad_norm_(
                model.parameters(), self.config.model_gradient_clip
            )
            optimizer.step()
            self.log(**{f"model_{name}_{part}": loss for part, loss in losses.items()})
        polyak_update(self.ema_models, self.models, tau)

    def _observed(
        self, batch: Batch, obs: Tensor, roles: Tensor, packing: Packing
    ) -> tuple[Tensor, ...]:
        """o[t], a[t-1] and z[t-1] of every packed row."""
        steps = packing.shape[0]
        before = torch.cat([torch.zeros_like(roles[:1]), roles[:-1]])
        actions = self.one_hot(batch.last_actions)
        return tuple(packing.pack(padded[:steps]) for padded in (obs, actions, before))

    def _uniforms(self, stream: str, rows: int) -> Tensor:
        latents = self.models["role"].variables
        return torch.rand(rows, latents, generator=self.streams[stream], device=self.device)

    # Intrinsic reward -----------------------------------------------------------------------------

    def intrinsic_reward(self, batch: Batch, online: Online) -> Tensor:
        """alpha mean_i (beta3 r_pol + r_dyn + beta2 r_lat), the bonus of eq. 10, [T, B]."""
        config = self.config
        inputs = online.inputs.detach()
        roles = inputs[..., -config.role_size :]
        dynamics, latent, imagined = self.dynamics_terms(batch, roles)
        policy = config.beta3 * self.policy_term(batch, inputs[:-1], imagined)
        terms = {"policy": policy, "dynamics": dynamics}
        if config.beta2:
            terms["latent"] = config.beta2 * latent
        scale = self.spec.n_agents if config.reward_reduction == "sum" else 1
        terms = {name: config.alpha * scale * term.mean(-1) for name, term in terms.items()}
        for name, term in ({"task": batch.reward} | terms).items():
            self.log(**{f"return_{name}": torch.where(batch.mask, term, 0).sum() / batch.size})
        return sum(terms.values())

    def policy_term(self, batch: Batch, inputs: Tensor, imagined: Tensor) -> Tensor:
        """How far an agent's policy depends on its own role (eq. 7), [T, B, N]; zero on padding.

        Q_i(. | j): agent i's q_values with j's roles in place of its own, for all N x N pairs.

        Args:
            batch: the sampled episodes.
            inputs: of the agents, roles last, [T, B, N, D].
            imagined: what the agents are imagined to observe one, two, ... steps after every step,
                [K, T, B, N, O]; K is 0 where only the present step counts.
        """
        episodes = max(1, _CHUNK // (len(inputs) * self.spec.n_agents**2))
        parts = zip(
            inputs.split(episodes, dim=1),
            batch.mask_cpu.split(episodes, dim=1),
            imagined.split(episodes, dim=2),
            strict=True,
        )
        return torch.cat([self._policy_term(*part) for part in parts], dim=1)

    def _policy_term(self, inputs: Tensor, mask: Tensor, imagined: Tensor) -> Tensor:
        config, agent, role_size = self.config, self.agent, self.config.role_size
        packing = Packing(mask, self.spec.n_agents, inputs.device)
        sharpness = config.beta1 if config.policy_sharpness == "beta1" else 1.0

        def divergence(states: Tensor) -> Tensor:
            term = policy_divergence(read_values(agent, states), sharpness)
            return packing.unpack(term.flatten())

        states = counterfactual_states(agent, inputs, role_size, mask, config.counterfactual)
        term, left = divergence(states), self._steps_left(mask).unsqueeze(-1)
        for ahead, obs in enumerate(imagined, start=1):
            later = inputs.roll(-ahead, dims=0)  # row t: step t + ahead
            actions = later[..., obs.shape[-1] : -role_size]
            roles = (later if config.future_roles == "replayed" else inputs)[..., -role_size:]
            rows = packing.pack(torch.cat([obs, actions, roles], dim=-1))
            states = next_states(agent, states, rows, role_size, config.counterfactual)
            term += torch.where(send(left > ahead, term.device), divergence(states), 0)
        if len(imagined) and config.reward_reduction == "mean":
            term /= send(left.clamp(1, len(imagined) + 1), term.device)
        return term

    def dynamics_terms(self, batch: Batch, roles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Dynamics and latent terms (eq. 9): how much better the model with the role predicts.

        Args:
            batch: the sampled episodes.
            roles: z[t], [T + 1, B, N, Z].

        Returns:
            two terms [T, B, N], zero on padding; and of the observations that the model with the
            role imagined those that the policy term reads, [K, T, B, N, O].
        """
        packing = Packing(batch.mask_cpu, self.spec.n_agents, self.device)
        obs, actions = symlog(batch.obs), self.one_hot(batch.last_actions)
        observed, sizes = self._observed(batch, obs, roles, packing), packing.sizes.tolist()
        left = self._steps_left(batch.mask_cpu).unsqueeze(-1).expand(packing.shape)
        left = left.flatten()[packing.places]
        terms, imagined = torch.zeros(2, len(left), device=self.device), {}
        for name, weight in {"agnostic": 1.0, "role": -self.config.beta1}.items():  # eq. 9
            model = self.ema_models[name]
            state = model.observe(*observed, sizes, self._uniforms("reward", len(left)))
            errors, imagined[name] = self._imagine(
                model, state, packing.rows, left, actions, roles, obs
            )
            terms += weight * errors
        if self.config.reward_reduction == "mean":
            terms /= send(left.clamp(max=self.config.horizon), self.device)
        dynamics, latent = map(packing.unpack, terms)
        return dynamics, latent, packing.unpack(imagined["role"]).movedim(3, 0)

    def _steps_left(self, mask: Tensor) -> Tensor:
        """How many steps can be imagined from every real step; [T, B] on the CPU, as the mask."""
        if self.config.imagination_end == "batch":
            mask = torch.ones_like(mask)
        return mask.flip(0).cumsum(0).flip(0)

    def _imagine(
        self,
        model: WorldModel,
        state: RSSMState,
        rows: Tensor,
        left: Tensor,
        actions: Tensor,
        roles: Tensor,
        obs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Imagines from every packed row at once.

        Args:
            model: imagines.
            state: after that row's own step.
            rows: the packed rows' places among all, [M].
            left: how many steps may be imagined, [M], on the CPU.
            actions, roles, obs: a[t-1], z[t], symlog o[t], [T + 1, B, N, ...].

        Returns:
            squared errors of the imagined observations and -log p(d'), summed over steps, [2, M];
            and the observations that the policy term reads, [M, K, O].
        """
        config, width = self.config, actions.shape[1] * actions.shape[2]
        actions, roles, obs = (padded.flatten(0, 2) for padded in (actions, roles, obs))
        errors, negative_logs = sums = torch.zeros(2, len(rows), device=self.device)
        later = config.horizon - 1 if config.policy_steps == "all" else 0
        imagined = torch.zeros(len(rows), later, obs.shape[-1], device=self.device)
        running = torch.arange(len(rows), device=self.device)
        for ahead in range(config.horizon):
            if ahead:
                going = (left > ahead).nonzero().squeeze(-1)
                left = left[going]
                going = send(going, self.device)
                running, state = running[going], state.select(going)
            now = rows[running] + ahead * width
            role = roles[now if config.future_roles == "replayed" else rows[running]]
            uniforms = self._uniforms("reward", len(running))
            state = model.imagine(state, actions[now + width], role, uniforms)
            decoded = model.decode(state, role)
            errors.index_add_(0, running, squared_errors(decoded, obs[now + width]))
            if ahead < later:
                imagined[:, ahead].index_copy_(0, running, symexp(decoded))
            if config.beta2:
                log_likelihood = (state.stoch * state.log_probs.flatten(1)).sum(-1)
                negative_logs.index_add_(0, running, -log_likelihood)
        return sums, imagined
