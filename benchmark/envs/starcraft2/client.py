"""The real clients, smac and smacv2, as this benchmark sets them up. Lives in a worker process.

Both packages register the same map names with pysc2, so a process may import one of them. Which one
a map takes, and every argument, is decided here; the clients themselves run unmodified.
"""

import fcntl
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmark.envs.maps import SIZE, Map
from benchmark.envs.options import EnvOptions
from benchmark.envs.simulator.records import ATTACK, HEAL, IDLE, MOVE, UNIT_DTYPE
from benchmark.envs.simulator.units import GAME_ID, LOOPS_PER_STEP, TYPE_ID, UNITS
from benchmark.envs.starcraft2.worker import Broken

_SEEDS = 2**32  #: the protocol and NumPy's global generator take 32 bits
#: The env options that the clients have too.
REWARD_OPTIONS = (
    "reward_sparse", "reward_only_positive", "reward_death_value", "reward_win", "reward_defeat",
    "reward_negative_scale", "reward_scale", "reward_scale_rate",
)  # fmt: skip
_ORDERS = {16: MOVE, 23: ATTACK, 386: HEAL}  #: the game's abilities


class Client:
    """One battle of the real game, through the client that the map belongs to.

    Args:
        one: the map.
        options: of the rewards; the rest must be at its defaults.
        version: of the game.
        seed: of the game's own randomness, for the life of this process.
        max_reward: what rewards are scaled by; None for the client's own, of its first battle.
        lock: a folder that is locked while a game is launched: between choosing a port and
            listening on it another game may take it.
        launch_seconds: that a launch may take, so that one which hangs holds up no other for long.
    """

    def __init__(
        self,
        one: Map,
        options: EnvOptions,
        version: str,
        seed: int,
        max_reward: float | None,
        lock: str,
        launch_seconds: float,
    ) -> None:
        from benchmark.envs.starcraft2 import messages  # noqa: F401  (before anything imports the protocol's messages)

        self._map = one
        self._max_reward = max_reward
        self._wrapper = _make_smacv2(one, options) if one.generated else _make_smac(one, options)
        # SMACv2's wrapper draws teams and places; inside it is what SMAC has alone.
        self._env = getattr(self._wrapper, "env", self._wrapper)
        self._env.game_version, self._env._seed = version, seed % _SEEDS
        launch = self._env._launch

        def launched() -> None:
            with _locked(lock), _no_waiting_for_a_dead_game(launch_seconds):
                launch()
            if one.generated:  # its wrapper may reset twice before a battle begins, see ``reset``
                self._env._episode_count = max(self._env._episode_count, 1)

        self._env._launch = launched
        # After a crash the client would start another game and go on; this process is done then.
        self._env.full_restart = _give_up
        self._tags: set[int] = set()
        self._seed = seed
        self._units = np.zeros(one.n_agents + one.n_enemies, UNIT_DTYPE)

    @property
    def max_reward(self) -> float:
        """What rewards are scaled by; known once a battle has begun."""
        return self._max_reward

    def sizes(self) -> dict[str, int]:
        """The client's own account of its sizes, named as in ``spec.EnvSpec``."""
        info = self._wrapper.get_env_info()
        return {
            "n_agents": info["n_agents"],
            "n_enemies": self._env.n_enemies,
            "n_actions": info["n_actions"],
            "obs_size": info["obs_shape"],
            "state_size": info["state_shape"],
            "episode_limit": info["episode_limit"],
        }

    def reset(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Begins a battle.

        Args:
            seed: of the teams and places of SMACv2, and of the client's own randomness.

        Returns:
            obs [N, O], state [S], available [N, A].

        Raises:
            Broken: no battle has begun.
        """
        self._seed = seed
        seed_everything(self._wrapper, seed)
        # Where units do not appear SMACv2's wrapper draws others, resets again, and returns None.
        begun = self._wrapper.reset() is not None or (
            len(self._env.agents) == self._map.n_agents
            and len(self._env.enemies) == self._map.n_enemies
        )
        if not begun:
            raise Broken("reset returned nothing: the units did not appear")
        # The client takes the number of finished episodes as a sign that the game runs. Left at 0,
        # another reset would start a second game, and would add to max_reward.
        self._env._episode_count = max(self._env._episode_count, 1)
        if self._max_reward is None:
            self._max_reward = self._own_max_reward()
        self._env.max_reward = self._max_reward
        tags = {unit.tag for unit in self._all_units()}
        if tags & self._tags:
            raise Broken("the battle began with units of the one before")
        self._tags = tags
        self._units = self._read_units(None)
        return self._observe()

    def step(self, actions: list[int]) -> tuple:
        """Plays one env step.

        Args:
            actions: [N], each available.

        Returns:
            obs, state, available as from ``reset``, reward, terminated, truncated, battle_won, dead
            allies, dead enemies, as in ``spec.Transition``.

        Raises:
            Broken: the game crashed in this step.
        """
        timeouts = self._env.timeouts
        reward, ended, info = self._wrapper.step(actions)
        if not info:
            raise Broken("the step returned no information")
        if self._env._controller.status_ended:
            raise Broken("the game ended itself")
        truncated = self._env.timeouts > timeouts
        self._units = self._read_units(self._units)
        return (
            *self._observe(), float(reward), bool(ended and not truncated), truncated,
            bool(info["battle_won"]), int(info["dead_allies"]), int(info["dead_enemies"]),
        )  # fmt: skip

    def units(self) -> np.ndarray:
        """[U] ``records.UNIT_DTYPE`` from the client's last observation, agents first.

        Filled in: type, team, place, health, shield, energy, alive and autonomous; of agents also
        what the game does not show of enemies: cooldown, order, goal and target, and ``attacked``
        where a cooldown began or energy was spent in the last step.
        """
        return self._units

    def known(self) -> np.ndarray:
        """[E] the agent through which SMACv2's client knows each enemy, -1 for none."""
        tags = getattr(self._env, "enemy_tags", [None] * self._map.n_enemies)
        return np.array([-1 if tag is None else tag for tag in tags], np.int32)

    def walkable(self) -> np.ndarray:
        """[32, 32] bool, indexed [x, y]: the cells that the game calls passable."""
        return np.array(self._env.pathing_grid, bool)

    def game_loop(self) -> int:
        """Loops that the game has played."""
        return self._env._obs.observation.game_loop

    def game_version(self) -> str:
        """What the game calls itself."""
        return self._env._controller.ping().game_version

    def _observe(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # SMACv2 goes through the agents in an order from Python's global generator; it should
        # follow from the battle's seed and its step alone.
        random.seed(observation_seed(self._seed, self._env._episode_steps))
        obs = np.asarray(self._wrapper.get_obs(), np.float32)
        state = np.asarray(self._wrapper.get_state(), np.float32)
        return obs, state, np.asarray(self._wrapper.get_avail_actions(), np.bool_)

    def _own_max_reward(self) -> float:
        """The client's rule, without its mistake of counting some units twice."""
        env = self._env
        enemies = env.enemies.values()
        life = sum(unit.health_max + unit.shield_max for unit in enemies)
        return float(life + env.n_enemies * env.reward_death_value + env.reward_win)

    def _all_units(self) -> list:
        env = self._env
        return [env.agents[i] for i in range(env.n_agents)] + [
            env.enemies[e] for e in range(env.n_enemies)
        ]

    def _read_units(self, before: np.ndarray | None) -> np.ndarray:
        units = np.zeros(len(self._units), UNIT_DTYPE)
        seen = self._all_units()
        index_of = {unit.tag: index for index, unit in enumerate(seen)}
        n = self._env.n_agents
        smac_types = sorted(TYPE_ID[name] for name in self._map.allies)
        for index, (row, unit) in enumerate(zip(units, seen, strict=True)):
            if index >= n:
                row["type"] = GAME_ID.index(unit.unit_type)
            elif self._map.generated:
                row["type"] = unit.unit_type - self._env._min_unit_type
            else:
                row["type"] = smac_types[index]
            row["team"] = row["autonomous"] = index >= n
            row["alive"] = unit.health > 0
            row["x"], row["y"] = unit.pos.x, unit.pos.y
            row["health"], row["shield"] = unit.health, unit.shield if unit.health > 0 else 0.0
            row["energy"], row["cooldown"] = unit.energy, unit.weapon_cooldown
            row["order"], row["target"], row["missile_target"] = IDLE, -1, -1
            if unit.orders:
                order = unit.orders[0]
                row["order"] = _ORDERS.get(order.ability_id, IDLE)
                row["target"] = index_of.get(order.target_unit_tag, -1)
                goal = order.target_world_space_pos
                row["goal_x"], row["goal_y"] = goal.x, goal.y
        if before is not None:
            started = units["cooldown"] > np.maximum(before["cooldown"] - LOOPS_PER_STEP, 0.0) + 0.5
            healed = units["energy"] < before["energy"]
            units["attacked"] = units["alive"] & (started | healed)
        return units


def _give_up() -> None:
    raise Broken("the connection to the game broke")


def observation_seed(seed: int, step: int) -> str:
    """The seed of Python's global generator before an observation."""
    return f"{seed}/{step}"


def _make_smac(one: Map, options: EnvOptions):
    from smac.env import StarCraft2Env

    _expect_slow_answers()
    return StarCraft2Env(map_name=one.name, **_rewards(options))


def _make_smacv2(one: Map, options: EnvOptions):
    """The configuration that the authors of R3DM and ACORM trained with."""
    from smacv2.env import StarCraftCapabilityEnvWrapper

    _expect_slow_answers()
    race = UNITS[TYPE_ID[one.types[0]]].race
    return StarCraftCapabilityEnvWrapper(
        map_name=f"10gen_{race}",
        capability_config={
            "n_units": one.n_agents,
            "n_enemies": one.n_enemies,
            "team_gen": {
                "dist_type": "weighted_teams",
                "unit_types": [name for name, _ in one.weights],
                "weights": [weight for _, weight in one.weights],
                "exception_unit_types": list(one.exceptions),
                "observe": True,
            },
            "start_positions": {
                "dist_type": "surrounded_and_reflect",
                "p": 0.5,
                "map_x": SIZE,
                "map_y": SIZE,
            },
        },
        conic_fov=False,
        obs_own_pos=True,
        use_unit_ranges=True,
        min_attack_range=2,
        **_rewards(options),
    )


def _rewards(options: EnvOptions) -> dict:
    return {name: getattr(options, name) for name in REWARD_OPTIONS}


def _expect_slow_answers() -> None:
    """Lets pysc2 wait for ever: the owner of this process limits the time, and kills it."""
    from absl import flags

    flags.FLAGS.sc2_timeout = 3600


def seed_everything(wrapper, seed: int) -> None:
    """Seeds every generator of the client that a battle depends on."""
    random.seed(seed)
    np.random.seed(seed % _SEEDS)  # noqa: NPY002  (the clients draw from it)
    distributions = getattr(wrapper, "env_key_to_distribution_map", {}).values()
    streams = np.random.SeedSequence(seed)
    pending = list(distributions)
    while pending:
        one = pending.pop(0)
        if hasattr(one, "rng"):
            one.rng = np.random.default_rng(streams.spawn(1)[0])
        # Distributions that combine others hold them as attributes.
        pending += [inner for inner in vars(one).values() if hasattr(inner, "generate")]


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Holds the lock on a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _no_waiting_for_a_dead_game(seconds: float) -> Iterator[None]:
    """Ends a launch whose game dies or does not answer; pysc2 would go on trying to connect.

    Raises:
        Broken: that happened.
    """

    def died(number, frame) -> None:
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return  # it was only stopped, or goes on
        except ChildProcessError:  # pysc2 has fetched its status already
            pass
        end("the game ended before it could be played")

    def end(why: str) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # pysc2 ends the game now
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Broken(why)

    before = {
        signal.SIGCHLD: signal.signal(signal.SIGCHLD, died),
        signal.SIGALRM: signal.signal(
            signal.SIGALRM, lambda *_: end(f"the game was not ready within {seconds:g} s")
        ),
    }
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
