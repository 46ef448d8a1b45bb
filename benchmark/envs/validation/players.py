"""Who plays: policies that were trained in the real game, and near-random play (NumPy, batched).

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

from benchmark.envs.spec import Observation

_LATENTS = 16  #: of MAVEN
_HIDDEN = 64  #: of PyMARL's agents


class RecurrentPolicy:
    """A trained network.

    Args:
        arrays: the network's weights, by name.
        network: how they are used, see above.
        seed: of what is drawn.
        epsilon: probability with which an agent takes a uniformly drawn available action instead.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], network: str, seed: int = 0, epsilon: float = 0.0
    ):
        self._weights = {name.removeprefix("agent."): arrays[name] for name in arrays}
        self._network, self._epsilon = network, epsilon
        self._random = np.random.default_rng(seed)

    def begin(self, now: Observation) -> None:
        b, n_agents, n_actions = now.available.shape
        self._hidden = np.zeros((b, n_agents, self._weights["rnn.weight_hh"].shape[1]), np.float32)
        self._agents = np.broadcast_to(np.eye(n_agents, dtype=np.float32), (b, n_agents, n_agents))
        self._last = np.zeros((b, n_agents, n_actions), np.float32)
        if self._network == "maven":
            hidden = np.maximum(self._linear("z.fc_1", now.state), 0)
            latent = self._draw(self._linear("z.fc_2", hidden))
            z = np.eye(_LATENTS, dtype=np.float32)[latent]
            z = np.broadcast_to(z[:, None], (b, n_agents, _LATENTS))
            who = np.concatenate([z, self._agents], 2)
            shape = (b, n_agents, self._hidden.shape[2], n_actions)
            self._head = self._linear("hyper_w", who).reshape(shape), self._linear("hyper_b", who)

    def act(self, now: Observation) -> np.ndarray:
        sac = self._network == "sac"
        parts = [now.obs, self._agents] if sac else [now.obs, self._last, self._agents]
        first = "fc" if self._network == "maven" else "fc1"
        x = np.maximum(self._linear(first, np.concatenate(parts, 2)), 0)
        self._hidden = self._gru(x, self._hidden)
        if self._network == "maven":
            weight, bias = self._head
            values = np.einsum("bnh,bnha->bna", self._hidden, weight) + bias
        else:
            values = self._linear("fc2", self._hidden)
        values = np.where(now.available, values, -np.inf)
        actions = self._draw(values) if self._network == "rnn_soft" else values.argmax(2)
        if self._epsilon > 0:
            anything = self._draw(np.where(now.available, 0.0, -np.inf))
            explores = self._random.random(actions.shape) < self._epsilon
            actions = np.where(explores, anything, actions)
        self._last = np.eye(values.shape[2], dtype=np.float32)[actions]
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


def untrained_network(seed: int, n_inputs: int, n_actions: int) -> dict[str, np.ndarray]:
    """The weights with which PyMARL begins: what PyTorch draws for its agent after
    ``manual_seed(seed)``, float32, by its names.

    PyTorch's CPU generator is the Mersenne Twister, of which a uniform float takes the lower 24
    bits. Every layer is uniform within one over the root of its inputs.
    """
    random = np.random.RandomState(seed)
    gates = 3 * _HIDDEN
    shapes = {
        "fc1.weight": (_HIDDEN, n_inputs), "fc1.bias": (_HIDDEN,),
        "rnn.weight_ih": (gates, _HIDDEN), "rnn.weight_hh": (gates, _HIDDEN),
        "rnn.bias_ih": (gates,), "rnn.bias_hh": (gates,),
        "fc2.weight": (n_actions, _HIDDEN), "fc2.bias": (n_actions,),
    }  # fmt: skip
    weights = {}
    for name, shape in shapes.items():
        bound = (n_inputs if name.startswith("fc1") else _HIDDEN) ** -0.5
        bits = random.randint(0, 2**32, shape, np.uint32) & (2**24 - 1)
        weights[name] = (bits * (2 * bound / 2**24) - bound).astype(np.float32)
    return weights


class NearRandom(RecurrentPolicy):
    """PyMARL's agents before they learn: random actions with probability ``epsilon``, otherwise
    those of an untrained network, another in every batch of battles."""

    def __init__(self, epsilon: float = 1.0, seed: int = 0):
        super().__init__({}, "rnn", seed, epsilon)

    def begin(self, now: Observation) -> None:
        _, n_agents, n_actions = now.available.shape
        inputs = now.obs.shape[2] + n_actions + n_agents
        seed = int(self._random.integers(2**32))
        self._weights = untrained_network(seed, inputs, n_actions)
        super().begin(now)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))
