"""A tiny env with known dynamics, for tests of what is around the simulator."""

import numpy as np

from benchmark.envs.spec import EnvSpec, Observation, Transition

SPEC = EnvSpec(
    map="toy",
    backend="toy",
    backend_version="1",
    n_agents=2,
    n_enemies=1,
    n_actions=4,
    obs_size=3,
    state_size=5,
    episode_limit=6,
    ally_width=2,
    enemy_width=1,
    obs_enemy_width=1,
    obs_ally_width=1,
    obs_own_width=1,
)


class ToyEnv:
    """Battle b ends won after ``2 + seed % 5`` steps if that is below the limit, else times out.

    ``seed % 3`` allies are dead at its end, and one enemy if it was won. The reward of a step is
    the sum of the actions; observations are noise of seed and step.
    """

    spec = SPEC

    def __init__(self, n_envs: int) -> None:
        self.n_envs = n_envs
        self.actions: list[np.ndarray] = []

    def reset(self, seeds, indices=None) -> Observation:
        assert indices is None
        self._seeds = np.asarray(seeds, np.uint64)
        self._length = (2 + self._seeds % np.uint64(5)).astype(int)
        self._t = 0
        self._running = np.ones(self.n_envs, bool)
        self.actions = []
        return self._observe()

    def step(self, actions) -> Transition:
        chosen = np.take_along_axis(self._available, np.asarray(actions)[..., None], -1)
        assert chosen.all(), "unavailable action"
        self.actions.append(np.array(actions))
        self._t += 1
        reward = np.where(self._running, actions.sum(-1), 0).astype(np.float32)
        won = self._running & (self._t >= self._length) & (self._t < SPEC.episode_limit)
        out = self._running & ~won & (self._t >= SPEC.episode_limit)
        seen = self._observe()
        self._running &= ~(won | out)
        dead_enemies = np.where(won, 1, 0).astype(np.int32)
        dead_allies = np.where(won | out, self._seeds % np.uint64(3), 0).astype(np.int32)
        return Transition(*seen, reward, won, out, won, dead_allies, dead_enemies)

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        obs, state, available = [], [], []
        for seed, running in zip(self._seeds, self._running, strict=True):
            rng = np.random.default_rng([int(seed), self._t])
            obs.append(rng.normal(size=(SPEC.n_agents, SPEC.obs_size)) * running)
            state.append(rng.normal(size=SPEC.state_size) * running)
            free = rng.random((SPEC.n_agents, SPEC.n_actions)) < 0.7
            free[:, 1] = True
            only_no_op = np.eye(1, SPEC.n_actions, dtype=bool).repeat(SPEC.n_agents, 0)
            available.append(free if running else only_no_op)
        self._available = np.array(available)
        return Observation(np.array(obs, np.float32), np.array(state, np.float32), self._available)
