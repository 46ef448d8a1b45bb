"""EMC (Zheng et al., NeurIPS 2021): episodic multi-agent exploration by curiosity, on QPLEX.

The team gets a bonus for prediction errors: a predictor learns the q_values that the agents will
have at the next step, and where it errs, these (and through them Q_tot) are new. The q_values come
from a second set of agents, factorised by VDN and trained on the true reward alone, of which a
moving average is the predictor's target. Good outcomes of exploration are kept: a memory of the
best return that ever followed a state pulls Q_tot towards it.

    d_t = mean_i || predictor_i(history_{t+1}) - 10 Q^ema_i(history_{t+1}) ||_2        all actions
    y_t = r_t + kappa d_t + gamma Q_tot'(s_{t+1}, greedy)
    L = mean (Q_tot - y)^2 + attention penalty
        + weight mean (Q_tot - r_t - gamma H(s_{t+1}))^2 where s_{t+1} is remembered
    L_vdn = TD of sum_i Q^vdn_i without bonus,   L_predictor = mean d

The three sets of agents have optimisers of their own. kappa decays in steps.

``unified`` takes EMC's own repository: its generic setting (small kappa, memory on), and its
special ones for 3s5z_vs_3s6z, corridor and 6h_vs_8z, two of which go without memory. ``released``
is the run of R3DM's authors, who gave MMM2 and all of SMACv2 the setting of 3s5z_vs_3s6z, and so no
memory; two updates per episode, the penalty averaged over padding. In both, kappa's steps fall on
multiples of their interval (the authors' drift by up to an episode each), padding is not written to
the memory (theirs fills entries that nothing ever reads), and among entries with one key the best
counts (theirs takes whichever its search tree finds).
"""

import copy
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.episodic_memory import EpisodicMemory
from algorithms.learner import NEVER, Online, chosen_q_values, masked_mean, polyak_update
from algorithms.qplex import QPLEX
from algorithms.returns import discounted_sums
from benchmark.training.protocol import PYMARL
from benchmark.training.replay import Batch, Episodes

#: EMC's setting for 3s5z_vs_3s6z, which R3DM's authors also gave to other maps.
_BOLD = {
    "curiosity": 0.08,
    "curiosity_decay": 0.95,
    "curiosity_floor": 0.01,
    "memory_weight": 0.0,
}
_COPIED = _BOLD | {"epsilon_steps": 200_000}


