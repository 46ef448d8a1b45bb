"""Mixers: from the values of single agents to the value of the team."""

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

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        """Mixes.

        Args:
            values: the agents' values, [T, B, N].
            state: [T, B, S].

        Returns:
            Q_tot, [T, B].
        """
        w1 = self.hyper_w1(state).abs().unflatten(-1, (self.n_agents, -1))  # [T, B, N, E]
        w2 = self.hyper_w2(state).abs()  # [T, B, E]
        hidden = F.elu((values.unsqueeze(-1) * w1).sum(-2) + self.hyper_b1(state))
        return (hidden * w2).sum(-1) + self.hyper_b2(state).squeeze(-1)
