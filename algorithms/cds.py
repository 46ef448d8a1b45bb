"""CDS (Li et al., NeurIPS 2021): celebrating diversity in shared multi-agent learning, on QPLEX.

Agents share a network but for a head of their own, which a penalty keeps small. The reward has a
bonus for the mutual information between an agent's identity and its trajectory: for acting unlike
the average agent, and for observations that are easier to predict for a model that reads the
agent's number. Two predictors of the next observation, with and without that number, are trained
along the way; the bonus is computed with target copies of them.

    Q_i(h, .) = shared(h) + local_i(h)
    K_i = KL( softmax(beta1 Q_i) || mean_j softmax(Q_j) )                              over actions
    O_i = beta1 log q(o_i' | h_i, o_i, a_i, i) - log p(o_i' | h_i, o_i, a_i)
    bonus = beta mean_i (O_i + beta2 K_i)
    L = TD with the bonus + attention penalty + 0.1 mean |local_i(h)|

q and p are Gaussians of variance 1/2, so log q is minus the squared prediction error. With beta1
above 1 the bonus is mostly minus that error: a price on observations that are hard to predict,
larger where observations are. That is the published method, in both protocols.

``unified`` takes beta, beta1, beta2 from CDS's own repository for the map; for maps that it lacks
but R3DM's authors ran (27m_vs_30m, SMACv2), theirs, which are 6h_vs_8z's; elsewhere 5m_vs_6m's.
``released`` is the authors' run: two updates per episode from the hundredth on; penalties averaged
over padding, where the agents read one more action, chosen after the end (``final_action``); and
padding among the rows of the predictors' minibatches (which weighs nothing there, but makes more
and smaller minibatches). In both we keep an empty minibatch from dividing by zero.

Shapes as in learner.py, and P transitions of single agents, H width of their hidden states.
"""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from algorithms import kernels
from algorithms.grouped import GroupedLinear
from algorithms.learner import Online
from algorithms.networks import RecurrentAgent
from algorithms.qplex import QPLEX
from benchmark.training.protocol import PYMARL
from benchmark.training.replay import Batch, send


