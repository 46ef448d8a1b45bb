"""The TD loop that every method shares, and the hooks by which a method differs.

One update: unroll the online and the target agents over whole episodes, mix the agents' values into
the team's, and regress on the double-Q target

    y[t] = r[t] + bonus[t] + gamma * (1 - terminal[t]) * Q_tot'(s[t+1], argmax_a Q(o[t+1], a))

where ' marks the target networks. A method overrides hooks, which is all that stands above
``# The update``, and nothing else.

Shapes: T steps of the longest episode of the batch, B episodes, N agents, A actions, O observation
features, S state features, D agent inputs. Batches are time-major: [T, B, ...].
"""

import copy
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from algorithms.returns import lambda_returns
from benchmark.envs.spec import EnvSpec
from benchmark.training.protocol import Training
from benchmark.training.replay import Batch, Episodes, ReplayBuffer

#: Below every action value; masks actions that are not available.
NEVER = -1e9


class LearnerConfig(BaseModel):
    """Hyper-parameters that every method has; a method's ``Config`` adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gamma: float = Field(0.99, gt=0, le=1)
    """Discount per env step."""
    td_lambda: float = Field(0.0, ge=0, le=1)
    """Weight of longer returns in the targets, TD(lambda); 0 is the one-step target."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop as in PyMARL (smoothing 0.99), or Adam with torch's defaults."""
    learning_rate: float = Field(5e-4, gt=0)
    """Constant step size."""
    rmsprop_eps: float = Field(1e-5, gt=0)
    """Added to RMSprop's denominator."""
    gradient_clip: float = Field(10.0, gt=0)
    """Largest global gradient norm per optimiser."""
    target_interval: int = Field(200, gt=0)
    """Updates between moves of the target networks."""
    target_rate: float = Field(1.0, gt=0, le=1)
    """How far they move towards the online networks; 1 copies, less is Polyak averaging."""
    target_first_step: Literal[0, 1] = 0
    """First observation that the target agent's memory sees; 1 in ACORM's and R3DM's code."""
    hidden_size: int = Field(64, gt=0)
    """Width of the agent network."""


class Online(NamedTuple):
    """What the online networks made of the sampled episodes."""

    inputs: Tensor  #: of the agents, [T + 1, B, N, D]
    state: Tensor  #: of the mixer, [T + 1, B, S]
    values: Tensor  #: of every action, [T + 1, B, N, A]
    features: list[Tensor]  #: whatever else the agents gave, [T + 1, B, N, ...] each
    team: Tensor  #: Q_tot of the actions that were taken, [T, B]
    extras: list[Tensor]  #: whatever else the losses need of the mixer, [T, B, ...] each


