"""EMC's episodic memory: the best discounted return that ever followed a state.

States are told apart by a fixed random projection to a few numbers. A look-up goes to an index that
is only renewed now and then; what was written since is not seen yet. Two keys are the same state if
all their numbers agree to about five digits. All look-ups of a call are made at once: keys lie
sorted by their first number, and the few whose first number agrees are compared in full. The memory
lives on the CPU: how many entries match depends on the data, and a GPU would have to wait for it.

Shapes: P states, S state features, L numbers of a key, M pairs of a state and a matching entry.
"""

import numpy as np
import torch
from torch import Tensor


class EpisodicMemory:
    """Returns by state, least recently used entries are dropped.

    Args:
        state_size: S.
        capacity: entries.
        key_size: L.
    """

    #: Relative and absolute difference of numbers that count as equal, as in ``numpy.allclose``.
    TOLERANCE = (1e-5, 1e-8)

    def __init__(self, state_size: int, capacity: int, key_size: int = 4) -> None:
        # The matrix of the authors' code, whose generator numpy calls legacy.
        rng = np.random.RandomState(123456)
        projection = rng.normal(scale=1 / np.sqrt(key_size), size=(key_size, state_size))
        self._projection = torch.from_numpy(projection.T.copy())
        self.capacity = capacity
        self.size = 0  #: entries
        self.clock = 0  #: calls so far
        self.keys = torch.zeros(capacity, key_size)
        self.values = torch.zeros(capacity)
        self.used = torch.zeros(capacity, dtype=torch.int64)  #: clock of last use
        self.visible = torch.zeros(capacity, dtype=torch.bool)
        self._index()

    def write(self, states: Tensor, returns: Tensor) -> None:
        """Remembers what followed some states.

        Args:
            states: [P, S].
            returns: [P].
        """
        keys = self._project(states)
        state, entry = self._matches(keys)
        self.values.scatter_reduce_(0, entry, returns[state], "amax")
        known = torch.zeros(len(states), dtype=torch.bool)
        known[state] = True
        entry = self._free_entries(int((~known).sum()))
        self.keys[entry] = keys[~known].float()
        self.values[entry] = returns[~known]
        self.used[entry] = self.clock
        self.visible[entry] = False

    def read(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Looks states up.

        Args:
            states: [P, S].

        Returns:
            the best return of each, and whether there is one; both [P].
        """
        state, entry = self._matches(self._project(states))
        best = self.values.new_full((len(states),), -torch.inf)
        best.scatter_reduce_(0, state, self.values[entry], "amax")
        found = best > -torch.inf
        return best.where(found, 0), found

    def refresh(self) -> None:
        """Lets look-ups see everything that was written so far."""
        self.visible[: self.size] = True
        self._index()

    def state_dict(self) -> dict:
        """Everything that later calls depend on."""
        arrays = ("keys", "values", "used", "visible")
        return {name: getattr(self, name)[: self.size].clone() for name in arrays} | {
            "clock": self.clock
        }

    def load_state_dict(self, state: dict) -> None:
        """Continues from ``state_dict()``."""
        self.size, self.clock = len(state["keys"]), state["clock"]
        for name in ("keys", "values", "used", "visible"):
            getattr(self, name)[: self.size] = state[name]
        self._index()

    def _project(self, states: Tensor) -> Tensor:
        """The keys of states, in double precision so that equal states have equal keys."""
        return states.double() @ self._projection

    def _index(self) -> None:
        """Sorts the visible entries by the first number of their key."""
        entries = self.visible[: self.size].nonzero().squeeze(-1)
        self._sorted, order = self.keys[entries, 0].double().sort()
        self._entries = entries[order]

    def _matches(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """All pairs of a key [P, L] and a visible entry that agrees with it; both [M]."""
        relative, absolute = self.TOLERANCE
        slack = absolute + relative * keys.abs()
        begin = torch.searchsorted(self._sorted, keys[:, 0] - slack[:, 0])
        end = torch.searchsorted(self._sorted, keys[:, 0] + slack[:, 0], right=True)
        count = end - begin
        state = torch.arange(len(keys)).repeat_interleave(count)
        rank = torch.arange(len(state)) - (count.cumsum(0) - count)[state]
        entry = self._entries[begin[state] + rank]
        agree = ((self.keys[entry] - keys[state]).abs() <= slack[state]).all(-1)
        agree &= self.visible[entry]  # an entry that was dropped since may hold another key
        state, entry = state[agree], entry[agree]
        self.clock += 1
        self.used[entry] = self.clock
        return state, entry

    def _free_entries(self, count: int) -> Tensor:
        """Entries for new keys: unused ones, then the least recently used."""
        fresh = min(count, self.capacity - self.size)
        oldest = self.used[: self.size].topk(count - fresh, largest=False).indices
        unused = torch.arange(self.size, self.size + fresh)
        self.size += fresh
        return torch.cat([unused, oldest])
