"""The embedded battle simulator: SMAC's and SMACv2's battles without StarCraft II."""

import numpy as np

from benchmark.envs.maps import Map
from benchmark.envs.options import EnvOptions
from benchmark.envs.simulator import kernel
from benchmark.envs.simulator.observation import layout_of
from benchmark.envs.simulator.terrain import find_terrain
from benchmark.envs.simulator.threads import share_out
from benchmark.envs.simulator.world import make_output, make_world
from benchmark.envs.spec import EnvSpec, Observation, Transition
from benchmark.errors import BenchmarkError

#: How many units a thread takes at a time: some 0.3 ms of work.
CHUNK_UNITS = 150
VERSION = "6"  #: raised whenever the same seed and actions may give another episode


def simulator_spec(one: Map) -> EnvSpec:
    """The sizes of a map on this backend, without compiling anything."""
    return EnvSpec(
        map=one.name,
        backend="simulator",
        backend_version=VERSION,
        episode_limit=one.limit,
        **layout_of(one),
    )


class Simulator:
    """A batch of battles in lockstep, see :class:`benchmark.envs.spec.Env`.

    All returned arrays are fresh: a caller may keep or change them.

    Args:
        one: the map.
        n_envs: number of battles ``B``.
        options: quirks and parameters; the defaults are what the papers ran.

    Raises:
        BenchmarkError: ``n_envs`` is not positive.
    """

    def __init__(self, one: Map, n_envs: int = 1, options: EnvOptions | None = None):
        if n_envs < 1:
            raise BenchmarkError(f"n_envs={n_envs}: an env needs at least one battle")
        self.map = one
        self.n_envs = n_envs
        self.options = options or EnvOptions()
        self.spec = simulator_spec(one)
        self._world = make_world(one, n_envs, self.options)
        self._out = make_output(self.spec, n_envs)
        self._started = False
        self._chunk = -(-CHUNK_UNITS // (one.n_agents + one.n_enemies))  # battles

    def reset(self, seeds: np.ndarray, indices: np.ndarray | None = None) -> Observation:
        """Starts new battles; see :meth:`benchmark.envs.spec.Env.reset`."""
        if self._world is None:
            raise ValueError("the env is closed")
        if indices is None:
            indices = np.arange(self.n_envs)
        elif not self._started:
            raise ValueError("the first reset of an env must reset all its battles")
        indices = np.ascontiguousarray(_integers(indices, "indices of battles"), np.int64)
        seeds = np.ascontiguousarray(_integers(seeds, "seeds")).astype(np.uint64, copy=False)
        if seeds.shape != indices.shape or indices.ndim != 1:
            raise ValueError(
                f"reset of {indices.size} battles needs as many seeds, got shape {seeds.shape}"
            )
        if indices.size and not (indices.min() >= 0 and indices.max() < self.n_envs):
            raise ValueError(f"indices of battles must be in 0 .. {self.n_envs - 1}")
        if len(np.unique(indices)) != indices.size:
            raise ValueError("indices of battles: one is named twice")
        kernel.reset_battles(seeds, indices, self._world, self._out)
        self._started = True
        out = self._out
        return Observation(out.obs.copy(), out.state.copy(), out.available.copy())

    def step(self, actions: np.ndarray) -> Transition:
        """Plays one env step; see :meth:`benchmark.envs.spec.Env.step`."""
        if not self._started:
            raise ValueError("the env has not been reset yet")
        actions = np.ascontiguousarray(_integers(actions, "actions"), np.int64)
        out = self._out
        if actions.shape != out.available.shape[:2]:
            raise ValueError(
                f"actions have shape {actions.shape}, expected {out.available.shape[:2]}"
            )
        b, i = kernel.find_unavailable(actions, out.available, self._world.battles)
        if b >= 0:
            raise ValueError(f"battle {b}, agent {i}: action {actions[b, i]} is not available")
        share_out(
            lambda first, last: kernel.step_battles(actions, self._world, out, first, last),
            self.n_envs,
            self._chunk,
        )
        return Transition(
            out.obs.copy(), out.state.copy(), out.available.copy(), out.reward.copy(),
            out.terminated.copy(), out.truncated.copy(), out.battle_won.copy(),
            out.dead[0].copy(), out.dead[1].copy(), np.zeros(self.n_envs, np.bool_),
        )  # fmt: skip

    def provenance(self) -> dict:
        """Nothing: version, seed and actions determine an episode."""
        return {}

    def close(self) -> None:
        """Frees the battles."""
        self._world = self._out = None
        self._started = False

    def units(self) -> np.ndarray:
        """All units, for rendering, scripts and tests; a copy.

        Returns:
            [B, U] structured array, agents first (as numbered), then enemies, fields as in
            ``records.UNIT_DTYPE``. The useful ones:

            * ``type`` (index into ``units.UNITS``), ``team`` (0 allies, 1 enemies), ``alive``;
            * ``x``, ``y``: the centre, in cells, y grows north;
            * ``health``, ``shield``, ``energy``, ``cooldown`` (loops until the weapon is ready);
            * ``order``: ``records.IDLE``, ``MOVE``, ``ATTACK``, ``HEAL``, ``ATTACK_MOVE``,
              ``FOLLOW``; ``target``: index of the unit it attacks or heals, -1 none;
            * ``attacked``: its weapon went off, or it healed, in the last env step;
            * ``missile_target``: index of the unit that its missile flies to, -1 none in flight;
              ``missile_x``, ``missile_y``: where the missile is.
        """
        return self._world.units.copy()

    @property
    def walkable(self) -> np.ndarray:
        """[32, 32] bool, indexed [x, y]: the cells in which ground units can stand; read-only."""
        return find_terrain(self.map.terrain).walkable


def _integers(values: np.ndarray, what: str) -> np.ndarray:
    """The values as an array; masks and fractions are refused."""
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integers, got {values.dtype}")
    return values
