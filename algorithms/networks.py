"""Networks that several methods share."""

import torch
from torch import Tensor, nn


class RecurrentAgent(nn.Module):
    """The agent network of the PyMARL family: Linear, ReLU, GRU, Linear; shared by all agents.

    Whole sequences go through one GRU call, so that acting (one step) and learning (many) are the
    same function. Shapes: T steps, B battles or episodes, N agents, D inputs, H hidden, A actions.
    """

    def __init__(self, input_size: int, hidden_size: int, n_actions: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.encoder = nn.Linear(input_size, hidden_size)
        self.memory = nn.GRU(hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, n_actions)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the network over time.

        Args:
            inputs: [T, B, N, D].
            hidden: [B, N, H], zeros at the start of an episode.

        Returns:
            action values [T, B, N, A] and the hidden state after the last step [B, N, H].
        """
        steps, battles, agents, _ = inputs.shape
        features = torch.relu(self.encoder(inputs.flatten(1, 2)))  # [T, B*N, H]
        features, last = self.memory(features, hidden.flatten(0, 1).unsqueeze(0))
        values = self.head(features).view(steps, battles, agents, -1)
        return values, last.view(battles, agents, -1)
