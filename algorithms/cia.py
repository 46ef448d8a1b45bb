"""CIA (Liu et al., AAAI 2023): contrastive identity-aware learning, on QMIX.

With QMIX's mixer agents can end up with interchangeable credit for the team's success. CIA makes
the credits tell the agents apart: the credit of an agent over an episode, the gradient of Q_tot
by its q_value, must be recognisable as that agent's. Each identity has a learned vector over time,
and a contrastive loss asks that it fit its own agent's series of credits best.

    g_i[t] = dQ_tot / dQ_i = sum_e W1_ie ELU'(x_e) w2_e,   x = sg[Q] W1 + b1
    L = TD + alpha * mean over episodes and identities k of CE_i( w_k . g_i ; label k )

The credits are written in closed form, so that the loss trains the mixer's hypernetworks and the
identities, and no agent's network.

``unified`` takes alpha and the optimiser from the authors' tables for the map, and 5m_vs_6m's for
other maps. Two defects of the code are ``released`` only: where x < 0 it takes exp(ELU(x)) for the
derivative, not exp(x) (``credit_slope``), and it counts credits on padding up to the batch's
longest episode (``padding``), which read one more action, chosen after the end (``final_action``).
The identities' biases cancel in the loss; we leave them out. CIA's second form, on QPLEX, was not
run by R3DM's authors and is not here.

Shapes as in learner.py, and E width of the mixing network.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from algorithms.learner import MixerInput, Online
from algorithms.qmix import QMIX
from benchmark.training.protocol import PYMARL
from benchmark.training.replay import Batch

_ADAM = {"optimizer": "adam", "alpha": 0.005}


class CIA(QMIX):
    """QMIX with the identity loss on temporal credits."""

    class Config(QMIX.Config):
        """Hyper-parameters of CIA; defaults are the authors' for 5m_vs_6m."""

        alpha: float = Field(0.02, ge=0)
        """Coefficient of the identity loss."""
        credit_slope: Literal["derivative", "exponential"] = "derivative"
        """ELU's slope below zero: its derivative, or exp(ELU(x)) as in the released code."""

    RELEASED: ClassVar[dict[str, Any]] = PYMARL | {
        "epsilon_steps": 500_000,
        "credit_slope": "exponential",
        "padding": "counted",
        "final_action": "stored",
    }
    RELEASED_MAPS: ClassVar[dict[str, dict[str, Any]]] = {"5m_vs_6m": {"epsilon_steps": 50_000}}
    MAP_HYPERPARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {
        "MMM2": _ADAM,
        "3s5z_vs_3s6z": {"alpha": 0.1},
        "27m_vs_30m": _ADAM,
        "corridor": {"optimizer": "adam", "alpha": 0.02},
        "6h_vs_8z": _ADAM,
        "protoss_5_vs_5": _ADAM,
        "terran_5_vs_5": _ADAM,
        "zerg_5_vs_5": _ADAM,
        "protoss_10_vs_11": _ADAM,
        "terran_10_vs_11": _ADAM,
        "zerg_10_vs_11": _ADAM,
    }

    def build(self) -> None:
        super().build()
        self.identity = nn.Linear(self.spec.episode_limit, self.spec.n_agents, bias=False)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = super().parameter_groups()
        return groups | {"td": [*groups["td"], *self.identity.parameters()]}

    def runs_on_padding(self) -> bool:
        return self.config.padding == "counted"

    def mix(self, mixer: nn.Module, inputs: MixerInput) -> tuple[Tensor, dict[str, Tensor]]:
        """Q_tot [T, B], and of the online mixer the credits [T, B, N]."""
        chosen, weights = inputs.chosen, mixer.weights(inputs.state)
        q_tot = mixer.combine(chosen, *weights)
        return q_tot, {"credits": self.credits(chosen, *weights)} if mixer is self.mixer else {}

    def credits(self, q_values: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, _: Tensor) -> Tensor:
        """g, the derivative of Q_tot by the agents' q_values, [T, B, N]."""
        below = self.mixer.hidden(q_values.detach(), w1, b1).clamp(max=0)
        slope = below + 1 if self.config.credit_slope == "derivative" else below.exp()
        return (w1 * (slope * w2).unsqueeze(-2)).sum(-1)

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        credit = online.extras["credits"]
        if self.config.padding == "excluded":
            credit = credit.where(batch.mask.unsqueeze(-1), 0)
        return {"identity": self.config.alpha * self.identity_loss(credit)}

    def identity_loss(self, credit: Tensor) -> Tensor:
        """Cross entropy of recognising the agents by their credits [T, B, N]."""
        vectors = self.identity.weight[:, : len(credit)]  # [N, T]; beyond T there is no credit
        fit = (vectors @ credit.flatten(1)).unflatten(-1, credit.shape[1:])  # [identity, B, agent]
        own = fit.log_softmax(-1).diagonal(dim1=0, dim2=2)  # [B, N]
        return -own.mean()
