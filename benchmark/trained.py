"""A trained policy, read from its run's folder and ready to play one battle at a time."""

from pathlib import Path
from typing import Any, NamedTuple

from algorithms import ALGORITHMS
from algorithms.learner import Learner
from benchmark import methods
from benchmark.checkpoint import load_policy
from benchmark.config import RunConfig, known, one_line_errors
from benchmark.envs import make
from benchmark.envs.maps import find_map
from benchmark.envs.simulator import Simulator
from benchmark.errors import BenchmarkError
from benchmark.streams import Streams
from benchmark.train import make_learner


class Trained(NamedTuple):
    """A policy, and one battle of its map."""

    path: Path
    config: RunConfig
    learner: Learner
    env: Simulator

    @property
    def name(self) -> str:
        """The method and its seed, for people."""
        method = methods.label(self.config.algorithm, self.config.variant)
        return f"{method}, seed {self.config.seed}"


def load(path: Path, map: str | None = None, **rules: Any) -> Trained:
    """Reads a policy, with the env options of its run.

    Args:
        path: a run's ``policy.pt`` or ``checkpoint.pt``.
        map: the map that the user expects, if any.
        rules: of the protocol that shall differ from the run's.

    Raises:
        BenchmarkError: the file is missing, damaged or of another program; or of another map or
            backend.
    """
    state = load_policy(path)
    if map is not None:
        find_map(map)
    config, weights = _unpack(state, path)
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
    learner = make_learner(played, Streams(config.seed), "cpu", env.spec)
    try:
        learner.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise BenchmarkError(
            f"{path} does not fit {config.algorithm} on {config.map} in this version of the"
            " program; use the version that wrote it (its run.json names the commit)"
        ) from error
    return Trained(Path(path), config, learner, env)


def _unpack(state: dict, path: Path) -> tuple[RunConfig, dict]:
    """The configuration and the weights in either kind of file."""
    config = state.get("config") if isinstance(state, dict) else None
    if not isinstance(config, dict) or not {"policy", "learner"} & set(state):
        raise BenchmarkError(f"{path} is no policy.pt or checkpoint.pt of this benchmark")
    known("algorithm", config.get("algorithm"), ALGORITHMS, str(path))
    with one_line_errors(str(path)):
        config = RunConfig.model_validate(config)
    return config, state["policy"] if "policy" in state else state["learner"]["networks"]
