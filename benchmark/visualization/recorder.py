"""A recorder of battles: one snapshot per env step, to be drawn or measured afterwards."""

from dataclasses import dataclass, field

import numpy as np

from benchmark.envs.simulator.orders import FIRST_TARGET
from benchmark.envs.simulator.units import UNITS
from benchmark.envs.spec import Env, EnvSpec, Observation, Transition
from benchmark.errors import BenchmarkError

_UNFINISHED = "unfinished"
_HEALS = np.array([unit.heals > 0 for unit in UNITS])


@dataclass(frozen=True)
class Snapshot:
    """The units after one env step, and what happened in it."""

    step: int  #: env steps played, 0 at the start
    units: np.ndarray  #: [U] records.UNIT_DTYPE, agents first
    struck: np.ndarray  #: [U] int, whom each unit hit, shot at or healed in this step; -1 nobody
    died: np.ndarray  #: [U] bool, in this step

    @property
    def positions(self) -> np.ndarray:
        """[U, 2], in cells."""
        return np.stack([self.units["x"], self.units["y"]], 1)


@dataclass(frozen=True)
class Recording:
    """A whole battle, first snapshot to last."""

    spec: EnvSpec
    walkable: np.ndarray  #: [32, 32] bool, indexed [x, y]
    snapshots: list[Snapshot] = field(default_factory=list)
    result: str = _UNFINISHED  #: who won

    @property
    def length(self) -> int:
        """Env steps that the battle took."""
        return self.snapshots[-1].step

    @property
    def kinds(self) -> set[int]:
        """The unit types that fight."""
        return set(self.snapshots[0].units["type"].tolist())


class Recorder:
    """An env of one battle that records it: wrap an env, play, read ``recording``.

    It behaves like the env it wraps, so the player sees no difference; see
    :class:`benchmark.envs.spec.Env`.

    Args:
        env: an env with one battle, of either backend: both have ``units()`` and ``walkable``.
            StarCraft II does not show whom its own units strike.
    """

    n_envs = 1

    def __init__(self, env: Env) -> None:
        if env.n_envs != 1:
            raise ValueError(f"a recorder takes one battle, not {env.n_envs}")
        self._env = env
        self.spec = env.spec
        self._snapshots: list[Snapshot] = []
        self._result = _UNFINISHED

    @property
    def recording(self) -> Recording:
        """The battle since the last reset."""
        return Recording(self.spec, self._env.walkable, list(self._snapshots), self._result)

    def reset(self, seeds: np.ndarray, indices: np.ndarray | None = None) -> Observation:
        """Starts a battle and a new recording; see :meth:`benchmark.envs.spec.Env.reset`."""
        observation = self._env.reset(seeds, indices)
        units = self._env.units()[0]
        nobody = np.full(len(units), -1)
        self._snapshots = [Snapshot(0, units, nobody, np.zeros(len(units), np.bool_))]
        self._result = _UNFINISHED
        return observation

    def step(self, actions: np.ndarray) -> Transition:
        """Plays and records one env step; see :meth:`benchmark.envs.spec.Env.step`.

        Raises:
            BenchmarkError: the game broke down.
        """
        transition = self._env.step(actions)
        if self._result != _UNFINISHED:
            return transition
        last = self._snapshots[-1]
        if transition.aborted[0]:
            raise BenchmarkError(
                f"the game broke down in step {last.step + 1} of the battle; run the same command"
                " again"
            )
        before, now = last.units, self._env.units()[0]
        struck = _struck(before, now, np.asarray(actions)[0])
        died = before["alive"] & ~now["alive"]
        self._snapshots.append(Snapshot(last.step + 1, now, struck, died))
        if transition.terminated[0] or transition.truncated[0]:
            self._result = _result(transition, now["alive"])
        return transition

    def units(self) -> np.ndarray:
        """As :meth:`benchmark.envs.simulator.Simulator.units`, for scripted policies."""
        return self._env.units()

    def provenance(self) -> dict:
        """As the env's own."""
        return self._env.provenance()

    def close(self) -> None:
        """Ends the battle; a recording that was taken stays."""
        self._env.close()


def _struck(before: np.ndarray, now: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Whom each unit struck in a step, [U].

    The units record whom each one aims at, not whom it hit: a unit that kills its target has none,
    or the next one, at the end of the step. An agent's action still names the victim. A unit of the
    engine had the victim as its target when the step began, or else chose and killed it within the
    step: then it is the nearest of those who died.
    """
    n = len(actions)
    died = before["alive"] & ~now["alive"]
    former = before["target"]
    target = np.where(now["autonomous"] & (former >= 0) & died[former], former, now["target"])
    ordered = actions - FIRST_TARGET + n * ~_HEALS[now["type"][:n]]
    named = ~now["autonomous"][:n] & (target[:n] < 0) & (actions >= FIRST_TARGET)
    target[:n] = np.where(named, ordered, target[:n])
    for i in np.flatnonzero(now["attacked"] & (target < 0)):
        victims = np.flatnonzero(died & (now["team"] != now["team"][i]))
        if _HEALS[now["type"][i]] or not victims.size:
            target[i] = former[i]  # a patient who has full health again
            continue
        away = np.hypot(now["x"][victims] - now["x"][i], now["y"][victims] - now["y"][i])
        target[i] = victims[away.argmin()]
    return np.where(now["attacked"], target, -1)


def _result(end: Transition, alive: np.ndarray) -> str:
    """The end in words; ``end`` is the transition that ended the battle."""
    if end.battle_won[0]:
        return "allies win"
    if end.truncated[0]:
        return "time-out"
    return "enemies win" if alive.any() else "nobody survives"
