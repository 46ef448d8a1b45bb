"""The rules of the benchmark: everything that is the same for every algorithm, in one place.

Two protocols. ``unified`` is a fair ranking: one way to collect, replay, explore and evaluate for
all methods. ``released`` is how the authors of a method ran it, quirks included, to ask whether
published numbers come back. ``Training`` explains every rule, ``RULES`` gives its value in both
protocols, ``MAP_RULES`` the exceptions of single maps; an algorithm adds its own released rules in
its ``RELEASED`` table, with its hyper-parameters.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ProtocolName = Literal["unified", "released"]


class Training(BaseModel):
    """How a run collects, replays, explores and evaluates."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Collecting and learning

    budget: int = Field(gt=0)
    """Env steps of training; every step of every training battle counts."""
    n_envs: int = Field(gt=0)
    """Battles that are collected in parallel, from start to end, before the updates that follow."""
    updates_per_episode: float = Field(gt=0)
    """Learner updates per collected episode, so that ``n_envs`` never changes the update ratio."""
    replay_episodes: int = Field(gt=0)
    """Episodes that the replay buffer holds; the oldest goes first."""
    batch_size: int = Field(gt=0)
    """Episodes per update, drawn uniformly without replacement; updates wait for as many."""
    burn_in_episodes: int = Field(ge=0)
    """Updates also wait until the replay buffer holds so many episodes."""

    # Exploration: epsilon-greedy, see ``epsilon`` below

    epsilon_start: float = Field(ge=0, le=1)
    """Probability of a random action at the first env step."""
    epsilon_end: float = Field(ge=0, le=1)
    """Probability of a random action from ``epsilon_steps`` on."""
    epsilon_steps: int = Field(gt=0)
    """Env steps of the linear decay."""
    epsilon_schedule: Literal["step", "round"]
    """Whether epsilon decays with every env step, or between rounds of battles only."""
    epsilon_per: Literal["agent", "team"]
    """Who draws whether to act at random: each agent on its own, or once for the whole team."""
    hidden_on_random_steps: Literal["advanced", "frozen"]
    """Whether hidden states advance on random steps; "frozen" needs one draw for the whole team."""

    # Time limit, last actions, padding

    truncation: Literal["terminal", "bootstrap"]
    """Time-outs: whether the state at the time limit has the value zero in TD targets, or is
    bootstrapped; ``Learner.terminal`` applies it."""
    replayed_last_action: Literal["correct", "shifted"]
    """Last action in the replayed inputs: a[t-1], or a[t-2] as in ACORM's and R3DM's buffers."""
    replay_tails: Literal["zeros", "stale"]
    """What follows the end of a replayed episode: zeros, or the rest of longer, older episodes, as
    in ACORM's and R3DM's buffers. Only imagination beyond the end reads it."""
    final_action: Literal["none", "stored"]
    """Whether one more action is chosen after the end of an episode and replayed, as in PyMARL. It
    changes what the networks give on padding, so only losses that count padding read it."""
    evaluated_last_action: Literal["correct", "zero"]
    """Last action in evaluation: a[t-1], or always none as in ACORM's and R3DM's code."""

    # Evaluation

    evaluation_interval: int = Field(gt=0)
    """Env steps between evaluations, on a fixed grid that begins at 0 and ends at the budget."""
    evaluation_episodes: int = Field(gt=0)
    """Greedy episodes per evaluation; never replayed, and not counted as training."""
    absolute_episodes: int = Field(ge=0)
    """Greedy episodes of the run's best policy at its end (the absolute metric); 0 is none."""

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if not (self.n_envs * self.updates_per_episode).is_integer():
            raise ValueError(
                f"n_envs x updates_per_episode must be a whole number of updates,"
                f" not {self.n_envs} x {self.updates_per_episode}"
            )
        for name in ("batch_size", "burn_in_episodes"):  # else there would never be an update
            if getattr(self, name) > self.replay_episodes:
                raise ValueError(
                    f"{name} {getattr(self, name)} exceeds replay_episodes {self.replay_episodes}"
                )
        if self.hidden_on_random_steps == "frozen" and self.epsilon_per != "team":
            raise ValueError("hidden_on_random_steps 'frozen' needs epsilon_per 'team'")
        return self


#: Rules that both protocols share: sizes of replay and batch, exploration (paper, Table 2), grid.
_COMMON = {
    "budget": 2_000_000,
    "updates_per_episode": 1,
    "replay_episodes": 5000,
    "batch_size": 32,
    "burn_in_episodes": 0,
    "replay_tails": "zeros",
    "final_action": "none",
    "epsilon_start": 1.0,
    "epsilon_end": 0.02,
    "epsilon_steps": 80_000,
    "epsilon_schedule": "step",
    "evaluation_interval": 10_000,
    "evaluation_episodes": 32,
    "absolute_episodes": 320,
}

#: protocol -> rules. "released" is the harness of R3DM's authors for QMIX, ACORM and R3DM; their
#: runs of the other methods had PyMARL's, below.
RULES: dict[str, dict] = {
    "unified": _COMMON
    | {
        "n_envs": 8,
        "epsilon_per": "agent",
        "hidden_on_random_steps": "advanced",
        "truncation": "terminal",
        "replayed_last_action": "correct",
        "evaluated_last_action": "correct",
    },
    "released": _COMMON
    | {
        "n_envs": 1,
        "epsilon_per": "team",
        "hidden_on_random_steps": "frozen",
        "truncation": "bootstrap",
        "replayed_last_action": "shifted",
        "evaluated_last_action": "zero",
    },
}

#: The harness of the forks of PyMARL in which R3DM's authors ran CIA, GoMARL, CDS and EMC. The
#: ``RELEASED`` table of such a method begins with it; it overrides ``MAP_RULES``, but for budgets.
PYMARL: dict = {
    "n_envs": 1,
    "batch_size": 32,
    "epsilon_end": 0.05,
    "epsilon_steps": 50_000,
    "epsilon_schedule": "round",
    "epsilon_per": "agent",
    "hidden_on_random_steps": "advanced",
    "truncation": "terminal",
    "replayed_last_action": "correct",
    "evaluated_last_action": "correct",
}

#: map -> rules, in both protocols: training lengths as plotted in the paper, and Table 2's
#: exceptions for batch size and exploration.
MAP_RULES: dict[str, dict] = {
    "3s5z_vs_3s6z": {"budget": 3_000_000},
    "6h_vs_8z": {"budget": 3_000_000, "batch_size": 64},
    "zerg_5_vs_5": {"epsilon_end": 0.0, "epsilon_steps": 100_000},
    "protoss_10_vs_11": {"budget": 3_000_000, "batch_size": 64},
    "terran_10_vs_11": {"budget": 2_500_000, "batch_size": 64, "epsilon_end": 0.001},
    "zerg_10_vs_11": {"budget": 3_000_000, "batch_size": 64},
}


def epsilon(rules: Training, begin: int, played: int = 0) -> float:
    """Exploration: linear in the env steps of training, then constant.

    Args:
        rules: of the run.
        begin: env steps before this round of battles.
        played: env steps in this round.
    """
    step = begin if rules.epsilon_schedule == "round" else begin + played
    progress = min(1.0, step / rules.epsilon_steps)
    return rules.epsilon_start + progress * (rules.epsilon_end - rules.epsilon_start)


def evaluation_grid(rules: Training) -> list[int]:
    """The env steps at which every run is evaluated: 0, interval, ..., budget."""
    return [*range(0, rules.budget, rules.evaluation_interval), rules.budget]
