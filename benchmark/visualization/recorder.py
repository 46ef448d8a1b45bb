"""A battle on record: one frame per env step, for whoever draws or inspects it afterwards."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.envs.simulator.orders import FIRST_TARGET
from benchmark.envs.simulator.units import UNITS
from benchmark.envs.spec import Env, EnvSpec, Observation, Transition
from benchmark.errors import BenchmarkError

_HEALS = np.array([unit.heals > 0 for unit in UNITS])


@dataclass(frozen=True)
class Frame:
    """What one env step left behind, and what happened in it."""

    step: int  #: env steps played, 0 at the start
    units: np.ndarray  #: [U] records.UNIT_DTYPE, agents first
    struck: np.ndarray  #: [U] int, whom each unit hit, shot at or healed in this step; -1 nobody
    fell: np.ndarray  #: [U] bool, died in this step


@dataclass(frozen=True)
class Film:
    """A whole battle, first frame to last."""

    spec: EnvSpec
    walkable: np.ndarray  #: [32, 32] bool, indexed [x, y]
    frames: list[Frame] = field(default_factory=list)
    result: str = "unfinished"  #: who won

    @property
    def length(self) -> int:
        """Env steps that the battle took."""
        return self.frames[-1].step

    @cached_property
    def kinds(self) -> list[int]:
        """The unit types that fight, ascending."""
        return sorted(set(self.frames[0].units["type"].tolist()))


class Camera:
    """An env of one battle that films it: wrap an env, let anything play, read ``film``.

    It behaves like the env it wraps, so the player cannot tell; see ``benchmark.envs.spec.Env``.

    Args:
        env: an env with one battle, of either backend: both have ``units()`` and ``walkable``.
            StarCraft II does not show whom its own units strike.
    """

    n_envs = 1

    def __init__(self, env: Env) -> None:
        if env.n_envs != 1:
            raise ValueError(f"a camera films one battle, not {env.n_envs}")
        self._env = env
        self.spec = env.spec
        self._frames: list[Frame] = []
        self._result = "unfinished"

    @property
    def film(self) -> Film:
        """The battle since the last reset."""
        return Film(self.spec, self._env.walkable, list(self._frames), self._result)

    def reset(self, seeds: np.ndarray, indices: np.ndarray | None = None) -> Observation:
        """Starts a battle and a new film; see :meth:`benchmark.envs.spec.Env.reset`."""
        seen = self._env.reset(seeds, indices)
        units = self._env.units()[0]
        nobody = np.full(len(units), -1)
        self._frames = [Frame(0, units, nobody, np.zeros(len(units), np.bool_))]
        self._result = "unfinished"
        return seen

    def step(self, actions: np.ndarray) -> Transition:
        """Plays and films one env step; see :meth:`benchmark.envs.spec.Env.step`.

        Raises:
            BenchmarkError: the game broke down.
        """
        if self._result != "unfinished":
            return self._env.step(actions)
        done = self._env.step(actions)
        if done.aborted[0]:
            raise BenchmarkError(
                f"the game broke down in step {self._frames[-1].step + 1} of the battle; run the"
                " same command again"
            )
        before, now = self._frames[-1], self._env.units()[0]
        struck = _struck(before.units, now, np.asarray(actions)[0])
        self._frames.append(
            Frame(before.step + 1, now, struck, before.units["alive"] & ~now["alive"])
        )
        if done.terminated[0] or done.truncated[0]:
            self._result = _result(done, now["alive"])
        return done

    def units(self) -> np.ndarray:
        """As :meth:`benchmark.envs.simulator.Simulator.units`, for scripted players."""
        return self._env.units()

    def provenance(self) -> dict:
        """As the env's own."""
        return self._env.provenance()

    def save_replay(self, folder: Path) -> str:
        """As :meth:`benchmark.envs.starcraft2.StarCraft2.save_replay`."""
        return self._env.save_replay(folder)

    def close(self) -> None:
        """Frees the battle; a film that was taken stays."""
        self._env.close()


def _struck(before: np.ndarray, now: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Whom each unit struck in a step, [U].

    The battle keeps whom a unit is after, not whom it hit: whoever kills its target has none, or
    the next one, by the end of the step. An agent's action still names the victim. One of the
    engine's units had it as its target when the step began, or else picked it up and killed it
    within the step: then it is the nearest of those who fell.
    """
    n = len(actions)
    fell = before["alive"] & ~now["alive"]
    former = before["target"]
    target = np.where(now["autonomous"] & (former >= 0) & fell[former], former, now["target"])
    ordered = actions - FIRST_TARGET + n * ~_HEALS[now["type"][:n]]
    named = ~now["autonomous"][:n] & (target[:n] < 0) & (actions >= FIRST_TARGET)
    target[:n] = np.where(named, ordered, target[:n])
    for i in np.flatnonzero(now["attacked"] & (target < 0)):
        victims = np.flatnonzero(fell & (now["team"] != now["team"][i]))
        if _HEALS[now["type"][i]] or not victims.size:
            target[i] = former[i]  # a patient who is well again
            continue
        away = np.hypot(now["x"][victims] - now["x"][i], now["y"][victims] - now["y"][i])
        target[i] = victims[away.argmin()]
    return np.where(now["attacked"], target, -1)


def _result(done: Transition, alive: np.ndarray) -> str:
    """The end in words; ``done`` is the transition that ended the battle."""
    if done.battle_won[0]:
        return "allies win"
    if done.truncated[0]:
        return "time-out"
    return "enemies win" if alive.any() else "nobody survives"