class Learner(nn.Module):
    """Acts and learns; subclasses are the methods.

    Args:
        spec: sizes of the map.
        config: the method's hyper-parameters.
        rules: the protocol's rules.
        seed: of the initial weights and of whatever else the method draws.
        device: where the networks live.
    """

    Config: ClassVar[type[LearnerConfig]] = LearnerConfig
    #: Hyper-parameters and rules that differ in the authors' own runs.
    RELEASED: ClassVar[dict[str, Any]] = {}
    #: map -> hyper-parameters of the method's paper for that map.
    MAP_HYPERPARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {}
    #: map -> hyper-parameters that differ in the authors' own runs on that map.
    RELEASED_MAPS: ClassVar[dict[str, dict[str, Any]]] = {}
    #: Batches that one update draws: the first for the TD step, the others for ``before_update``.
    BATCHES: ClassVar[int] = 1
    #: Names of the method's own random streams.
    STREAMS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        spec: EnvSpec,
        config: LearnerConfig,
        rules: Training,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.spec, self.config, self.rules = spec, config, rules
        self.device = torch.device(device)
        if self.device.type == "cuda":  # full precision, as on the CPU; cuDNN's GRU has less
            torch.backends.cudnn.allow_tf32 = False
        self.updates = 0
        self.env_steps = 0  # of all training battles so far
        self._metric_sums: dict[str, Tensor] = {}
        self._metric_counts: dict[str, int] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build()
        self.targets = {
            name: copy.deepcopy(network).requires_grad_(False)
            for name, network in self.target_networks().items()
        }
        codes = torch.cat([torch.zeros(1, spec.n_actions), torch.eye(spec.n_actions)])
        self.register_buffer("_action_codes", codes, persistent=False)  # row 0: no action yet
        self.register_buffer("agent_codes", torch.eye(spec.n_agents), persistent=False)
        self.to(self.device)
        for target in self.targets.values():
            target.to(self.device)
        self.optimizers = self.make_optimizers()
        self.streams = {
            name: torch.Generator(self.device).manual_seed(_spawned(seed, index))
            for index, name in enumerate(self.STREAMS)
        }

    # Hooks: networks ------------------------------------------------------------------------------

    def build(self) -> None:
        """Creates the networks: at least ``self.agent`` and ``self.mixer``."""
        raise NotImplementedError

    def target_networks(self) -> dict[str, nn.Module]:
        """The networks that have a slowly following target copy, by name."""
        return {"agent": self.agent, "mixer": self.mixer}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each optimiser of the TD step; each group is clipped on its own."""
        return {"td": [*self.agent.parameters(), *self.mixer.parameters()]}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One optimiser per parameter group; a method adds those of its further losses."""
        config = self.config
        common = {"lr": config.learning_rate, "foreach": True}
        if config.optimizer == "adam":
            make = partial(torch.optim.Adam, **common)
        else:
            make = partial(torch.optim.RMSprop, **common, alpha=0.99, eps=config.rmsprop_eps)
        return {name: make(parameters) for name, parameters in self.parameter_groups().items()}

    # Hooks: what the networks read, and what becomes of the agents' values ------------------------

    def inputs(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """What the agent network reads: observation, last action, own number.

        Args:
            obs: [T, B, N, O].
            last_actions: [T, B, N], -1 where there was none.

        Returns:
            [T, B, N, D].
        """
        agents = self.agent_codes.expand(*obs.shape[:-1], -1)
        return torch.cat([obs, self.one_hot(last_actions), agents], dim=-1)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the networks read over whole episodes.

        Returns:
            the inputs of the agents [T + 1, B, N, D] and of the mixers [T + 1, B, S].
        """
        return self.inputs(batch.obs, batch.last_actions), batch.state

    def observed(self, batch: Batch) -> Tensor:
        """Where the agents' values are needed, [T + 1, B] bool on the CPU: not on padding."""
        return batch.obs_mask_cpu

    def mix(
        self,
        mixer: nn.Module,
        values: Tensor,
        features: list[Tensor],
        actions: Tensor,
        state: Tensor,
        available: Tensor,
    ) -> tuple[Tensor, ...]:
        """The team's value of the chosen actions.

        Args:
            mixer: the online or the target mixer.
            values: of every action, [T, B, N, A].
            features: whatever else the agents gave, [T, B, N, ...] each.
            actions: the chosen ones, [T, B, N].
            state: what ``encode`` gave for the mixers, [T, B, S].
            available: the actions that are, [T, B, N, A] bool.

        Returns:
            Q_tot [T, B], and whatever else of the mixer the losses need.
        """
        return (mixer(chosen_values(values, actions), state),)

    # Hooks: acting --------------------------------------------------------------------------------

    def initial_hidden(self, battles: int) -> Tensor:
        """The agents' memory at the start of ``battles`` battles, [B, N, H]."""
        size = self.config.hidden_size
        return torch.zeros(battles, self.spec.n_agents, size, device=self.device)

    @torch.inference_mode()
    def act(self, obs: Tensor, last_actions: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Action values for one step.

        Args:
            obs: [B, N, O].
            last_actions: [B, N], -1 at the start of a battle.
            hidden: [B, N, H].

        Returns:
            values [B, N, A] and the memory after the step [B, N, H].
        """
        obs, last_actions = obs.to(self.device), last_actions.to(self.device)
        values, hidden, *_ = self.agent(self.inputs(obs[None], last_actions[None]), hidden)
        return values[0], hidden

    def frozen_hidden(self, before: Tensor, after: Tensor) -> Tensor:
        """The memory after a random step under the rule that such steps do not advance it."""
        return before

    # Hooks: one update ----------------------------------------------------------------------------

    def prepare(self, batch: Batch) -> None:
        """Looks up what the update needs while the batch is still on the CPU."""

    def pretrain(self, batch: Batch, *others: Batch) -> bool:
        """One update before the first TD step; whether there was one left to do."""
        return False

    def before_update(self, batch: Batch, *others: Batch) -> None:
        """Trains whatever must be ready before the TD step, e.g. a model of the dynamics."""

    def online(self, batch: Batch) -> Online:
        """Runs the online agents and mixer over whole episodes."""
        inputs, state = self.encode(batch)
        values, _, *features = self.agent(inputs, mask=self.observed(batch))
        before = [each[:-1] for each in features]
        team, *extras = self.mix(
            self.mixer, values[:-1], before, batch.actions, state[:-1], batch.available[:-1]
        )
        return Online(inputs, state, values, features, team, extras)

    def intrinsic_reward(self, batch: Batch, online: Online) -> Tensor | float:
        """Bonus on the team's reward, [T, B]; computed without gradient."""
        return 0.0

    def td_loss(self, error: Tensor, batch: Batch) -> Tensor:
        """The loss of the TD errors [T, B]."""
        return masked_mean(error.square(), batch.mask)

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        """Losses that are added to the TD loss, by the name under which they are logged."""
        return {}

    def move_targets(self) -> None:
        """Moves every target network towards its online network."""
        for name, network in self.target_networks().items():
            follow(self.targets[name], network, self.config.target_rate)

    def after_update(self) -> None:
        """What follows the TD step, e.g. a slowly moving copy of a network."""

    # Hooks: around the updates --------------------------------------------------------------------

    def on_collect(self, episodes: Episodes, env_steps: int) -> None:
        """Takes note of a round of battles, before the updates that it pays for.

        Args:
            episodes: the battles.
            env_steps: of all training battles so far, these included.
        """
        self.env_steps = env_steps

    def after_round(self, replay: ReplayBuffer) -> None:
        """What follows the updates of a round of battles, e.g. a change of structure."""

    # Hooks: checkpoints and measurements ----------------------------------------------------------

    def training_state(self) -> dict:
        """Everything that the next update depends on, for a checkpoint."""
        return {
            "networks": self.state_dict(),
            "targets": {name: network.state_dict() for name, network in self.targets.items()},
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
            "streams": {name: each.get_state() for name, each in self.streams.items()},
            "updates": self.updates,
        }

    def load_training_state(self, state: dict) -> None:
        """Continues from ``training_state()``."""
        self.load_state_dict(state["networks"])
        for name, network in self.targets.items():
            network.load_state_dict(state["targets"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, stream in self.streams.items():
            stream.set_state(state["streams"][name].cpu())
        self.updates = state["updates"]

    def skip_pretraining(self) -> None:
        """Lets the next update be one of those that follow pre-training; for measurements."""

    def rehearse_round(self, replay: ReplayBuffer) -> None:
        """Takes as much memory as ``after_round`` ever does, to no effect; for measurements."""

    # The update -----------------------------------------------------------------------------------

    def update(self, batch: Batch, *others: Batch) -> None:
        """One gradient step on a batch of episodes, and the targets' move when it is due.

        Args:
            batch: of the TD step.
            others: ``BATCHES - 1`` more, for ``pretrain`` and ``before_update``.
        """
        self.prepare(batch)
        batch, *others = (each.to(self.device) for each in (batch, *others))
        if self.pretrain(batch, *others):
            return
        self.before_update(batch, *others)
        online = self.online(batch)
        error = online.team - self.td_targets(batch, online)
        losses = {"td": self.td_loss(error, batch)} | self.auxiliary_losses(batch, online)
        self.descend(sum(losses.values()))
        self.updates += 1
        if self.updates % self.config.target_interval == 0:
            self.move_targets()
        self.after_update()
        self.log(**losses, q_total=masked_mean(online.team, batch.mask))

    @torch.no_grad()
    def td_targets(self, batch: Batch, online: Online) -> Tensor:
        """The double-Q targets y, [T, B]: one-step, or TD(lambda)."""
        config, first = self.config, self.config.target_first_step
        observed, available = self.observed(batch)[first:], batch.available[1:]
        values, _, *features = self.targets["agent"](online.inputs[first:], mask=observed)
        greedy = online.values[1:].masked_fill(~available, NEVER).argmax(-1)  # [T, B, N]
        after = [each[1 - first :] for each in (values, *features)]
        team, *_ = self.mix(
            self.targets["mixer"], after[0], after[1:], greedy, online.state[1:], available
        )
        reward = batch.reward + self.intrinsic_reward(batch, online)
        future = config.gamma * (~self.terminal(batch)) * team
        if config.td_lambda == 0:
            return reward + future
        return lambda_returns(reward, future, batch.mask, config.gamma, config.td_lambda)

    def terminal(self, batch: Batch) -> Tensor:
        """Where the value of the next state is zero, [T, B] bool."""
        if self.rules.truncation == "terminal":
            return batch.terminated | batch.truncated
        # The released code takes every end at the limit for a time-out, a late victory too.
        limit = self.spec.episode_limit
        terminal = batch.terminated.clone()
        terminal[limit - 1 :] = False
        return terminal

    def descend(self, loss: Tensor) -> None:
        """The TD step down ``loss``, each group's gradient clipped on its own."""
        groups = self.parameter_groups()
        for name in groups:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name, parameters in groups.items():
            norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
            self.log(**{f"gradient_norm_{name}": norm})
            self.optimizers[name].step()

    # Bookkeeping ----------------------------------------------------------------------------------

    def one_hot(self, actions: Tensor) -> Tensor:
        """Actions [...] one-hot, [..., A]; zeros for -1, no action yet."""
        return self._action_codes[actions + 1]

    def log(self, **metrics: Tensor) -> None:
        """Adds to the running means; the values stay on the device until they are read."""
        for name, value in metrics.items():
            self._metric_sums[name] = self._metric_sums.get(name, 0) + value.detach()
            self._metric_counts[name] = self._metric_counts.get(name, 0) + 1

    def read_metrics(self) -> dict[str, float]:
        """The means of the logged metrics since the last reading."""
        counts = self._metric_counts
        means = {name: float(total) / counts[name] for name, total in self._metric_sums.items()}
        self._metric_sums, self._metric_counts = {}, {}
        return means

    def policy_state(self) -> dict[str, Tensor]:
        """A copy of all weights, to act with them later."""
        return {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}


@torch.no_grad()
def follow(follower: nn.Module, leader: nn.Module, rate: float) -> None:
    """Moves the weights of ``follower`` by ``rate`` of the way to those of ``leader``."""
    if rate == 1:
        follower.load_state_dict(leader.state_dict())
        return
    weights = zip(follower.parameters(), leader.parameters(), strict=True)
    followers, leaders = map(list, zip(*weights, strict=True))
    torch._foreach_lerp_(followers, leaders, rate)


def _spawned(seed: int, index: int) -> int:
    """The seed of a method's ``index``-th random stream."""
    words = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))  # torch takes 63 bits


def chosen_values(values: Tensor, actions: Tensor) -> Tensor:
    """The values [T, B, N, A] of the chosen actions [T, B, N]; [T, B, N]."""
    return values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` holds; both [T, B]."""
    return torch.where(mask, values, 0).sum() / mask.sum()
