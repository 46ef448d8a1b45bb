"""Networks that several methods share."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from algorithms.kernels.gru import GRU
from algorithms.packing import Packing


class RecurrentAgent(nn.Module):
    """The agent network of the PyMARL family: Linear, ReLU, GRU, Linear; shared by all agents.

    Whole sequences go through one GRU call, so that acting (one step) and learning (many) are the
    same function. A subclass may read more than one output from the memory. Shapes: T steps, B
    battles or episodes, N agents, D inputs, H hidden, A outputs (the values of the actions).
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.encoder = nn.Linear(input_size, hidden_size)
        self.memory = GRU(hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)

    def forward(
        self, inputs: Tensor, hidden: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Runs the network over time.

        Args:
            inputs: [T, B, N, D].
            hidden: [B, N, H]; none at the start of an episode, which means zeros.
            mask: [T, B] bool on the CPU, false beyond the end of an episode. Networks on the CPU
                spend no time there, and their outputs there are zero.

        Returns:
            outputs [T, B, N, A], the hidden state after the last (real) step [B, N, H], and
            further outputs [T, B, N, ...] if ``read`` gives any.
        """
        steps, battles, agents, _ = inputs.shape
        if hidden is None:
            hidden = inputs.new_zeros(battles, agents, self.hidden_size)
        if mask is not None and inputs.device.type == "cpu" and not mask.all():
            return self._forward_packed(inputs, hidden, Packing(mask, agents, inputs.device))
        features = torch.relu(self.encoder(inputs.flatten(1, 2)))  # [T, B*N, H]
        features, last = self.memory(features, hidden.flatten(0, 1).unsqueeze(0))
        outputs = [
            each.view(steps, battles, agents, -1)
            for each in self.read(features.view(-1, agents, self.hidden_size))
        ]
        return outputs[0], last.view(battles, agents, -1), *outputs[1:]

    def read(self, memory: Tensor) -> tuple[Tensor, ...]:
        """Reads outputs [M, N, ...] from the agents' memory after M steps [M, N, H]."""
        return (self.head(memory),)

    def _forward_packed(
        self, inputs: Tensor, hidden: Tensor, packing: Packing
    ) -> tuple[Tensor, ...]:
        """The same over real steps only."""
        features = torch.relu(self.encoder(packing.pack(inputs)))
        features, last = self.memory(
            PackedSequence(features, packing.sizes),
            hidden[packing.order].flatten(0, 1).unsqueeze(0),
        )
        memory = features.data.view(-1, inputs.shape[2], self.hidden_size)
        outputs = [packing.unpack(each.flatten(0, 1)) for each in self.read(memory)]
        return outputs[0], last.view_as(hidden)[packing.order.argsort()], *outputs[1:]
