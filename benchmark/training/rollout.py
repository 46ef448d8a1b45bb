"""Playing battles: a batch of episodes from start to end, greedy or exploring."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from algorithms.learner import NEVER, Learner
from benchmark.envs.spec import Env, Observation
from benchmark.training.protocol import Training
from benchmark.training.replay import Episodes, send


@dataclass
class EpisodeStats:
    """How each of E battles went; without those that the game aborted."""

    battle_won: np.ndarray  #: [E] bool
    returns: np.ndarray  #: [E] float64, sum of rewards
    length: np.ndarray  #: [E] int32, env steps
    dead_allies: np.ndarray  #: [E] int32
    dead_enemies: np.ndarray  #: [E] int32

    def columns(self) -> dict[str, list]:
        """The battles as columns of the table of evaluations, of length E."""
        return {
            "battle_won": self.battle_won.tolist(),
            "return": self.returns.tolist(),
            "length": self.length.tolist(),
            "dead_allies": self.dead_allies.tolist(),
            "dead_enemies": self.dead_enemies.tolist(),
        }


def explore(
    env: Env,
    learner: Learner,
    rules: Training,
    seeds: np.ndarray,
    epsilon: Callable[[int], float],
    rng: np.random.Generator,
) -> tuple[Episodes, EpisodeStats]:
    """Plays one battle per env of the batch with epsilon-greedy actions and records them.

    Args:
        seeds: one per battle.
        epsilon: exploration as a function of the env steps played in this call.
        rng: stream of the exploration.

    Returns:
        the episodes, and how they went; without those that the game aborted.
    """
    recorder = _Recorder(env)
    stats, whole = _play(env, learner, rules, seeds, _Explorer(rules, epsilon, rng), recorder)
    return recorder.episodes(stats.length, whole), stats


def evaluate(env: Env, learner: Learner, rules: Training, seeds: np.ndarray) -> EpisodeStats:
    """Plays ``len(seeds)`` greedy battles, as many at a time as the env holds.

    A battle that the game aborts is played again.
    """
    parts, places = [], []
    waiting = np.arange(len(seeds))
    while len(waiting):
        playing, waiting = waiting[: env.n_envs], waiting[env.n_envs :]
        stats, whole = _play(env, learner, rules, seeds[playing], None, None)
        parts.append(stats)
        places.append(playing[whole])
        waiting = np.concatenate([waiting, playing[~whole]])
    order = np.argsort(np.concatenate(places))
    names = EpisodeStats.__dataclass_fields__
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return EpisodeStats(**{name: column[order] for name, column in columns.items()})


def record_greedy(
    env: Env, learner: Learner, rules: Training, seeds: np.ndarray
) -> tuple[Episodes, EpisodeStats]:
    """Plays one greedy battle per env of the batch and records them, as ``explore`` does."""
    recorder = _Recorder(env)
    stats, whole = _play(env, learner, rules, seeds, None, recorder)
    return recorder.episodes(stats.length, whole), stats


def _play(
    env: Env,
    learner: Learner,
    rules: Training,
    seeds: np.ndarray,
    explorer: "_Explorer | None",
    recorder: "_Recorder | None",
) -> tuple[EpisodeStats, np.ndarray]:
    """Plays one episode in each of the first ``len(seeds)`` envs; the others do not count.

    Returns:
        how those went that were played to their end, and which these are, [len(seeds)] bool.
    """
    battles, playing = env.n_envs, len(seeds)
    padded = np.concatenate([seeds, np.repeat(seeds[-1:], battles - playing)])
    seen = env.reset(padded)
    hidden = learner.initial_hidden(battles)
    last = np.full((battles, env.spec.n_agents), -1)
    running = np.arange(battles) < playing
    whole = running.copy()
    returns = np.zeros(battles)
    length = np.zeros(battles, np.int32)
    won = np.zeros(battles, np.bool_)
    dead_allies, dead_enemies = np.zeros(battles, np.int32), np.zeros(battles, np.int32)
    zero_last_action = explorer is None and rules.evaluated_last_action == "zero"

    def choose() -> tuple[np.ndarray, Tensor]:
        """Actions for what is seen now, [B, N], and the hidden state after them."""
        found, new_hidden = learner.act(*_sent(seen.obs, last, learner.device), hidden)
        q_values = found.cpu().numpy()
        actions = np.where(seen.available, q_values, NEVER).argmax(-1)
        if explorer is not None:
            actions, random_teams = explorer.choose(actions, seen.available, int(length.sum()))
            if rules.hidden_on_random_steps == "frozen":
                frozen = torch.from_numpy(random_teams)[:, None, None].to(hidden.device)
                kept = learner.frozen_hidden(hidden, new_hidden)
                new_hidden = torch.where(frozen, kept, new_hidden)
        return actions, new_hidden

    while running.any():
        actions, hidden = choose()
        step = env.step(actions)
        if recorder is not None:
            recorder.record(seen, actions, step.reward, step.terminated)
        seen = Observation(step.obs, step.state, step.available)
        returns += np.where(running, step.reward, 0)
        length += running
        whole &= ~step.aborted
        ended = running & (step.terminated | step.truncated | step.aborted)
        won[ended] = step.battle_won[ended]
        dead_allies[ended] = step.dead_allies[ended]
        dead_enemies[ended] = step.dead_enemies[ended]
        running &= ~ended
        if not zero_last_action:
            last = actions
    if recorder is not None:
        recorder.observe(seen)
        if explorer is not None and rules.final_action == "stored":
            recorder.act(choose()[0])  # where a battle ended earlier, the loop has chosen it
    columns = (won, returns, length, dead_allies, dead_enemies)
    return EpisodeStats(*(column[whole] for column in columns)), whole[:playing]


def _sent(obs: np.ndarray, last: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Observations and last actions where the networks are; a GPU gets both in one copy."""
    if device.type == "cpu":
        return torch.from_numpy(obs), torch.from_numpy(last)
    together = np.concatenate([obs, last[..., None]], axis=-1, dtype=np.float32)
    there = send(torch.from_numpy(together), device)
    return there[..., :-1], there[..., -1].long()


