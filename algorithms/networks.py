"""Networks that several methods share."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from algorithms.kernels.gru import GRU
from algorithms.packing import Packing


class RecurrentAgent(nn.Module):
    """The agent network of the PyMARL family: Linear, ReLU, GRU, Linear; shared by all agents.

    Whole sequences go through one GRU call, so that acting (one step) and learning (many) are the
    same function. A subclass may read more from the hidden states. Shapes: T steps, B battles
    or episodes, N agents, D inputs, H hidden, A outputs (the q_values).
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.encoder = nn.Linear(input_size, hidden_size)
        self.gru = GRU(hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, output_size)

    def forward(
        self, inputs: Tensor, hidden: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Runs the network over time.

        Args:
            inputs: [T, B, N, D].
            hidden: [B, N, H]; none at the start of an episode, which means zeros.
            mask: [T, B] bool on the CPU, false beyond the end of an episode. Networks on the CPU
                spend no time there, and their outputs there are zero.

        Returns:
            outputs [T, B, N, A], the hidden state after the last (real) step [B, N, H], and what
            else ``read`` gives, by name, [T, B, N, ...].
        """
        steps, battles, agents, _ = inputs.shape
        if hidden is None:
            hidden = inputs.new_zeros(battles, agents, self.hidden_size)
        if mask is not None and inputs.device.type == "cpu" and not mask.all():
            return self._forward_packed(inputs, hidden, Packing(mask, agents, inputs.device))
        features = torch.relu(self.encoder(inputs.flatten(1, 2)))  # [T, B*N, H]
        states, last = self.gru(features, hidden.flatten(0, 1).unsqueeze(0))
        outputs, more = self.read(states.view(-1, agents, self.hidden_size))
        shape = (steps, battles, agents, -1)
        more = {name: one.view(shape) for name, one in more.items()}
        return outputs.view(shape), last.view(battles, agents, -1), more

    def read(self, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reads the hidden states of M steps.

        Args:
            hidden: [M, N, H].

        Returns:
            outputs [M, N, A], and features by name, [M, N, ...].
        """
        return self.head(hidden), {}

    def _forward_packed(
        self, inputs: Tensor, hidden: Tensor, packing: Packing
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The same over real steps only."""
        features = torch.relu(self.encoder(packing.pack(inputs)))
        states, last = self.gru(
            PackedSequence(features, packing.sizes),
            hidden[packing.order].flatten(0, 1).unsqueeze(0),
        )
        outputs, more = self.read(states.data.view(-1, inputs.shape[2], self.hidden_size))
        more = {name: packing.unpack(one.flatten(0, 1)) for name, one in more.items()}
        last = last.view_as(hidden)[packing.order.argsort()]
        return packing.unpack(outputs.flatten(0, 1)), last, more
