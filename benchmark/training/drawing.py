"""The batches of a round of updates, on CUDA drawn while the GPU works.

Which episodes a batch has is drawn when the round begins to need it, in the order of the updates;
episodes are stored between rounds only. So a batch is the same however early it is unpacked, and
after a round no random stream is ahead of the updates: a checkpoint needs nothing from here.
"""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice

import torch

from benchmark.training.protocol import Training
from benchmark.training.replay import Batch, Packed, ReplayBuffer
from benchmark.training.seeding import RandomStreams

#: Batches that are unpacked at the same time while the GPU works, each by a thread.
AHEAD = 2


def draw(
    replay: ReplayBuffer,
    rules: Training,
    streams: RandomStreams,
    purposes: list[str],
    device: torch.device,
    ahead: int | None = None,
) -> Generator[Batch, None, None]:
    """Draws one batch per purpose.

    Args:
        replay: no episode may be added before the last batch was drawn.
        rules: of the run.
        streams: of the run.
        purposes: the random stream of each batch.
        device: where the batches will be used.
        ahead: batches that threads prepare before they are asked for. The rule is none on the CPU,
            where threads would take the time of the updates, and ``AHEAD`` on CUDA.
    """
    on_gpu = device.type == "cuda"
    ahead = ahead if ahead is not None else AHEAD * on_gpu

    def unpack(chosen: list[Packed]) -> Batch:
        batch = replay.unpack(chosen, pinned=on_gpu)
        if on_gpu:
            batch.send_early(device, _copying(device))
        return batch

    chosen = (replay.choose(rules.batch_size, streams[purpose]) for purpose in purposes)
    if not ahead:
        yield from map(unpack, chosen)
        return
    with ThreadPoolExecutor(ahead) as threads:
        pending = deque(threads.submit(unpack, one) for one in islice(chosen, ahead))
        while pending:
            batch = pending.popleft().result()
            pending.extend(threads.submit(unpack, one) for one in islice(chosen, 1))
            yield batch


@cache
def _copying(device: torch.device) -> "torch.cuda.Stream":
    """The CUDA stream of the copies: one for all, since each keeps the memory that it has used."""
    return torch.cuda.Stream(device)
