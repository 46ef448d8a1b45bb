"""A trained run's policy, to be used from Python: ``from benchmark import load``.

    policy = load("results/paper/runs/simulator/3m/r3dm/default/0")
    print(policy.evaluate(episodes=100).battle_won.mean())

or step by step in an env of one's own, with NumPy in and out::

    env = policy.make_env(n_envs=8)
    now, done = env.reset(range(8)), False
    policy.begin(n_envs=8)
    while not np.all(done):
        now = env.step(policy.act(now.obs, now.available))
        done |= now.terminated | now.truncated
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from algorithms.learner import NEVER, Learner
from benchmark.envs import make, spec_of
from benchmark.envs.maps import find_map
from benchmark.envs.spec import Env
from benchmark.errors import BenchmarkError
from benchmark.training import checkpoint
from benchmark.training.config import RunConfig, known_algorithm, one_line_errors
from benchmark.training.rollout import EpisodeStats, evaluate
from benchmark.training.run_state import is_finished
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import make_learner


class Policy:
    """The greedy agents of a run, with the hidden state of the battles that they are in.

    Args:
        path: where the weights come from.
        config: the run.
        learner: with the run's weights.
    """

    def __init__(self, path: Path, config: RunConfig, learner: Learner) -> None:
        self.path, self.config, self.learner, self.spec = path, config, learner, learner.spec
        self.begin(1)

    def __repr__(self) -> str:
        run = self.config
        return f"Policy({run.algorithm} on {run.map}, seed {run.seed}, {run.variant}; {self.path})"

    def begin(self, n_envs: int) -> None:
        """Forgets everything: ``n_envs`` new battles begin."""
        self._hidden = self.learner.initial_hidden(n_envs)
        self._last = np.full((n_envs, self.spec.n_agents), -1)

    def q_values(self, obs: np.ndarray) -> np.ndarray:
        """The agents' action values now, [B, N, A] float32; only ``act`` takes the step.

        Args:
            obs: [B, N, O] float32.

        Raises:
            BenchmarkError: the shape does not fit the map and the battles of ``begin``.
        """
        return self._step(obs)[0]

    def act(self, obs: np.ndarray, available: np.ndarray) -> np.ndarray:
        """The next greedy actions, [B, N]; keeps the hidden state and the actions.

        Args:
            obs: [B, N, O] float32.
            available: [B, N, A] bool.

        Raises:
            BenchmarkError: as ``q_values``.
        """
        values, self._hidden = self._step(obs)
        actions = np.where(available, values, NEVER).argmax(-1)
        if self.config.training.evaluated_last_action == "correct":
            self._last = actions
        return actions

    def _step(self, obs: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        if len(obs) != len(self._last):
            raise BenchmarkError(
                f"{len(obs)} battles, but the policy plays {len(self._last)}; call"
                f" policy.begin(n_envs={len(obs)}) where they begin"
            )
        wanted = (len(self._last), self.spec.n_agents, self.spec.obs_size)
        if np.shape(obs) != wanted:
            raise BenchmarkError(
                f"observations have shape {list(np.shape(obs))}, the policy of {self.config.map}"
                f" needs {list(wanted)}"
            )
        seen = torch.from_numpy(np.asarray(obs, np.float32))
        values, hidden = self.learner.act(seen, torch.from_numpy(self._last), self._hidden)
        return values.cpu().numpy(), hidden

    def make_env(self, n_envs: int) -> Env:
        """Battles of the map, backend and env options that the run was trained with."""
        return make(self.config.map, n_envs, self.config.backend, self.config.env)

    def evaluate(self, episodes: int, seed: int = 0) -> EpisodeStats:
        """Plays new greedy battles: battle_won, returns, length, ..., each of shape [episodes]."""
        if episodes < 1:
            raise BenchmarkError(f"evaluate needs at least one episode, not {episodes}")
        seeds = np.random.default_rng(seed).integers(0, 2**64, size=episodes, dtype=np.uint64)
        env = self.make_env(min(episodes, 32))
        try:
            return evaluate(env, self.learner, self.config.training, seeds)
        finally:
            env.close()


def load_policy(
    path: str | Path, device: str = "cpu", *, map: str | None = None, **rules: Any
) -> Policy:
    """The best policy of a finished run, or the newest of an unfinished one.

    Args:
        path: a run folder, or a ``policy.pt`` or ``checkpoint.pt``.
        device: one of ``device.DEVICES``; "auto" is CUDA where there is one.
        map: the map that the caller expects, if any.
        rules: of the protocol that shall differ from the run's, by name.

    Raises:
        BenchmarkError: the file is missing or damaged, or of another map or version.
    """
    if map is not None:
        find_map(map)
    config, weights = _read(Path(path))
    if map not in (None, config.map):
        raise BenchmarkError(
            f"{path} was trained on {config.map}, not on {map}; leave out --map or give its own"
        )
    played = config.model_copy(update={"training": config.training.model_copy(update=rules)})
    spec = spec_of(config.map)  # sizes are alike; the game itself is needed only to play it
    learner = make_learner(played, RandomStreams(config.seed), device, spec)
    try:
        learner.load_policy_state(weights)
    except (RuntimeError, TypeError) as error:
        raise BenchmarkError(
            f"{path} does not fit {config.algorithm} on {config.map} in this version of the"
            " program; use the version that wrote it (its run.json names the commit)"
        ) from error
    return Policy(Path(path), played, learner)


def _read(path: Path) -> tuple[RunConfig, dict]:
    """The configuration and the weights in a run folder, a ``policy.pt`` or ``checkpoint.pt``."""
    if path.is_dir():
        names = ["policy.pt", "checkpoint.pt"]
        if not is_finished(path):  # the policy may be left of a run that is being replaced
            names.reverse()
        existing = [path / name for name in names if (path / name).exists()]
        if not existing:
            raise BenchmarkError(
                f"{path} holds no policy.pt or checkpoint.pt; give the folder of a run,"
                " results/<study>/runs/<backend>/<map>/<algorithm>/<variant>/<seed>"
            )
        path = existing[0]
    state = checkpoint.read_state(path)
    config = state.get("config") if isinstance(state, dict) else None
    if not isinstance(config, dict) or not {"policy", "learner"} & set(state):
        raise BenchmarkError(f"{path} is no policy.pt or checkpoint.pt of this benchmark")
    known_algorithm(str(config.get("algorithm")), str(path))
    with one_line_errors(f"{path} is of another version of the program"):
        config = RunConfig.model_validate(config)
    return config, state["policy"] if "policy" in state else state["learner"]["networks"]
