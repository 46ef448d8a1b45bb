"""Episodes: how they are stored compactly, and how batches of them are drawn.

The buffer packs every episode without loss: only steps that were played, actions as bytes, and all
of it compressed by LZ4, because most of what units observe is zero (the dead, the unseen). Padding
masks are derived, never stored.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import lz4.block
import numpy as np
import torch
from torch import Tensor

from benchmark.envs.spec import EnvSpec


@dataclass
class Episodes:
    """E battles as played, padded to T steps of the longest; padding is arbitrary."""

    obs: np.ndarray  #: [E, T + 1, N, O] float32
    state: np.ndarray  #: [E, T + 1, S] float32
    available: np.ndarray  #: [E, T + 1, N, A] bool
    actions: np.ndarray  #: [E, T + 1, N] uint8; that after the end by the rule ``final_action``
    reward: np.ndarray  #: [E, T] float32
    terminated: np.ndarray  #: [E] bool, ended by a wipe-out
    length: np.ndarray  #: [E] int32, steps


@dataclass
class Batch:
    """Sampled episodes, time-major, padded to the longest; B episodes, T its steps.

    Padding is zero, but for what the rules ``replay_tails`` and ``final_action`` put there.
    """

    obs: Tensor  #: [T + 1, B, N, O] float32
    state: Tensor  #: [T + 1, B, S] float32
    available: Tensor  #: [T + 1, B, N, A] bool
    actions: Tensor  #: [T, B, N] int64
    last_actions: Tensor  #: the action before each observation, [T + 1, B, N] int64; -1 for none
    reward: Tensor  #: [T, B] float32
    terminated: Tensor  #: [T, B] bool, true at the last step of an episode that was won or lost
    truncated: Tensor  #: [T, B] bool, true at the last step of an episode that hit the limit
    mask: Tensor  #: [T, B] bool: the step was played, it is no padding
    length: Tensor  #: [B] int64, steps; stays on the CPU, so that reading it never waits for a GPU

    def __post_init__(self) -> None:
        self._sent: _Sent | None = None  #: of a batch that is being copied to a GPU

    @property
    def size(self) -> int:
        """Episodes in the batch."""
        return self.obs.shape[1]

    @property
    def mask_cpu(self) -> Tensor:
        """``mask`` on the CPU, [T, B] bool."""
        return torch.arange(len(self.mask)).unsqueeze(1) < self.length

    @property
    def obs_mask_cpu(self) -> Tensor:
        """The same for observations, one more than steps: [T + 1, B] bool on the CPU."""
        return torch.arange(len(self.obs)).unsqueeze(1) <= self.length

    @property
    def mask_index(self) -> Tensor:
        """The played steps' places in the flattened [T, B], on the batch's device."""
        index = self.mask_cpu.flatten().nonzero().squeeze(-1)
        return send(index, self.obs.device)

    def split(self, size: int) -> list["Batch"]:
        """The same episodes in parts of at most ``size``, padded as before."""
        values = (getattr(self, field.name) for field in fields(self))
        parts = (value.split(size, dim=min(1, value.dim() - 1)) for value in values)
        return [Batch(*part) for part in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on ``device``."""
        if self._sent is not None:
            return self._sent.received()
        if self.obs.device == device:
            return self
        moved = {name: send(value, device) for name, value in self._on_device().items()}
        return Batch(**moved, length=self.length)

    def send_early(self, device: torch.device, stream: "torch.cuda.Stream") -> None:
        """Begins to copy the batch to a GPU; ``to`` gives that copy once it is there.

        Args:
            device: the GPU.
            stream: does the copying, while the GPU computes on another.
        """
        with torch.cuda.stream(stream):
            batch = self.to(device)
            self._sent = _Sent(batch, stream.record_event())

    def _on_device(self) -> dict[str, Tensor]:
        """What moves to a GPU, by field."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["length"]
        return values


class _Sent(NamedTuple):
    """A batch on its way to a GPU."""

    batch: Batch
    done: "torch.cuda.Event"

    def received(self) -> Batch:
        """The batch, for work that is launched from now on."""
        stream = torch.cuda.current_stream()
        stream.wait_event(self.done)
        for value in self.batch._on_device().values():
            value.record_stream(stream)  # its memory is not used again before that work is done
        return self.batch


def send(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on ``device``, without waiting for a GPU.

    CUDA copies pageable memory only when the work before is done, so such values are pinned first.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.contiguous().pin_memory()  # strides would be pinned with their gaps
    return values.to(device, non_blocking=True)


class Packed(NamedTuple):
    """One stored episode."""

    data: bytes  #: its arrays one after the other, compressed
    length: int  #: steps
    terminated: bool  #: ended by a wipe-out
    kept: int  #: steps that the arrays hold; more than ``length`` with a final action or a tail


class ReplayBuffer:
    """A ring of the latest episodes of one run.

    Args:
        spec: sizes of the map.
        capacity: episodes that are kept.
        last_actions, tails, final_action: the rules ``replayed_last_action``, ``replay_tails``
            and ``final_action``.
    """

    def __init__(
        self,
        spec: EnvSpec,
        capacity: int,
        last_actions: Literal["correct", "shifted"] = "correct",
        tails: Literal["zeros", "stale"] = "zeros",
        final_action: Literal["none", "stored"] = "none",
    ) -> None:
        agents = spec.n_agents
        self.capacity, self._last_actions, self._tails = capacity, last_actions, tails
        self._final_action = final_action
        self.added = 0  #: episodes ever added; episode k is in slot k % capacity
        self._slots = [Packed(b"", 0, False, 0)] * capacity
        #: name -> shape and type of a step, and 1 where the final observation counts
        self._layout = {
            "obs": ((agents, spec.obs_size), np.dtype(np.float32), 1),
            "state": ((spec.state_size,), np.dtype(np.float32), 1),
            "reward": ((), np.dtype(np.float32), 0),
            "available": ((agents, spec.n_actions), np.dtype(np.bool_), 1),
            "actions": ((agents,), np.dtype(np.uint8), 0),
            "last_actions": ((agents,), np.dtype(np.uint8), 1),  # counted from 1, 0 for none
        }

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    @property
    def nbytes(self) -> int:
        """Memory that the episodes take."""
        return sum(len(packed.data) for packed in self._slots)

    def add(self, episodes: Episodes) -> None:
        """Stores episodes, over the oldest ones once the buffer is full."""
        for index, length in enumerate(episodes.length.tolist()):
            arrays = {
                name: getattr(episodes, name)[index, : length + extra]
                for name, (_, _, extra) in self._layout.items()
                if name != "last_actions"
            }
            arrays["last_actions"] = self._stored_last(arrays["actions"])
            kept, older = length, self._slots[self.added % self.capacity]
            if self._final_action == "stored":  # one step of padding but for the action
                kept, final = length + 1, episodes.actions[index, length, None]
                behind = {"actions": final, "last_actions": final + 1}
                for name, array in arrays.items():
                    step = behind.get(name, np.zeros_like(array[:1]))
                    arrays[name] = np.concatenate([array, step])
            if self._tails == "stale" and older.kept > kept:
                kept, behind = older.kept, self._unpack(older)
                for name, array in arrays.items():
                    arrays[name] = np.concatenate([array, behind[name][len(array) :]])
            data = lz4.block.compress(
                b"".join(
                    np.ascontiguousarray(arrays[name], dtype).data
                    for name, (_, dtype, _) in self._layout.items()
                )
            )
            self.restore([Packed(data, length, bool(episodes.terminated[index]), kept)])

    def sample(self, size: int, rng: np.random.Generator) -> Batch:
        """Draws episodes uniformly without replacement."""
        return self.unpack(self.choose(size, rng))

    def choose(self, size: int, rng: np.random.Generator) -> list[Packed]:
        """What ``sample`` draws, as it is stored."""
        return [self._slots[slot] for slot in rng.choice(len(self), size=size, replace=False)]

    def unpack(self, drawn: list[Packed], pinned: bool = False) -> Batch:
        """Chosen episodes as a batch; threads may do so while episodes are added.

        Args:
            drawn: what ``choose`` gave.
            pinned: whether the batch is in memory that a GPU reads while the CPU goes on.
        """
        length = np.array([packed.length for packed in drawn])
        won_or_lost = np.array([packed.terminated for packed in drawn])
        steps = int(length.max())
        tensors = {
            name: _zeros((steps + extra, len(drawn), *shape), dtype, pinned)
            for name, (shape, dtype, extra) in self._layout.items()
        }
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        for index, packed in enumerate(drawn):
            for name, array in self._unpack(packed).items():
                array = array[: len(arrays[name])]
                arrays[name][: len(array), index] = array
        tensors["actions"] = tensors["actions"].long()
        tensors["last_actions"] = tensors["last_actions"].long() - 1
        step = np.arange(steps)[:, None]
        last = step == length - 1
        tensors["terminated"] = torch.from_numpy(last & won_or_lost)
        tensors["truncated"] = torch.from_numpy(last & ~won_or_lost)
        tensors["mask"] = torch.from_numpy(step < length)
        if pinned:
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return Batch(**tensors, length=torch.from_numpy(length))

    def episodes(self, first: int, last: int) -> Episodes:
        """The stored episodes ``first`` to ``last - 1``, counted from the run's beginning."""
        stored = self.packed(first, last)
        length = np.array([packed.length for packed in stored], np.int32)
        arrays = {
            name: np.zeros((len(stored), length.max(initial=0) + (name != "reward"), *shape), dtype)
            for name, (shape, dtype, _) in self._layout.items()
            if name != "last_actions"
        }
        for index, packed in enumerate(stored):
            unpacked = self._unpack(packed)
            for name, whole in arrays.items():
                own = unpacked[name][: packed.length + (name != "reward")]
                whole[index, : len(own)] = own
        return Episodes(
            **arrays, terminated=np.array([packed.terminated for packed in stored]), length=length
        )

    def packed(self, first: int, last: int) -> list[Packed]:
        """Episodes ``first`` to ``last - 1`` as they are stored, for a checkpoint."""
        return [self._slots[number % self.capacity] for number in range(first, last)]

    def restore(self, stored: list[Packed]) -> None:
        """Adds what ``packed`` gave."""
        for packed in stored:
            self._slots[self.added % self.capacity] = packed
            self.added += 1

    def _stored_last(self, actions: np.ndarray) -> np.ndarray:
        """The last actions of one episode as they are stored, [L, N] -> [L + 1, N].

        ACORM's and R3DM's buffers store them one index too late, all but the final one.
        """
        last = np.concatenate([np.zeros_like(actions[:1]), actions + 1])
        if self._last_actions == "shifted":
            last[1:-1] = last[:-2].copy()
        return last

    def _unpack(self, stored: Packed) -> dict[str, np.ndarray]:
        """The arrays of one episode, of its own length, or longer with an older one's tail."""
        data = lz4.block.decompress(stored.data, return_bytearray=True)
        arrays, begin = {}, 0
        for name, (shape, dtype, extra) in self._layout.items():
            whole = (stored.kept + extra, *shape)
            arrays[name] = np.frombuffer(data, dtype, math.prod(whole), begin).reshape(whole)
            begin += arrays[name].nbytes
        return arrays


def _zeros(shape: tuple[int, ...], dtype: np.dtype, pinned: bool) -> Tensor:
    """A tensor of zeros on the CPU."""
    if pinned:
        like = torch.from_numpy(np.empty(0, dtype))
        return like.new_zeros(shape, pin_memory=True)
    return torch.from_numpy(np.zeros(shape, dtype))
