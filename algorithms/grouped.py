"""Several linear layers side by side, computed as one batched product."""

import math

import torch
from torch import Tensor, nn


class GroupedLinear(nn.Module):
    """One linear layer per group: [K, M, I] -> [K, M, O] for M rows.

    Initialised as ``nn.Linear`` is, each group on its own.

    Args:
        groups: K.
        input_size: I.
        output_size: O.
        bias: whether the layers have biases.
    """

    def __init__(self, groups: int, input_size: int, output_size: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, input_size, output_size))
        self.bias = nn.Parameter(torch.empty(groups, output_size)) if bias else None
        self.reset(slice(None))

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies layer k to group k of the inputs."""
        if self.bias is None:
            return torch.bmm(inputs, self.weight)
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight)

    @torch.no_grad()
    def reset(self, groups: Tensor | slice, generator: torch.Generator | None = None) -> None:
        """Draws new weights for some groups."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        for parameter in self.parameters():
            fresh = torch.empty_like(parameter[groups]).uniform_(-bound, bound, generator=generator)
            parameter[groups] = fresh
