"""Mixers: from the q_values of single agents to Q_tot."""

from torch import Tensor, nn
from torch.nn import functional as F


class QMixer(nn.Module):
    """QMIX's monotonic mixer (Rashid et al. 2018, figure 2).

    ``Q_tot = w2(s) . ELU(q W1(s) + b1(s)) + b2(s)`` with ``W1, w2 >= 0``, so that every agent's
    greedy action is the team's. The weights come from hypernetworks of the state.
    """

    def __init__(self, n_agents: int, state_size: int, embed_size: int, hyper_size: int) -> None:
        super().__init__()
        self.n_agents = n_agents
        self.hyper_w1 = nn.Sequential(
            nn.Linear(state_size, hyper_size),
            nn.ReLU(),
            nn.Linear(hyper_size, n_agents * embed_size),
        )
        self.hyper_w2 = nn.Sequential(
            nn.Linear(state_size, hyper_size), nn.ReLU(), nn.Linear(hyper_size, embed_size)
        )
        self.hyper_b1 = nn.Linear(state_size, embed_size)
        self.hyper_b2 = nn.Sequential(
            nn.Linear(state_size, embed_size), nn.ReLU(), nn.Linear(embed_size, 1)
        )

    def forward(self, q_values: Tensor, state: Tensor) -> Tensor:
        """Mixes.

        Args:
            q_values: of the chosen actions, [T, B, N].
            state: [T, B, S].

        Returns:
            Q_tot, [T, B].
        """
        return self.combine(q_values, *self.weights(state))

    def weights(self, state: Tensor) -> tuple[Tensor, ...]:
        """W1 [T, B, N, E], b1 [T, B, E], w2 [T, B, E] and b2 [T, B] of the states [T, B, S]."""
        w1 = self.hyper_w1(state).abs().unflatten(-1, (self.n_agents, -1))
        w2 = self.hyper_w2(state).abs()
        return w1, self.hyper_b1(state), w2, self.hyper_b2(state).squeeze(-1)

    @staticmethod
    def combine(q_values: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        """Q_tot [T, B] of the chosen actions' q_values [T, B, N] under these weights."""
        return (QMixer.hidden(q_values, w1, b1) * w2).sum(-1) + b2

    @staticmethod
    def hidden(q_values: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
        """The hidden layer, [T, B, E]."""
        return F.elu((q_values.unsqueeze(-1) * w1).sum(-2) + b1)
