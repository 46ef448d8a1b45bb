"""Networks that several methods share."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from algorithms.gru import GRU


class RecurrentAgent(nn.Module):
    """The agent network of the PyMARL family: Linear, ReLU, GRU, Linear; shared by all agents.

    Whole sequences go through one GRU call, so that acting (one step) and learning (many) are the
    same function. Shapes: T steps, B battles or episodes, N agents, D inputs, H hidden, A actions.
    """

    def __init__(self, input_size: int, hidden_size: int, n_actions: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.encoder = nn.Linear(input_size, hidden_size)
        self.memory = GRU(hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, n_actions)

    def forward(
        self, inputs: Tensor, hidden: Tensor, real: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the network over time.

        Args:
            inputs: [T, B, N, D].
            hidden: [B, N, H], zeros at the start of an episode.
            real: [T, B] bool, false beyond the end of an episode. On the CPU no time is spent
                there, and the values there are zero.

        Returns:
            action values [T, B, N, A] and the hidden state after the last (real) step [B, N, H].
        """
        if real is not None and real.device.type == "cpu" and not real.all():
            return self._forward_packed(inputs, hidden, real)
        steps, battles, agents, _ = inputs.shape
        features = torch.relu(self.encoder(inputs.flatten(1, 2)))  # [T, B*N, H]
        features, last = self.memory(features, hidden.flatten(0, 1).unsqueeze(0))
        values = self.head(features).view(steps, battles, agents, -1)
        return values, last.view(battles, agents, -1)

    def _forward_packed(
        self, inputs: Tensor, hidden: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same, over the rows of real steps only: step by step, long episodes first."""
        shape = inputs.shape[:-1]
        order = real.sum(0).argsort(descending=True)
        rows = torch.arange(shape.numel()).view(shape)[:, order][real[:, order]].flatten()
        sizes = real.sum(1) * shape[-1]
        features = torch.relu(self.encoder(inputs.flatten(0, 2)[rows]))
        features, last = self.memory(
            PackedSequence(features, sizes), hidden[order].flatten(0, 1).unsqueeze(0)
        )
        values = self.head(features.data)
        padded = values.new_zeros(shape.numel(), values.shape[-1]).index_copy(0, rows, values)
        return padded.view(*shape, -1), last.view_as(hidden)[order.argsort()]
