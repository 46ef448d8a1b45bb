"""A trained policy, read from its run's folder and ready to play one battle at a time."""

from pathlib import Path
from typing import Any, NamedTuple

from algorithms.learner import Learner
from benchmark.analysis import labels
from benchmark.envs import make
from benchmark.envs.maps import find_map
from benchmark.envs.simulator.env import Simulator
from benchmark.errors import BenchmarkError
from benchmark.training import policy
from benchmark.training.config import RunConfig


class Trained(NamedTuple):
    """A policy, and one battle of its map."""

    path: Path
    config: RunConfig
    learner: Learner
    env: Simulator

    @property
    def name(self) -> str:
        """The method and its seed, for people."""
        method = labels.label(self.config.algorithm, self.config.variant)
        return f"{method}, seed {self.config.seed}"


def load(path: Path, map: str | None = None, **rules: Any) -> Trained:
    """Reads a policy, with the env options of its run.

    Args:
        path: a run's folder, ``policy.pt`` or ``checkpoint.pt``.
        map: the map that the user expects, if any.
        rules: of the protocol that shall differ from the run's.

    Raises:
        BenchmarkError: the file is missing, damaged or of another program; or of another map or
            backend.
    """
    if map is not None:
        find_map(map)
    config, weights = policy.read(path)
    if map not in (None, config.map):
        raise BenchmarkError(
            f"{path} was trained on {config.map}, not on {map}; leave out --map or give its own"
        )
    if config.backend != "simulator":
        raise BenchmarkError(
            f"{path} was trained on {config.backend}; battles are shown on the simulator only"
        )
    env = make(config.map, 1, config.backend, config.env)
    played = config.model_copy(update={"training": config.training.model_copy(update=rules)})
    learner = policy.learner_of(played, weights, env.spec, str(path))
    return Trained(Path(path), config, learner, env)
