"""StarCraft II itself as a backend: oxwhirl's smac and smacv2 clients, one process per battle.

The same interface as the simulator's, and the same sizes and layout. What differs is the world: a
game may crash or hang at any time. Then its process is killed and replaced by a new one, and the
episode that it was in is *aborted*: ``Transition.aborted`` says so, and nothing of it may be
used. Results on this backend cannot be repeated bit for bit, since the game's randomness cannot be
set for every battle.
"""

import logging
import time
from collections import Counter, deque
from dataclasses import fields

import numpy as np

from benchmark.envs.maps import Map
from benchmark.envs.options import EnvOptions
from benchmark.envs.simulator.observation import layout_of
from benchmark.envs.simulator.records import UNIT_DTYPE
from benchmark.envs.simulator.units import LOOPS_PER_STEP
from benchmark.envs.simulator.world import expected_max_reward
from benchmark.envs.spec import EnvSpec, Observation, Transition
from benchmark.envs.starcraft2.client import REWARD_OPTIONS
from benchmark.envs.starcraft2.installation import (
    BUILDS,
    PACKAGES,
    Settings,
    check,
    describe,
    package_of,
    plays_standin,
)
from benchmark.envs.starcraft2.worker import Fault, Worker, sweep
from benchmark.errors import BenchmarkError

log = logging.getLogger("benchmark")

_HOUR = 3600.0
_GB = 2**30
#: The game ends at loop 2^19, whatever happens in it (pysc2's ``MAX_STEP_COUNT``).
_LAST_LOOP = 524_000
_RESET_LOOPS = 2_000  #: at most; SMACv2 waits up to 1000 for its units, and tries again
_BACKOFF_SECONDS, _LONGEST_BACKOFF = 0.5, 30.0  #: between starts that fail, doubled every time


def starcraft2_spec(one: Map) -> EnvSpec:
    """The sizes of a map on this backend, without starting anything.

    The backend is called "standin" where the stand-in is installed in the game's place, so that no
    result of it can pass for one of StarCraft II.

    Raises:
        BenchmarkError: the game, the map or a package is missing.
    """
    settings = Settings.from_environment()
    check(one, settings)
    standin = plays_standin(settings)
    version = f"{settings.version} (Base{BUILDS[settings.version]}{', stand-in' * standin})"
    return EnvSpec(
        map=one.name,
        backend="standin" if standin else "starcraft2",
        backend_version=version,
        episode_limit=one.limit,
        **layout_of(one),
    )


