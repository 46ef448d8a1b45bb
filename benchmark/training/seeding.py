"""From a run's seed to its random streams: one per purpose, all spawned from the seed.

Switching one part off, or evaluating more often, leaves the other streams as they were. The stream
"learner" draws one number, the seed of the initial weights and of the method's own streams
(``STREAMS`` in ``algorithms/learner.py``), and another whenever the run moves to another device.
"""

import json

import numpy as np

from benchmark.errors import BenchmarkError

#: The order is part of the format: a new purpose goes to the end.
PURPOSES = ("battles", "exploration", "replay", "learner", "evaluation", "further_replay")


def check_seed(seed: int) -> None:
    """Checks the seed of a battle.

    Raises:
        BenchmarkError: it is out of range.
    """
    if not 0 <= seed < 2**63:
        raise BenchmarkError(f"--seed {seed}: choose a number from 0 to 2^63 - 1")


class RandomStreams:
    """Generators by purpose, e.g. ``streams["replay"]``."""

    def __init__(self, seed: int) -> None:
        children = np.random.SeedSequence(seed).spawn(len(PURPOSES))
        self._generators = {
            purpose: np.random.Generator(np.random.PCG64(child))
            for purpose, child in zip(PURPOSES, children, strict=True)
        }

    def __getitem__(self, purpose: str) -> np.random.Generator:
        return self._generators[purpose]

    def seeds(self, purpose: str, count: int) -> np.ndarray:
        """Draws seeds for battles, [count] uint64."""
        return self[purpose].integers(0, 2**64, size=count, dtype=np.uint64)

    def state(self) -> dict[str, str]:
        """The positions of all streams, as JSON texts."""
        return {
            name: json.dumps(generator.bit_generator.state)
            for name, generator in self._generators.items()
        }

    def restore(self, state: dict[str, str]) -> None:
        """Continues from ``state()``."""
        for name, text in state.items():
            self._generators[name].bit_generator.state = json.loads(text)