class SharedAndLocalAgent(RecurrentAgent):
    """The shared network with an additional head for each agent.

    Its features are the "local" heads' part of the q_values, and the "hidden" states without
    gradient.
    """

    def __init__(self, input_size: int, hidden_size: int, n_actions: int, n_agents: int) -> None:
        super().__init__(input_size, hidden_size, n_actions)
        self.local = GroupedLinear(n_agents, hidden_size, n_actions)

    def read(self, hidden: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        local = self.local(hidden.transpose(0, 1)).transpose(0, 1)
        return self.head(hidden) + local, {"local": local, "hidden": hidden.detach()}


class Transitions(NamedTuple):
    """What the predictors learn from: P rows, one per agent and step."""

    before: Tensor  #: hidden state before the step, observation, action: [P, H + O + A]
    agent: Tensor  #: who it is, one-hot [P, N]
    after: Tensor  #: the next observation, [P, O]
    weight: Tensor  #: 1, or 0 for padding, [P]


class ObservationPredictors(nn.Module):
    """Two predictors of an agent's next observation; only the second reads which agent it is.

    Both hidden layers read the agent's one-hot number, which the first predictor sees as zeros.

    Args:
        input_size: H + O + A.
        n_agents: N.
        hidden_size: width of the hidden layers.
        obs_size: O.
    """

    def __init__(self, input_size: int, n_agents: int, hidden_size: int, obs_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.first = GroupedLinear(2, input_size + n_agents, hidden_size)
        self.second = GroupedLinear(2, hidden_size + n_agents, hidden_size)
        self.last = GroupedLinear(2, hidden_size, obs_size)
        for layer in self.children():
            unread = n_agents if layer is not self.last else 0
            read = layer.weight.data[0, : layer.weight.shape[1] - unread]
            nn.init.xavier_uniform_(read)
            nn.init.xavier_uniform_(layer.weight.data[1])
            nn.init.zeros_(layer.bias)

    def squared_errors(self, part: Transitions) -> Tensor:
        """Of the two predictions, summed over the observation's features, [2, P]."""
        return self._run(part)[-1].square().sum(-1)

    @torch.no_grad()
    def set_gradients(self, part: Transitions, largest: float) -> Tensor:
        """Sets the parameters' gradients of the mean squared errors.

        They are written out: on minibatches this small autograd takes longer than the products.

        Args:
            part: a minibatch.
            largest: norm to which the gradient of each predictor is clipped.

        Returns:
            the mean squared errors, [2].
        """
        *inputs, error = self._run(part)
        weight = part.weight / part.weight.sum().clamp(min=1)
        losses = error.square().sum(-1) @ weight
        layers, gradient = (self.first, self.second, self.last), 2 * error * weight.unsqueeze(-1)
        for layer, read in zip(reversed(layers), reversed(inputs), strict=True):
            layer.weight.grad = torch.bmm(read.transpose(1, 2), gradient)
            layer.bias.grad = gradient.sum(1)
            if layer is not self.first:  # back through what the layer reads of a hidden layer
                weight_of_hidden = layer.weight[:, : self.hidden_size].transpose(1, 2)
                active = read[..., : self.hidden_size].sign()
                gradient = torch.bmm(gradient, weight_of_hidden).mul_(active)
        gradients = [parameter.grad.flatten(1) for parameter in self.parameters()]
        norm = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)  # [2]
        scale = (largest / (norm + 1e-6)).clamp(max=1).unsqueeze(1)
        for gradient in gradients:
            gradient.mul_(scale)
        return losses

    def _run(self, part: Transitions) -> tuple[Tensor, ...]:
        """What each layer reads, [2, P, ...], and the error of the prediction, [2, P, O]."""
        agent = torch.stack([torch.zeros_like(part.agent), part.agent])
        inputs = torch.cat([part.before.expand(2, -1, -1), agent], dim=-1)
        first = torch.cat([self.first(inputs).relu(), agent], dim=-1)
        second = self.second(first).relu()
        return inputs, first, second, self.last(second) - part.after


class CDS(QPLEX):
    """QPLEX with local heads, the diversity bonus, and the predictors behind it."""

    class Config(QPLEX.Config):
        """Hyper-parameters of CDS; defaults are its repository's for 5m_vs_6m."""

        beta: float = Field(0.01, ge=0)
        """Coefficient of the bonus."""
        beta1: float = Field(2.0, gt=0)
        """Sharpness of an agent's policy, and weight of the predictor with the agent's number."""
        beta2: float = Field(1.0, ge=0)
        """Weight of diverse actions against diverse observations."""
        anneal_rate: float = Field(0.0, ge=0)
        """After a million env steps the bonus falls by this fraction per million; 0 never."""
        local_penalty: float = Field(0.1, ge=0)
        """Coefficient of the local heads' absolute values."""
        predictor_size: int = Field(128, gt=0)
        """Width of the predictors' hidden layers."""
        predictor_batch: int = Field(256, gt=0)
        """Rows per step of the predictors, which go once through all rows in every update."""
        predictor_learning_rate: float = Field(1e-3, gt=0)
        """Adam's rate for the predictors."""
        predictor_clip: float = Field(1.0, gt=0)
        """Largest gradient norm per predictor."""

    #: The harness of PyMARL, and padding counted in means as in all methods on QPLEX.
    RELEASED: ClassVar[dict[str, Any]] = (
        PYMARL
        | QPLEX.RELEASED
        | {"updates_per_episode": 2, "burn_in_episodes": 100, "final_action": "stored"}
    )
    MAP_HYPERPARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {
        "MMM2": {"beta": 0.07},
        "3s5z_vs_3s6z": {"beta": 0.03},
        "corridor": {"beta": 0.1, "beta1": 0.5, "beta2": 0.5, "anneal_rate": 5.0},
        "6h_vs_8z": {"beta": 0.1},
        "27m_vs_30m": {"beta": 0.1},
        "protoss_5_vs_5": {"beta": 0.1},
        "terran_5_vs_5": {"beta": 0.1},
        "zerg_5_vs_5": {"beta": 0.1},
        "protoss_10_vs_11": {"beta": 0.1},
        "terran_10_vs_11": {"beta": 0.1},
        "zerg_10_vs_11": {"beta": 0.1},
    }
    TARGETS: ClassVar[tuple[str, ...]] = (*QPLEX.TARGETS, "predictors")
    STREAMS: ClassVar[tuple[str, ...]] = ("minibatches",)

    def build(self) -> None:
        super().build()
        spec, config = self.spec, self.config
        inputs = config.hidden_size + spec.obs_size + spec.n_actions
        self.predictors = ObservationPredictors(
            inputs, spec.n_agents, config.predictor_size, spec.obs_size
        )

    def build_agent(self) -> SharedAndLocalAgent:
        spec = self.spec
        return SharedAndLocalAgent(
            spec.obs_size + spec.n_actions, self.config.hidden_size, spec.n_actions, spec.n_agents
        )

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = self.config.predictor_learning_rate
        return super().make_optimizers() | {
            "predictors": torch.optim.Adam(
                self.predictors.parameters(), lr=rate, fused=not kernels.serve(self.device)
            )
        }

    def load_training_state(self, state: dict) -> None:
        # Adam would take its kind from the checkpoint, which may come from another device.
        for group in state["optimizers"]["predictors"]["param_groups"]:
            group["fused"] = not kernels.serve(self.device)
        super().load_training_state(state)

    def inputs(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """Observation and last action; the local heads differ by agent."""
        return torch.cat([obs, self.one_hot(last_actions)], dim=-1)

    def runs_on_padding(self) -> bool:
        return self.config.padding == "counted"

    # Diversity ------------------------------------------------------------------------------------

    def intrinsic_reward(self, batch: Batch, online: Online) -> Tensor:
        config = self.config
        without_agent, with_agent = self.prediction_errors(batch, online)
        diversity = without_agent - config.beta1 * with_agent
        diversity += config.beta2 * self.action_diversity(online.q_values[:-1])
        return self.bonus_scale() * diversity.mean(-1)

    def action_diversity(self, q_values: Tensor) -> Tensor:
        """K_i of all actions, available or not: [T, B, N, A] -> [T, B, N]."""
        own = (self.config.beta1 * q_values).log_softmax(-1)
        average = q_values.log_softmax(-1).logsumexp(-2, keepdim=True)
        average = average - math.log(q_values.shape[-2])
        return (own.exp() * (own - average)).sum(-1)

    def bonus_scale(self) -> float:
        """beta, annealed."""
        millions = max(0.0, self.env_steps / 1e6 - 1)
        return self.config.beta * max(0.0, 1 - self.config.anneal_rate * millions)

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        local = online.features["local"].abs().mean((-1, -2))
        mask = send(batch.obs_mask_cpu, self.device)
        penalty = self.config.local_penalty * self.step_mean(local, mask)
        return super().auxiliary_losses(batch, online) | {"local": penalty}

    # Predictors -----------------------------------------------------------------------------------

    def prediction_errors(self, batch: Batch, online: Online) -> Tensor:
        """Squared errors of the target predictors, [2, T, B, N]; meanwhile the predictors learn.

        All transitions pass once, in random order and in minibatches.
        """
        rows = self.shuffled_rows(batch)
        transitions = self.transitions(batch, online, rows)
        epoch = self._fused_epoch if kernels.serve(self.device) else self._epoch
        errors, (without_agent, with_agent) = epoch(transitions)
        self.log(predictor_without_agent=without_agent, predictor_with_agent=with_agent)
        of_all = errors.new_zeros(2, batch.actions.numel())
        of_all[:, rows] = errors
        return of_all.view(2, *batch.actions.shape)

    def _epoch(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """The target predictors' squared errors [2, P], and the predictors' mean ones [2]."""
        fields = [field.split(self.config.predictor_batch) for field in transitions]
        errors, losses = [], []
        for part in map(Transitions, *fields):
            errors.append(self.targets["predictors"].squared_errors(part))
            losses.append(self.fit_predictors(part))
        return torch.cat(errors, dim=-1), torch.stack(losses).mean(0)

    def _fused_epoch(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """The same with kernels for the minibatches."""
        from algorithms.kernels.predictor_epoch import predictor_epoch

        losses = predictor_epoch(
            list(self.predictors.parameters()),
            self.optimizers["predictors"],
            torch.cat([transitions.before, transitions.agent], dim=-1),
            transitions.after,
            transitions.weight,
            self.spec.n_agents,
            self.config.predictor_batch,
            self.config.predictor_clip,
        )
        return self.targets["predictors"].squared_errors(transitions), losses.mean(0)

    def shuffled_rows(self, batch: Batch) -> Tensor:
        """The rows of the flattened [T, B, N] that make minibatches, in random order.

        Where padding counts it is among them; its weight is 0.
        """
        if self.config.padding == "counted":
            rows = torch.arange(batch.actions.numel(), device=self.device)
        else:
            agents = torch.arange(self.spec.n_agents, device=self.device)
            rows = (batch.mask_index.unsqueeze(-1) * self.spec.n_agents + agents).flatten()
        order = torch.randperm(len(rows), generator=self.streams["minibatches"], device=self.device)
        return rows[order]

    def transitions(self, batch: Batch, online: Online, rows: Tensor) -> Transitions:
        """The agents' parts in the steps of the batch, by row of the flattened [T, B, N]."""
        hidden = online.features["hidden"]
        before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-2]])
        action = self.one_hot(batch.actions.flatten()[rows])
        now, after = (obs.flatten(0, 2)[rows] for obs in (batch.obs[:-1], batch.obs[1:]))
        inputs = torch.cat([before.flatten(0, 2)[rows], now, action], dim=-1)
        agent = self.agent_codes[rows % self.spec.n_agents]
        weight = batch.mask.flatten()[rows // self.spec.n_agents].float()
        return Transitions(inputs, agent, after, weight)

    def fit_predictors(self, part: Transitions) -> Tensor:
        """One step of both predictors; gives their mean squared errors before it, [2]."""
        losses = self.predictors.set_gradients(part, self.config.predictor_clip)
        self.optimizers["predictors"].step()
        return losses