class StarCraft2:
    """A batch of battles in lockstep, see :class:`benchmark.envs.spec.Env`.

    Args:
        one: the map; one of ``MAPS``.
        n_envs: number of battles ``B``, each with a process and a game of its own.
        options: of the rewards; those that only the simulator has must be at their defaults.

    Raises:
        BenchmarkError: something is missing, or an option cannot be followed.
    """

    def __init__(self, one: Map, n_envs: int = 1, options: EnvOptions | None = None):
        if n_envs < 1:
            raise BenchmarkError(f"n_envs={n_envs}: an env needs at least one battle")
        self.map, self.n_envs = one, n_envs
        self.options = options or EnvOptions()
        _check_options(self.options)
        self.settings = Settings.from_environment()
        self.spec = spec = starcraft2_spec(one)
        sweep()
        #: How often what went wrong: "hung in step" and so on, and "recycled".
        self.faults: Counter[str] = Counter()
        self._fault_times: deque[float] = deque()
        # Otherwise the first team's; a process that replaces another goes on with the same scale.
        expected = one.generated and self.options.max_reward == "expected"
        known = expected_max_reward(one, self.options) if expected else None
        self._max_reward: list[float | None] = [known] * n_envs
        self._workers: list[Worker | None] = [None] * n_envs
        self._episodes = np.zeros(n_envs, int)  # of each worker
        self._loops = np.zeros(n_envs, int)  # of each game when its battle began
        self._running = np.zeros(n_envs, bool)
        self._lost = np.zeros(n_envs, bool)  # games that failed since the last step
        # As they were seen last.
        self._units = np.zeros((n_envs, one.n_agents + one.n_enemies), UNIT_DTYPE)
        self._obs = np.zeros((n_envs, spec.n_agents, spec.obs_size), np.float32)
        self._state = np.zeros((n_envs, spec.state_size), np.float32)
        self._available = np.zeros((n_envs, spec.n_agents, spec.n_actions), np.bool_)

    def reset(self, seeds: np.ndarray, indices: np.ndarray | None = None) -> Observation:
        """Starts new battles; see :meth:`benchmark.envs.spec.Env.reset`.

        A seed decides SMACv2's teams and places and the client's own randomness, not the game's.

        Raises:
            BenchmarkError: the game cannot be started, several times in a row.
        """
        indices = np.arange(self.n_envs) if indices is None else np.asarray(indices)
        seed_of = {int(b): int(seed) for b, seed in zip(indices, seeds, strict=True)}
        for b in seed_of:
            self._running[b] = self._lost[b] = False
            self._recycle(b)
        waiting, attempt = dict(seed_of), 0
        while waiting:
            failed = self._begin(waiting)
            attempt += 1
            if failed and attempt >= self.settings.attempts:
                raise BenchmarkError(
                    f"StarCraft II failed to begin a battle {attempt} times in a row, the last time"
                    f" {next(iter(failed.values()))}; python -m benchmark doctor looks for the"
                    " cause"
                )
            if failed:
                time.sleep(min(_BACKOFF_SECONDS * 2**attempt, _LONGEST_BACKOFF))
            waiting = {b: seed_of[b] for b in failed}
        return Observation(self._obs.copy(), self._state.copy(), self._available.copy())

    def step(self, actions: np.ndarray) -> Transition:
        """Plays one env step; see :meth:`benchmark.envs.spec.Env.step`.

        Raises:
            BenchmarkError: faults are too frequent for any of this to be of use.
        """
        actions = np.asarray(actions)
        if actions.shape != self._available.shape[:2]:
            raise ValueError(
                f"actions have shape {actions.shape}, expected {self._available.shape[:2]}"
            )
        self._check_available(actions)
        b = self.n_envs
        reward = np.zeros(b, np.float32)
        terminated, truncated, won = np.zeros((3, b), np.bool_)
        dead = np.zeros((2, b), np.int32)
        aborted, self._lost = self._lost, np.zeros(b, bool)
        playing = np.flatnonzero(self._running & ~aborted).tolist()
        self._show_nothing(np.flatnonzero(aborted))
        self._show_nothing(np.flatnonzero(~self._running))
        failed = self._ask_all(
            self.settings.step_seconds, {i: ("step", actions[i].tolist()) for i in playing}
        )
        for i in playing:
            try:
                if i in failed:
                    raise failed[i]
                obs, state, available, *outcome = self._workers[i].answer()
            except Fault as fault:
                self._replace(i, fault)
                aborted[i] = True
                self._show_nothing(i)
                continue
            self._obs[i], self._state[i], self._available[i] = obs, state, available
            reward[i], terminated[i], truncated[i], won[i], dead[0, i], dead[1, i] = outcome
        self._running &= ~(terminated | truncated | aborted)
        return Transition(
            self._obs.copy(), self._state.copy(), self._available.copy(), reward, terminated,
            truncated, won, dead[0], dead[1], aborted,
        )  # fmt: skip

    def close(self) -> None:
        """Ends all games."""
        for b in range(self.n_envs):
            self._stop(b)

    def units(self) -> np.ndarray:
        """[B, U] all units as the clients saw them last; see ``client.Client.units``.

        Of a game that failed they are those seen before; its episode is aborted.
        """
        for b in range(self.n_envs):
            if self._workers[b] is None:
                continue
            try:
                self._units[b] = self._question(b, "units")
            except Fault as fault:
                self._replace(b, fault)
                self._lost[b] = self._running[b]
        return self._units.copy()

    @property
    def walkable(self) -> np.ndarray:
        """[32, 32] bool, indexed [x, y]: the cells that the game calls passable."""
        return self._question(0, "walkable")

    def game_version(self) -> str:
        """What the game calls itself."""
        return self._question(0, "game_version")

    def provenance(self) -> dict:
        """Versions, files and faults, for a run's record."""
        return {**describe(self.map, self.settings), "faults": dict(self.faults)}

    def _begin(self, seeds: dict[int, int]) -> dict[int, Fault]:
        """Begins battles at once; returns those that failed."""
        requests, first = {}, False
        for b, seed in seeds.items():
            if self._workers[b] is None:
                self._start(b, seed)
            first |= self._episodes[b] == 0
            requests[b] = ("reset", seed)
        # Games start one after the other.
        starting = self.settings.start_seconds * len(requests)
        failed = self._ask_all(starting if first else self.settings.reset_seconds, requests)
        for b in seeds:
            try:
                if b in failed:
                    raise failed[b]
                worker = self._workers[b]
                self._obs[b], self._state[b], self._available[b] = worker.answer()
                self._loops[b] = self._question(b, "game_loop")
                if self._episodes[b] == 0:
                    self._check_sizes(b)
            except Fault as fault:
                failed[b] = fault
                self._replace(b, fault)
                continue
            self._episodes[b] += 1
            self._running[b] = True
        return failed

    def _check_sizes(self, b: int) -> None:
        """Compares a new client's sizes with ours, and keeps its scale of rewards."""
        for name, size in self._question(b, "sizes").items():
            if size != getattr(self.spec, name):
                raise BenchmarkError(
                    f"{self.map.name}: the client says {name}={size}, this benchmark"
                    f" {getattr(self.spec, name)}: it is another version;"
                    f" {PACKAGES[package_of(self.map)].command}"
                )
        self._max_reward[b] = self._question(b, "max_reward")

    def _ask_all(self, seconds: float, requests: dict[int, tuple]) -> dict[int, Fault]:
        """Sends requests to several workers; returns those that could not be asked."""
        failed = {}
        for b, request in requests.items():
            try:
                self._workers[b].ask(seconds, *request)
            except Fault as fault:
                failed[b] = fault
        return failed

    def _question(self, b: int, *request):
        """Asks one worker and waits."""
        self._workers[b].ask(self.settings.step_seconds, *request)
        return self._workers[b].answer()

    def _start(self, b: int, seed: int) -> None:
        self._workers[b] = Worker(self.map, self.options, self.settings, seed, self._max_reward[b])
        self._episodes[b] = 0

    def _stop(self, b: int) -> None:
        if self._workers[b] is not None:
            self._workers[b].stop()
            self._workers[b] = None

    def _recycle(self, b: int) -> None:
        """Ends a game that took much memory or played long; the next battle starts another."""
        worker = self._workers[b]
        if worker is None:
            return
        # The battle that is over and the next one, each as long as can be, must fit in.
        loops = 2 * (LOOPS_PER_STEP * self.spec.episode_limit + _RESET_LOOPS)
        old = self._episodes[b] >= self.settings.episodes or self._loops[b] + loops > _LAST_LOOP
        if old or worker.memory() > self.settings.memory_gb * _GB:
            self.faults["recycled"] += 1
            self._stop(b)

    def _replace(self, b: int, fault: Fault) -> None:
        """Ends a game that failed and counts the fault."""
        log.warning("StarCraft II, battle %d: %s; its episode is aborted", b, fault)
        self._stop(b)
        self.faults[str(fault).partition(":")[0]] += 1
        now = time.monotonic()
        self._fault_times.append(now)
        while self._fault_times[0] < now - _HOUR:
            self._fault_times.popleft()
        if len(self._fault_times) > self.settings.faults_per_hour:
            raise BenchmarkError(
                f"StarCraft II failed {len(self._fault_times)} times within an hour, the last time"
                f" {fault}; python -m benchmark doctor looks for the cause, and"
                " STARCRAFT2_FAULTS_PER_HOUR sets how many are accepted"
            )

    def _check_available(self, actions: np.ndarray) -> None:
        n_actions = self.spec.n_actions
        for b in np.flatnonzero(self._running):
            for i, action in enumerate(actions[b]):
                if not (0 <= action < n_actions and self._available[b, i, action]):
                    raise ValueError(f"battle {b}, agent {i}: action {action} is not available")

    def _show_nothing(self, b: int | np.ndarray) -> None:
        """What a finished battle shows: zeros, and only no-op is available."""
        self._obs[b] = self._state[b] = 0.0
        self._available[b] = False
        self._available[b, :, 0] = True


def _check_options(options: EnvOptions) -> None:
    for field in fields(EnvOptions):
        value = getattr(options, field.name)
        followed = field.name in (*REWARD_OPTIONS, "max_reward")
        if not followed and value != field.default:
            raise BenchmarkError(
                f"env option {field.name}={value}: only the simulator has it; leave it out on"
                " backend starcraft2"
            )