class _Explorer:
    """Epsilon-greedy: replaces greedy actions by uniformly drawn available ones."""

    def __init__(
        self, rules: Training, epsilon: Callable[[int], float], rng: np.random.Generator
    ) -> None:
        self._rules, self._epsilon, self._rng = rules, epsilon, rng

    def choose(
        self, greedy: np.ndarray, available: np.ndarray, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Replaces greedy actions [B, N] by random ones; also which teams act at random, [B]."""
        battles, agents = greedy.shape
        draws = 1 if self._rules.epsilon_per == "team" else agents
        random = self._rng.random((battles, draws)) < self._epsilon(steps)
        uniforms = np.where(available, self._rng.random(available.shape), -1)
        return np.where(random, uniforms.argmax(-1), greedy), np.all(random, axis=-1)


class _Recorder:
    """Records battles step by step, in arrays of full length."""

    def __init__(self, env: Env) -> None:
        spec, battles = env.spec, env.n_envs
        steps, agents = spec.episode_limit, spec.n_agents
        self._t = 0
        self._obs = np.zeros((battles, steps + 1, agents, spec.obs_size), np.float32)
        self._state = np.zeros((battles, steps + 1, spec.state_size), np.float32)
        self._available = np.zeros((battles, steps + 1, agents, spec.n_actions), np.bool_)
        self._actions = np.zeros((battles, steps + 1, agents), np.uint8)
        self._reward = np.zeros((battles, steps), np.float32)
        self._terminated = np.zeros(battles, np.bool_)

    def record(
        self, seen: Observation, actions: np.ndarray, reward: np.ndarray, terminated: np.ndarray
    ) -> None:
        self.observe(seen)
        self.act(actions)
        self._reward[:, self._t] = reward
        self._terminated |= terminated
        self._t += 1

    def observe(self, seen: Observation) -> None:
        """Records an observation, that after the last action too."""
        self._obs[:, self._t] = seen.obs
        self._state[:, self._t] = seen.state
        self._available[:, self._t] = seen.available

    def act(self, actions: np.ndarray) -> None:
        """Records the actions [B, N] that were chosen for the latest observation."""
        self._actions[:, self._t] = actions

    def episodes(self, length: np.ndarray, whole: np.ndarray) -> Episodes:
        """Everything recorded; the replay ignores what is beyond an episode's length.

        Args:
            length: [E] steps of the whole episodes.
            whole: [B] bool, which battles were played to their end.
        """
        steps = self._t
        kept = slice(None) if whole.all() else whole  # a copy only where some are missing
        return Episodes(
            obs=self._obs[kept, : steps + 1],
            state=self._state[kept, : steps + 1],
            available=self._available[kept, : steps + 1],
            actions=self._actions[kept, : steps + 1],
            reward=self._reward[kept, :steps],
            terminated=self._terminated[kept],
            length=length,
        )
