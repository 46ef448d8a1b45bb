"""The real steps of padded episodes as one list, so that no time is spent on padding.

Batches are padded to their longest episode, [T, B, N, ...]. Packed data are the rows of the steps
that were played, [M, ...], step by step and long episodes first, as in torch's ``PackedSequence``:
the rows that are still running are always the first ones of a step.
"""

import torch
from torch import Tensor

from benchmark.training.replay import send


class Packing:
    """Which rows of [T, B, N, ...] are real.

    Args:
        mask: [T, B] bool on the CPU, false from the end of an episode on.
        agents: N, rows per episode and step.
        device: where the data are. Everything is worked out on the CPU, so that it need not wait
            for a GPU.
    """

    def __init__(self, mask: Tensor, agents: int, device: torch.device) -> None:
        steps, battles = mask.shape
        self.shape = (steps, battles, agents)
        order = mask.sum(0).argsort(descending=True, stable=True)
        index = torch.arange(steps * battles * agents).view(self.shape)
        #: of every packed row in the flattened padded data, [M] on the CPU
        self.places = index[:, order][mask[:, order]].flatten()
        sizes = mask.sum(1) * agents
        self.sizes = sizes[sizes > 0]  #: packed rows of every step that anyone reached, on the CPU
        self.rows = send(self.places, device)
        self.order = send(order, device)  #: long episodes first [B]

    def pack(self, padded: Tensor) -> Tensor:
        """[T, B, N, ...] -> [M, ...]."""
        return padded.flatten(0, 2)[self.rows]

    def unpack(self, packed: Tensor) -> Tensor:
        """[M, ...] -> [T, B, N, ...], zero on padding."""
        padded = packed.new_zeros(self.shape[0] * self.shape[1] * self.shape[2], *packed.shape[1:])
        return padded.index_copy(0, self.rows, packed).view(*self.shape, *packed.shape[1:])
