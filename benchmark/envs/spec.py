"""The interface of an env: the sizes of a map, and the arrays that go in and out.

An *env* is a batch of ``B`` battles on one map that advance in lockstep. Shapes everywhere in this
project: ``B`` battles, ``N`` agents, ``A`` actions, ``O`` observation features, ``S`` state
features.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class EnvSpec:
    """Sizes and layout of one map; the same on every backend."""

    map: str
    #: "simulator", "starcraft2", or "standin" where the stand-in takes StarCraft II's place
    backend: str
    backend_version: str
    n_agents: int
    n_enemies: int
    n_actions: int  #: no-op, stop, four moves, then one per target
    obs_size: int
    state_size: int
    episode_limit: int  #: env steps after which a battle times out
    ally_width: int  #: columns of one ally row; the state begins with ``n_agents`` such rows
    enemy_width: int  #: columns of one enemy row in the state, after the ally rows
    obs_enemy_width: int  #: columns of one enemy row in an observation, after the 4 move bits
    obs_ally_width: int  #: columns of one ally row in an observation, after the enemy rows
    obs_own_width: int  #: columns of the own features that end an observation


class Observation(NamedTuple):
    """What a policy sees of ``B`` battles.

    The step that ends a battle shows how it ended (a time-out may be bootstrapped); from the next
    step on the battle shows zeros and allows only no-op, until it is reset.
    """

    obs: np.ndarray  #: [B, N, O] float32
    state: np.ndarray  #: [B, S] float32
    available: np.ndarray  #: [B, N, A] bool


class Transition(NamedTuple):
    """The outcome of one step. A battle that was already finished before it reports zeros."""

    obs: np.ndarray  #: [B, N, O] float32
    state: np.ndarray  #: [B, S] float32
    available: np.ndarray  #: [B, N, A] bool
    reward: np.ndarray  #: [B] float32, scaled so that a won battle sums to about 20
    terminated: np.ndarray  #: [B] bool, one side was wiped out in this step
    truncated: np.ndarray  #: [B] bool, the limit was reached in this step with both sides alive
    battle_won: np.ndarray  #: [B] bool, meaningful where ``terminated``
    dead_allies: np.ndarray  #: [B] int32
    dead_enemies: np.ndarray  #: [B] int32
    #: [B] bool, the game crashed in this step: the battle is over without an outcome, and none of
    #: its data may be used; never in the simulator
    aborted: np.ndarray | np.bool = np.False_


class Env(Protocol):
    """A batch of battles, the same for the learner on every backend."""

    spec: EnvSpec
    n_envs: int

    def reset(self, seeds: np.ndarray, indices: np.ndarray | None = None) -> Observation:
        """Starts new battles.

        Args:
            seeds: one unsigned 64-bit seed per battle that is reset. On the simulator a seed and
                the actions determine the episode, whatever the batch size or the thread count.
            indices: of the battles to reset; all of them when left out.

        Returns:
            The observation of the whole batch.
        """
        ...

    def step(self, actions: np.ndarray) -> Transition:
        """Plays one env step (8 game loops) in every unfinished battle.

        Args:
            actions: [B, N] integers, each available; the entries of finished battles are ignored.

        Raises:
            ValueError: an action is unavailable; names the battle, the agent and the action.
        """
        ...

    def provenance(self) -> dict:
        """What ``run.json`` says about the backend in addition to its version: files, faults."""
        ...

    def close(self) -> None:
        """Ends the battles; the env cannot be used afterwards."""
        ...
