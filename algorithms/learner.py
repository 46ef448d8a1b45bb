"""The TD loop that every method shares, and the hooks by which a method differs.

One update: unroll the online and the target agents over whole episodes, mix the agents' q_values
into Q_tot, and regress on the double-Q target

    y[t] = r[t] + bonus[t] + gamma * (1 - terminal[t]) * Q_tot'(s[t+1], argmax_a Q(o[t+1], a))

where ' marks the target networks. A method sets class variables and overrides hooks, which is all
that stands above ``# The update``, and nothing else.

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
from benchmark.training.replay import Batch, Episodes, ReplayBuffer, send

#: Below every action value; masks actions that are not available.
NEVER = -1e9


class LearnerConfig(BaseModel):
    """Hyper-parameters that every method has; a method's ``Config`` adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    target_tau: float = Field(1.0, gt=0, le=1)
    """How far they move towards the online networks; 1 copies, less is Polyak averaging."""
    target_first_step: Literal[0, 1] = 0
    """First observation that the target agent's GRU reads; 1 in ACORM's and R3DM's code."""
    padding: Literal["excluded", "counted"] = "excluded"
    """Whether a method's own losses are means over real steps, or over padding too, as in most
    authors' code. The TD loss never counts padding."""
    hidden_size: int = Field(64, gt=0)
    """Width of the agent network."""


class MixerInput(NamedTuple):
    """What a mixer may read of T steps, of the online or of the target networks."""

    q_values: Tensor  #: of every action, [T, B, N, A]
    features: dict[str, Tensor]  #: what else the agents gave, by name, [T, B, N, ...]
    actions: Tensor  #: the chosen ones, [T, B, N]
    state: Tensor  #: what ``encode`` gave for the mixers, [T, B, S]
    available: Tensor  #: which actions were, [T, B, N, A] bool

    @property
    def chosen(self) -> Tensor:
        """The q_values of the chosen actions, [T, B, N]."""
        return chosen_q_values(self.q_values, self.actions)


