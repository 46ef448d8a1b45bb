"""Policies that were trained in the real game, played in the simulator (NumPy, batched).

A policy file holds the arrays of one network under its authors' names. ``network`` says how they
are used; ``N`` agents share the weights and act greedily over the available actions:

* ``rnn``: [observation, last action one-hot, agent one-hot], linear, ReLU, GRU cell, linear;
* ``rnn_soft``: the same, actions drawn from the softmax over the available ones;
* ``sac``: the same without the last action;
* ``maven``: a latent of 16 is drawn at the start from the state; the last layer's weights are a
  linear function of [latent, agent].
"""

from collections.abc import Mapping

import numpy as np

from benchmark.envs import make
from benchmark.envs.validation.evidence import interval

_LATENTS = 16  #: of MAVEN


class RecurrentPolicy:
    """Plays a batch of battles; one per call of :func:`play`.

    Args:
        arrays: the network's weights, by name.
        network: how they are used, see above.
        seed: of what a policy draws.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], network: str, seed: int = 0):
        self._weights = {name.removeprefix("agent."): arrays[name] for name in arrays}
        self._network = network
        self._random = np.random.default_rng(seed)

    def begin(self, state: np.ndarray, n_agents: int, n_actions: int) -> None:
        """Forgets everything; ``state`` [B, S] is that of the battles' start."""
        b = len(state)
        self._hidden = np.zeros((b, n_agents, self._weights["rnn.weight_hh"].shape[1]), np.float32)
        self._agents = np.broadcast_to(np.eye(n_agents, dtype=np.float32), (b, n_agents, n_agents))
        self._last = np.zeros((b, n_agents, n_actions), np.float32)
        if self._network == "maven":
            hidden = np.maximum(self._linear("z.fc_1", state), 0)
            latent = self._draw(self._linear("z.fc_2", hidden))
            z = np.eye(_LATENTS, dtype=np.float32)[latent]
            z = np.broadcast_to(z[:, None], (b, n_agents, _LATENTS))
            who = np.concatenate([z, self._agents], 2)
            shape = (b, n_agents, self._hidden.shape[2], n_actions)
            self._head = self._linear("hyper_w", who).reshape(shape), self._linear("hyper_b", who)

    def act(self, obs: np.ndarray, available: np.ndarray) -> np.ndarray:
        """Actions [B, N] for observations [B, N, O] and availability [B, N, A]."""
        parts = [obs, self._agents] if self._network == "sac" else [obs, self._last, self._agents]
        first = "fc" if self._network == "maven" else "fc1"
        x = np.maximum(self._linear(first, np.concatenate(parts, 2)), 0)
        self._hidden = self._gru(x, self._hidden)
        if self._network == "maven":
            weight, bias = self._head
            values = np.einsum("bnh,bnha->bna", self._hidden, weight) + bias
        else:
            values = self._linear("fc2", self._hidden)
        values = np.where(available, values, -np.inf)
        soft = self._network == "rnn_soft"
        actions = self._draw(values) if soft else values.argmax(2)
        self._last = np.eye(available.shape[2], dtype=np.float32)[actions]
        return actions

    def _linear(self, name, x):
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _gru(self, x, hidden):
        """PyTorch's GRU cell: gates in the order reset, update, new."""
        w = self._weights
        r, z, n = np.split(x @ w["rnn.weight_ih"].T + w["rnn.bias_ih"], 3, axis=-1)
        hr, hz, hn = np.split(hidden @ w["rnn.weight_hh"].T + w["rnn.bias_hh"], 3, axis=-1)
        r, z = _sigmoid(r + hr), _sigmoid(z + hz)
        new = np.tanh(n + r * hn)
        return new + z * (hidden - new)

    def _draw(self, logits):
        """Indices drawn from the softmax over the last axis (Gumbel's trick)."""
        noise = self._random.gumbel(size=logits.shape)
        return (logits + noise).argmax(-1)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def compare(evidence, maps: list[str], n_battles: int = 256, seed: int = 1) -> list[dict]:
    """One row per policy: wins, return and length here, and wins in the game where known."""
    rows = []
    for _, one in evidence.policies.iterrows():
        if one["map"] not in maps:
            continue
        env = make(one["map"], min(n_battles, 128))
        with np.load(one["path"]) as arrays:
            policy = RecurrentPolicy(dict(arrays), one["network"], seed)
        played = play(env, policy, n_battles, seed)
        rows.append(
            {
                "map": one["map"], "algorithm": one["algorithm"], "file": one["file"],
                "real_win": one["real_win"], "win": played["won"].mean(),
                "win_interval": interval(played["won"]), "return": played["return"].mean(),
                "length": played["length"].mean(), "battles": len(played["won"]),
                "source": f"{one['repository']}@{one['commit']}",
            }
        )  # fmt: skip
    return rows


def difference(rows: list[dict]) -> dict[str, float]:
    """Mean over a map's policies of |win rate here - in the game|, by map; unknown rates are left
    out."""
    by_map = {}
    for row in rows:
        if not np.isnan(row["real_win"]):
            by_map.setdefault(row["map"], []).append(abs(row["win"] - row["real_win"]))
    return {name: float(np.mean(values)) for name, values in by_map.items()}


def play(env, policy: RecurrentPolicy, n_battles: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Plays ``n_battles`` (rounded up to whole batches) to their end.

    Returns:
        arrays [n] ``won``, ``return``, ``length``, ``dead_allies``, ``dead_enemies``.
    """
    batches = []
    for first in range(0, n_battles, env.n_envs):
        seeds = np.arange(seed + first, seed + first + env.n_envs, dtype=np.uint64)
        now = env.reset(seeds)
        policy.begin(now.state, *now.available.shape[1:])
        total = {
            name: np.zeros(env.n_envs)
            for name in ("won", "return", "length", "dead_allies", "dead_enemies")
        }
        running = np.ones(env.n_envs, bool)
        while running.any():
            now = env.step(policy.act(now.obs, now.available))
            total["won"] += now.battle_won
            total["return"] += now.reward
            total["length"] += running
            total["dead_allies"] = np.maximum(total["dead_allies"], now.dead_allies)
            total["dead_enemies"] = np.maximum(total["dead_enemies"], now.dead_enemies)
            running &= ~(now.terminated | now.truncated)
        batches.append(total)
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
