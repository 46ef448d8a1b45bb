"""Episodes: how they are stored compactly, and how batches of them are drawn.

Storage is padded to the time limit but allocated as lazy zero pages, so that memory is used only
for steps that were really played. Actions are one byte, masks one bit's byte; last actions and
padding masks are derived, never stored.
"""

import math
import mmap
import sys
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from benchmark.envs.spec import EnvSpec


@dataclass
class Episodes:
    """Whole battles as played, padded with zeros to the longest; E episodes, T its steps."""

    obs: np.ndarray  #: [E, T + 1, N, O] float32
    state: np.ndarray  #: [E, T + 1, S] float32
    available: np.ndarray  #: [E, T + 1, N, A] bool
    actions: np.ndarray  #: [E, T, N] uint8
    reward: np.ndarray  #: [E, T] float32
    terminated: np.ndarray  #: [E] bool, ended by a wipe-out
    length: np.ndarray  #: [E] int32, steps


@dataclass
class Batch:
    """Sampled episodes, time-major, padded with zeros to the longest; B episodes, T its steps."""

    obs: Tensor  #: [T + 1, B, N, O] float32
    state: Tensor  #: [T + 1, B, S] float32
    available: Tensor  #: [T + 1, B, N, A] bool
    actions: Tensor  #: [T, B, N] int64
    reward: Tensor  #: [T, B] float32
    terminated: Tensor  #: [T, B] bool, true at the last step of an episode that was won or lost
    timed_out: Tensor  #: [T, B] bool, true at the last step of an episode that hit the limit
    filled: Tensor  #: [T, B] bool, false on padding

    @property
    def size(self) -> int:
        """Episodes in the batch."""
        return self.obs.shape[1]

    @property
    def seen(self) -> Tensor:
        """Where there is an observation, [T + 1, B] bool: one more than there are steps."""
        return torch.cat([torch.ones_like(self.filled[:1]), self.filled])

    def split(self, size: int) -> list["Batch"]:
        """The same episodes in parts of at most ``size``, padded as before."""
        parts = (getattr(self, field.name).split(size, dim=1) for field in fields(self))
        return [Batch(*each) for each in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on ``device``."""
        if self.obs.device == device:
            return self
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in moved.items()})


class ReplayBuffer:
    """A ring of the latest episodes of one run.

    Args:
        spec: sizes of the map.
        capacity: episodes that are kept.
    """

    def __init__(self, spec: EnvSpec, capacity: int) -> None:
        steps, agents = spec.episode_limit, spec.n_agents
        self.capacity = capacity
        self.added = 0  #: episodes ever added; episode k lies in slot k % capacity
        self._data = {
            "obs": _lazy_zeros((capacity, steps + 1, agents, spec.obs_size), np.float32),
            "state": _lazy_zeros((capacity, steps + 1, spec.state_size), np.float32),
            "available": _lazy_zeros((capacity, steps + 1, agents, spec.n_actions), np.bool_),
            "actions": _lazy_zeros((capacity, steps, agents), np.uint8),
            "reward": _lazy_zeros((capacity, steps), np.float32),
        }
        self._terminated = np.zeros(capacity, np.bool_)
        self._length = np.zeros(capacity, np.int32)

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, episodes: Episodes) -> None:
        """Stores episodes, over the oldest ones once the buffer is full."""
        for index, length in enumerate(episodes.length):
            slot = self.added % self.capacity
            for name, data in self._data.items():
                steps = length + data.shape[1] - self._data["actions"].shape[1]
                data[slot, :steps] = getattr(episodes, name)[index, :steps]
                data[slot, steps : self._length[slot] + 1] = 0  # what a longer episode left behind
            self._terminated[slot] = episodes.terminated[index]
            self._length[slot] = length
            self.added += 1

    def sample(self, size: int, rng: np.random.Generator) -> Batch:
        """Draws episodes uniformly without replacement."""
        slots = rng.choice(len(self), size=size, replace=False)
        length = self._length[slots]
        steps = int(length.max())

        def sampled(name: str, steps: int) -> Tensor:
            data = self._data[name]
            return torch.stack([torch.from_numpy(data[slot, :steps]) for slot in slots], dim=1)

        step = np.arange(steps)[:, None]
        last = step == length - 1
        return Batch(
            obs=sampled("obs", steps + 1),
            state=sampled("state", steps + 1),
            available=sampled("available", steps + 1),
            actions=sampled("actions", steps).long(),
            reward=sampled("reward", steps),
            terminated=torch.from_numpy(last & self._terminated[slots]),
            timed_out=torch.from_numpy(last & ~self._terminated[slots]),
            filled=torch.from_numpy(step < length),
        )

    def episodes(self, first: int, last: int) -> Episodes:
        """The stored episodes ``first`` to ``last - 1``, counted from the run's beginning."""
        slots = np.arange(first, last) % self.capacity
        length = self._length[slots]
        steps = int(length.max(initial=0))
        arrays = {
            name: data[slots, : steps + data.shape[1] - self._data["actions"].shape[1]]
            for name, data in self._data.items()
        }
        return Episodes(**arrays, terminated=self._terminated[slots], length=length)


#: Python 3.11 does not name this flag; the value is that of Linux on x86 and ARM.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def _lazy_zeros(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zero pages that cost memory only once written.

    Unlike np.zeros this may exceed the machine's memory: 27m_vs_30m reserves 26 GiB, few of which
    are ever used, and Linux refuses a single promise larger than its memory.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype).reshape(shape)