class Online(NamedTuple):
    """What the online networks made of the sampled episodes."""

    inputs: Tensor  #: of the agents, [T + 1, B, N, D]
    state: Tensor  #: of the mixer, [T + 1, B, S]
    q_values: Tensor  #: of every action, [T + 1, B, N, A]
    features: dict[str, Tensor]  #: what else the agents gave, by name, [T + 1, B, N, ...]
    q_tot: Tensor  #: of the actions that were taken, [T, B]
    extras: dict[str, Tensor]  #: what ``prepare`` and ``mix`` gave for the losses, [T, B, ...]


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
    #: Names of the networks that have a target copy.
    TARGETS: ClassVar[tuple[str, ...]] = ("agent", "mixer")
    #: Factor on the TD loss.
    TD_WEIGHT: ClassVar[float] = 1.0
    #: Batches that one update draws: the first for the TD step, the others for
    #: ``pretrain`` and ``before_update``.
    BATCHES: ClassVar[int] = 1
    #: Names of the method's own random streams.
    STREAMS: ClassVar[tuple[str, ...]] = ()

    config: Any  #: of the method's own ``Config``
    agent_codes: Tensor  #: one-hot, [N, N]

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
        if self.device.type == "cuda":  # full precision, as on the CPU
            torch.backends.cudnn.allow_tf32 = False  # cuDNN's GRU has less otherwise,
            torch.backends.cuda.matmul.allow_tf32 = False  # and products in NVIDIA's containers
        self.updates = 0
        self.env_steps = 0  # of all training battles so far
        self.hidden_width = config.hidden_size  # of what ``act`` carries from step to step
        self._metric_sums: dict[str, Tensor] = {}
        self._metric_counts: dict[str, int] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build()
        self.targets = {
            name: copy.deepcopy(getattr(self, name)).requires_grad_(False) for name in self.TARGETS
        }
        codes = torch.cat([torch.zeros(1, spec.n_actions), torch.eye(spec.n_actions)])
        self.register_buffer("_action_codes", codes, persistent=False)  # row 0: no action yet
        self.register_buffer("agent_codes", torch.eye(spec.n_agents), persistent=False)
        self.to(self.device)
        for target in self.targets.values():
            target.to(self.device)
        self.optimizers = self.make_optimizers()
        self.seed_streams(seed)

    def seed_streams(self, seed: int) -> None:
        """Begins the method's own random streams (``STREAMS``), all spawned from the seed."""
        self.streams = {
            name: torch.Generator(self.device).manual_seed(_spawned(seed, index))
            for index, name in enumerate(self.STREAMS)
        }

    # Hooks: networks ------------------------------------------------------------------------------

    def build(self) -> None:
        """Creates the networks: at least ``self.agent`` and ``self.mixer``."""
        raise NotImplementedError

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

    # Hooks: what the networks read, and what becomes of the q_values ----------------------------

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

    def runs_on_padding(self) -> bool:
        """Whether the losses read what the networks give behind an episode's end."""
        return False

    def mix(self, mixer: nn.Module, inputs: MixerInput) -> tuple[Tensor, dict[str, Tensor]]:
        """Q_tot of the chosen actions [T, B], and by name what else the losses need, [T, B, ...].

        Args:
            mixer: the online or the target mixer.
            inputs: what it may read.
        """
        return mixer(inputs.chosen, inputs.state), {}

    # Hooks: acting --------------------------------------------------------------------------------

    @torch.inference_mode()
    def act(self, obs: Tensor, last_actions: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Action values for one step.

        Args:
            obs: [B, N, O].
            last_actions: [B, N], -1 at the start of a battle.
            hidden: before the step, [B, N, H].

        Returns:
            q_values [B, N, A] and the hidden state after the step [B, N, H].
        """
        obs, last_actions = obs.to(self.device), last_actions.to(self.device)
        q_values, hidden, _ = self.agent(self.inputs(obs[None], last_actions[None]), hidden)
        return q_values[0], hidden

    def frozen_hidden(self, before: Tensor, after: Tensor) -> Tensor:
        """The hidden state after a random step where the rule is that such steps do not count."""
        return before

    # Hooks: one update ----------------------------------------------------------------------------

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What the losses need and must be looked up on the CPU, by name, [T, B, ...].

        Args:
            batch: on the CPU.
        """
        return {}

    def pretrain(self, batch: Batch, *others: Batch) -> bool:
        """One update before the first TD step; whether there was one left to do."""
        return False

    def before_update(self, batch: Batch, *others: Batch) -> None:
        """Trains whatever must be ready before the TD step, e.g. a model of the dynamics."""

    def online(self, batch: Batch) -> Online:
        """Runs the online agents and mixer over whole episodes."""
        inputs, state = self.encode(batch)
        q_values, _, features = self.agent(inputs, mask=self.network_mask(batch))
        before = {name: feature[:-1] for name, feature in features.items()}
        mixer_input = MixerInput(
            q_values[:-1], before, batch.actions, state[:-1], batch.available[:-1]
        )
        return Online(inputs, state, q_values, features, *self.mix(self.mixer, mixer_input))

    def intrinsic_reward(self, batch: Batch, online: Online) -> Tensor | float:
        """Bonus on the team's reward, [T, B]; computed without gradient."""
        return 0.0

    def auxiliary_losses(self, batch: Batch, online: Online) -> dict[str, Tensor]:
        """Losses that are added to the TD loss, by the name under which they are logged."""
        return {}

    def after_update(self) -> None:
        """What follows the TD step, e.g. a Polyak update of a network's average."""

    # Hooks: around the updates --------------------------------------------------------------------

    def on_collect(self, episodes: Episodes, env_steps: int) -> None:
        """Takes note of a round of battles, before the updates that follow it.

        Args:
            episodes: the battles.
            env_steps: of all training battles so far, these included.
        """
        self.env_steps = env_steps

    def after_round(self, replay: ReplayBuffer) -> None:
        """What follows the updates of a round of battles, e.g. a change of structure."""

    # Hooks: checkpoints ---------------------------------------------------------------------------

    def training_state(self) -> dict:
        """Everything that the next update depends on, for a checkpoint."""
        return {
            "networks": self.state_dict(),
            "targets": {name: network.state_dict() for name, network in self.targets.items()},
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
            "streams": {name: one.get_state() for name, one in self.streams.items()},
            "updates": self.updates,
        }

    def load_training_state(self, state: dict) -> None:
        """Continues from ``training_state()``."""
        self.load_state_dict(state["networks"])
        for name, network in self.targets.items():
            network.load_state_dict(state["targets"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, position in state["streams"].items():
            self.streams[name].set_state(position.cpu())
        self.updates = state["updates"]

    # The update -----------------------------------------------------------------------------------

    def update(self, batch: Batch, *others: Batch) -> None:
        """One gradient step on a batch of episodes, and the targets' move when it is due.

        Args:
            batch: of the TD step.
            others: ``BATCHES - 1`` more, for ``pretrain`` and ``before_update``.
        """
        looked_up = {name: send(found, self.device) for name, found in self.prepare(batch).items()}
        batch, *others = (one.to(self.device) for one in (batch, *others))
        if self.pretrain(batch, *others):
            return
        self.before_update(batch, *others)
        online = self.online(batch)
        online.extras.update(looked_up)
        # dict() refuses an auxiliary loss that takes the TD loss's name
        losses = dict(td=self.td_loss(batch, online), **self.auxiliary_losses(batch, online))
        self.optimizer_step(sum(losses.values()))
        self.updates += 1
        if self.updates % self.config.target_interval == 0:
            self.move_targets(self.config.target_tau)
        self.after_update()
        self.log(**losses, q_tot=masked_mean(online.q_tot, batch.mask))

    def td_loss(self, batch: Batch, online: Online) -> Tensor:
        """Mean squared TD error over real steps, weighted."""
        error = online.q_tot - self.td_targets(batch, online)
        return self.TD_WEIGHT * masked_mean(error.square(), batch.mask)

    @torch.no_grad()
    def td_targets(self, batch: Batch, online: Online) -> Tensor:
        """The double-Q targets y, [T, B]: one-step, or TD(lambda)."""
        config, first = self.config, self.config.target_first_step
        mask, available = self.network_mask(batch)[first:], batch.available[1:]
        q_values, _, features = self.targets["agent"](online.inputs[first:], mask=mask)
        greedy = online.q_values[1:].masked_fill(~available, NEVER).argmax(-1)  # [T, B, N]
        after = {name: feature[1 - first :] for name, feature in features.items()}
        mixer_input = MixerInput(q_values[1 - first :], after, greedy, online.state[1:], available)
        q_tot, _ = self.mix(self.targets["mixer"], mixer_input)
        reward = batch.reward + self.intrinsic_reward(batch, online)
        future = config.gamma * (~self.terminal(batch)) * q_tot
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

    def optimizer_step(self, loss: Tensor) -> None:
        """One step of the TD optimisers, each group's gradient clipped on its own."""
        groups = self.parameter_groups()
        for name in groups:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name, parameters in groups.items():
            norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
            self.log(**{f"gradient_norm_{name}": norm})
            self.optimizers[name].step()

    def move_targets(self, tau: float = 1.0) -> None:
        """Moves every target network towards its online network."""
        for name, target in self.targets.items():
            polyak_update(target, getattr(self, name), tau)

    # What hooks use -------------------------------------------------------------------------------

    def initial_hidden(self, n_envs: int) -> Tensor:
        """The agents' hidden state at the start of battles, [B, N, H]."""
        return torch.zeros(n_envs, self.spec.n_agents, self.hidden_width, device=self.device)

    def network_mask(self, batch: Batch) -> Tensor:
        """The steps that the networks run over, [T + 1, B] bool on the CPU."""
        mask = batch.obs_mask_cpu
        return torch.ones_like(mask) if self.runs_on_padding() else mask

    def step_mean(self, values: Tensor, mask: Tensor) -> Tensor:
        """Mean over steps, both [T, B]; what padding counts is ``Config.padding``."""
        return masked_mean(values, mask) if self.config.padding == "excluded" else values.mean()

    def one_hot(self, actions: Tensor) -> Tensor:
        """Actions [...] one-hot, [..., A]; zeros for -1, no action yet."""
        return self._action_codes[actions + 1]

    def log(self, **metrics: Tensor) -> None:
        """Adds to running means of losses and other metrics; they stay on the device until read.

        Every evaluation reads them: into the run's ``train.log``, and TensorBoard or wandb
        (``benchmark/training/progress.py``).
        """
        for name, value in metrics.items():
            self._metric_sums[name] = self._metric_sums.get(name, 0) + value.detach()
            self._metric_counts[name] = self._metric_counts.get(name, 0) + 1

    def read_metrics(self) -> dict[str, float]:
        """The means of the logged metrics since the last reading."""
        counts, sums = self._metric_counts, self._metric_sums
        # One tensor, so that a GPU is waited for once.
        totals = torch.stack([total.double() for total in sums.values()]).tolist() if sums else []
        means = {name: total / counts[name] for name, total in zip(sums, totals, strict=True)}
        self._metric_sums, self._metric_counts = {}, {}
        return means

    def policy_state(self) -> dict[str, Tensor]:
        """A copy of the weights, to act with them later."""
        return {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}

    def load_policy_state(self, state: dict[str, Tensor]) -> None:
        """Acts with what ``policy_state()`` gave; networks that it leaves out stay as they are.

        Raises:
            RuntimeError: it is of other networks.
        """
        if lacking := self.policy_state().keys() - state.keys():
            raise RuntimeError(f"{min(lacking)} is missing")
        self.load_state_dict(self.state_dict() | state)


@torch.no_grad()
def polyak_update(average: nn.Module, online: nn.Module, tau: float) -> None:
    """average <- (1 - tau) average + tau online, weight by weight."""
    if tau == 1:
        average.load_state_dict(online.state_dict())
        return
    pairs = zip(average.parameters(), online.parameters(), strict=True)
    averages, onlines = map(list, zip(*pairs, strict=True))
    torch._foreach_lerp_(averages, onlines, tau)


def _spawned(seed: int, index: int) -> int:
    """The seed of a method's ``index``-th random stream."""
    words = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))  # torch takes 63 bits


def chosen_q_values(q_values: Tensor, actions: Tensor) -> Tensor:
    """The q_values [T, B, N, A] of the chosen actions [T, B, N]; [T, B, N]."""
    return q_values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` holds; both [T, B]."""
    return torch.where(mask, values, 0).sum() / mask.sum()
