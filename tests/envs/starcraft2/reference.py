"""Reference observations: what the simulator reports of the units of another program's battle.

Given the units that a real client observed, step by step, the simulator's observation code must
give the same observation, state, availability, reward and ending.
"""

import random
from typing import NamedTuple

import numpy as np

from benchmark.envs import EnvOptions, Map
from benchmark.envs.simulator.compiled import entry_point
from benchmark.envs.simulator.env import simulator_spec
from benchmark.envs.simulator.kernel import observe, source_digest, write_outcome
from benchmark.envs.simulator.world import make_output, make_world
from benchmark.envs.starcraft2.client import observation_seed

#: What the game's protocol shows, in single precision.
SHOWN = ("x", "y", "health", "shield", "energy", "cooldown")


class Observed(NamedTuple):
    """What is observed of a battle after a reset or a step."""

    obs: np.ndarray  #: [N, O]
    state: np.ndarray  #: [S]
    available: np.ndarray  #: [N, A]
    reward: float
    terminated: bool
    truncated: bool
    battle_won: bool
    dead_allies: int
    dead_enemies: int


def compare(client: Observed, simulator: Observed) -> None:
    """Both say the same: arrays and reward to rounding, everything else exactly."""
    np.testing.assert_array_equal(client.available, simulator.available)
    np.testing.assert_allclose(client.obs, simulator.obs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(client.state, simulator.state, rtol=0, atol=1e-6)
    np.testing.assert_allclose(client.reward, simulator.reward, rtol=1e-6, atol=1e-7)
    assert tuple(client[4:]) == tuple(simulator[4:])


def _compiled(digest: str):
    """Compiled once, as in ``kernel``: the digest of the sources is in the key of the cache."""

    @entry_point()
    def see(world, out):
        _ = digest
        observe(0, world, out)

    @entry_point()
    def judge(world, out):
        _ = digest
        write_outcome(0, world, out)

    return see, judge


_observe, _write_outcome = _compiled(source_digest())


class Reference:
    """Follows one battle.

    Args:
        one: its map.
        seed: of the battle, as the client got it.
    """

    def __init__(self, one: Map, seed: int, options: EnvOptions | None = None) -> None:
        self._one, self._seed, self._step = one, seed, 0
        self._world = make_world(one, 1, options or EnvOptions())
        self._out = make_output(simulator_spec(one), 1)
        self._world.battles["max_reward"] = self._world.rules["max_reward"]

    @property
    def known(self) -> np.ndarray:
        """[E] the agent through which SMACv2's client knows each enemy, -1 for none."""
        return self._world.known[0].copy()

    def begin(self, units: np.ndarray, known: np.ndarray | None = None) -> Observed:
        """The observation of the units with which a battle begins.

        Args:
            units: [U] ``records.UNIT_DTYPE``.
            known: [E] which agent SMACv2's client knows each enemy through; its reset looks once in
                an order that is not recorded.
        """
        self._show(units)
        for name, seen in (("x", "seen_x"), ("y", "seen_y")):
            self._world.units[seen] = self._world.units[name]
        self._world.units["seen_life"] = self._world.units["health"] + self._world.units["shield"]
        if known is not None:
            self._set_order()
            _observe(self._world, self._out)
            np.testing.assert_array_equal(self.known >= 0, known >= 0)
            self._world.known[0] = known
        return self._observed()

    def step(self, units: np.ndarray, actions: np.ndarray) -> Observed:
        """The observation of the units after the agents' actions."""
        self._step += 1
        self._show(units)
        self._world.last_actions[0] = actions
        _write_outcome(self._world, self._out)
        return self._observed()

    def _show(self, units: np.ndarray) -> None:
        mine = self._world.units[0]
        for name in SHOWN:
            mine[name] = units[name].astype(np.float32)
        for name in ("type", "team", "alive", "autonomous"):
            mine[name] = units[name]

    def _set_order(self) -> None:
        """SMACv2's client goes through the agents in an order from Python's generator."""
        order = list(range(self._one.n_agents))
        if self._one.generated:
            random.Random(observation_seed(self._seed, self._step)).shuffle(order)
        self._world.order[0, : len(order)] = order

    def _observed(self) -> Observed:
        self._set_order()
        _observe(self._world, self._out)
        out = self._out
        return Observed(
            out.obs[0].copy(), out.state[0].copy(), out.available[0].copy(),
            float(out.reward[0]), bool(out.terminated[0]), bool(out.truncated[0]),
            bool(out.battle_won[0]), int(out.dead[0, 0]), int(out.dead[1, 0]),
        )  # fmt: skip