class EMC(QPLEX):
    """QPLEX with the curiosity branch and the episodic memory."""

    class Config(QPLEX.Config):
        """Hyper-parameters of EMC; defaults are its repository's generic setting."""

        curiosity: float = Field(0.001, ge=0)
        """kappa at the beginning."""
        curiosity_decay: float = Field(0.9, gt=0, le=1)
        """Factor on kappa every ``curiosity_interval`` env steps."""
        curiosity_interval: int = Field(100_000, gt=0)
        """Env steps between the decays."""
        curiosity_floor: float = Field(0.0, ge=0)
        """kappa's value once it has fallen below this."""
        predictor_scale: float = Field(10.0, gt=0)
        """Factor on the values that the predictor is to predict."""
        predictor_learning_rate: float = Field(5e-4, gt=0)
        """Adam's rate for the predictor."""
        ema_tau: float = Field(0.005, gt=0, le=1)
        """Of the Polyak update of the VDN agents' average after each update."""
        memory_weight: float = Field(0.1, ge=0)
        """Coefficient of the memory's loss; 0 for no memory."""
        memory_capacity: int = Field(1_000_000, gt=0)
        """States that are remembered."""
        memory_key_size: int = Field(4, gt=0)
        """Numbers to which a state is projected."""

    RELEASED: ClassVar[dict[str, Any]] = PYMARL | QPLEX.RELEASED | {"updates_per_episode": 2}
    MAP_HYPERPARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {
        "3s5z_vs_3s6z": _BOLD,
        "corridor": {
            "curiosity": 0.1,
            "curiosity_decay": 0.8,
            "curiosity_interval": 200_000,
            "curiosity_floor": 0.01,
            "memory_weight": 0.01,
        },
        "6h_vs_8z": {
            "curiosity": 0.2,
            "curiosity_interval": 200_000,
            "curiosity_floor": 0.01,
            "memory_weight": 0.0,
        },
    }
    RELEASED_MAPS: ClassVar[dict[str, dict[str, Any]]] = {
        "MMM2": _COPIED,
        "3s5z_vs_3s6z": _COPIED,
        "protoss_5_vs_5": _COPIED,
        "terran_5_vs_5": _COPIED,
        "zerg_5_vs_5": _COPIED,
        "protoss_10_vs_11": _COPIED,
        "terran_10_vs_11": _COPIED,
        "zerg_10_vs_11": _COPIED,
    }

    TARGETS: ClassVar[tuple[str, ...]] = (*QPLEX.TARGETS, "vdn")

    def build(self) -> None:
        super().build()
        spec, config = self.spec, self.config
        self.vdn = copy.deepcopy(self.agent)
        self.ema_vdn = copy.deepcopy(self.agent).requires_grad_(False)
        self.predictor = self.build_agent()
        self.memory = None
        if config.memory_weight:
            self.memory = EpisodicMemory(
                spec.state_size, config.memory_capacity, config.memory_key_size
            )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return super().parameter_groups() | {
            "vdn": [*self.vdn.parameters()],
            "predictor": [*self.predictor.parameters()],
        }

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = self.config.predictor_learning_rate
        return super().make_optimizers() | {
            "predictor": torch.optim.Adam(self.predictor.parameters(), lr=rate, foreach=True)
        }

    # Curiosity ------------------------------------------------------------------------------------

    def online(self, batch: Batch) -> Online:
        """The pass of QPLEX, and the predictor's error [T, B] as one more extra."""
        online = super().online(batch)
        online.extras["prediction_error"] = self.prediction_error(batch, online.inputs)
        return online

    def prediction_error(self, batch: Batch, inputs: Tensor) -> Tensor:
        """d, [T, B]."""
        mask = self.network_mask(batch)
        with torch.no_grad():
            q_values, _, _ = self.ema_vdn(inputs, mask=mask)
        predicted, _, _ = self.predictor(inputs, mask=mask)
        scaled = self.config.predictor_scale * q_values[1:]
        return F.pairwise_distance(predicted[1:], scaled).mean(-1)

    def intrinsic_reward(self, batch: Batch, online: Online) -> Tensor:
        return self.kappa() * online.extras["prediction_error"].where(batch.mask, 0)

    def kappa(self) -> float:
        """The coefficient of curiosity, a falling staircase.

        As in the authors' code it steps down while it is above the floor, once below it, and stays
        on the floor from the next step on.
        """
        config = self.config
        stage = self.env_steps // config.curiosity_interval
        before = config.curiosity * config.curiosity_decay ** (stage - 1)
        if stage and before <= config.curiosity_floor:
            return config.curiosity_floor
        return config.curiosity * config.curiosity_decay**stage

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        losses = {
            "predictor": masked_mean(online.extras["prediction_error"], batch.mask),
            "vdn": self.vdn_loss(batch, online.inputs),
        }
        if self.memory is not None:
            loss = self.memory_loss(batch, online)
            losses["memory"] = self.config.memory_weight * loss
        return super().auxiliary_losses(batch, online) | losses

    def vdn_loss(self, batch: Batch, inputs: Tensor) -> Tensor:
        """One-step TD of the sum of the VDN agents' values, without bonus."""
        mask = self.network_mask(batch)
        q_values, _, _ = self.vdn(inputs, mask=mask)
        q_tot = chosen_q_values(q_values[:-1], batch.actions).sum(-1)
        with torch.no_grad():
            target_q_values, _, _ = self.targets["vdn"](inputs, mask=mask)
            greedy = q_values[1:].masked_fill(~batch.available[1:], NEVER).argmax(-1)
            future = chosen_q_values(target_q_values[1:], greedy).sum(-1)
            target = batch.reward + self.config.gamma * (~self.terminal(batch)) * future
        return masked_mean((q_tot - target).square(), batch.mask)

    def after_update(self) -> None:
        polyak_update(self.ema_vdn, self.vdn, self.config.ema_tau)
        if self.memory is not None and self.updates % self.config.target_interval == 0:
            self.memory.refresh()

    # Memory ---------------------------------------------------------------------------------------

    def on_collect(self, episodes: Episodes, env_steps: int) -> None:
        super().on_collect(episodes, env_steps)
        if self.memory is None:
            return
        state, reward, length = map(
            torch.from_numpy, (episodes.state, episodes.reward, episodes.length)
        )
        step = torch.arange(state.shape[1])
        reward = F.pad(reward, (0, 1)).where(step < length.unsqueeze(1), 0)  # [E, T + 1]
        returns = discounted_sums(reward.t(), self.config.gamma).t()
        observed = step <= length.unsqueeze(1)
        self.memory.write(state[observed], returns[observed])

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Looks up the next states: their "best_return" so far, and whether one is "remembered"."""
        if self.memory is None:
            return {}
        index = batch.mask_index
        best, found = (
            torch.zeros(batch.mask.shape, dtype=dtype) for dtype in (torch.float, torch.bool)
        )
        read = self.memory.read(batch.state[1:].flatten(0, 1)[index])
        best.view(-1)[index], found.view(-1)[index] = read
        return {"best_return": best, "remembered": found}

    def memory_loss(self, batch: Batch, online: Online) -> Tensor:
        """Squared distance of Q_tot to the best return ever; zero where none is remembered."""
        error = online.q_tot - batch.reward - self.config.gamma * online.extras["best_return"]
        squares = error.square().where(online.extras["remembered"], 0)
        return masked_mean(squares, batch.mask)

    # Bookkeeping ----------------------------------------------------------------------------------

    def training_state(self) -> dict:
        state = super().training_state()
        return state if self.memory is None else state | {"memory": self.memory.state_dict()}

    def load_training_state(self, state: dict) -> None:
        super().load_training_state(state)
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
