"""The options of an env: quirks of SMAC's and SMACv2's clients, and unknowns of the game.

Set one by its name: ``train --set NAME=VALUE``, in a study file, or ``make(options=EnvOptions())``.
"""

from dataclasses import dataclass, fields

from benchmark.errors import BenchmarkError

_CHOICES = {
    "max_reward": ("expected", "first_draw"),
    "enemy_medivac": ("follow", "stay"),
    "ally_control": ("agents", "engine"),
}


@dataclass(frozen=True)
class EnvOptions:
    """One field per documented quirk or parameter; the defaults are what the papers ran, but for
    ``max_reward``.

    Raises:
        BenchmarkError: a value is not among those that its field accepts.
    """

    # -- reward (SMAC client) --
    reward_sparse: bool = False  #: +1, -1 or 0 at the end instead of damage (still scaled)
    reward_only_positive: bool = True  #: count damage dealt, not damage taken
    #: SMAC maps: absolute value of the net damage, so that enemies that regenerate are rewarded;
    #: False clips at zero, as SMACv2 always does. Without effect unless ``reward_only_positive``.
    reward_absolute: bool = True
    reward_death_value: float = 10.0  #: per dead enemy
    reward_win: float = 200.0
    reward_defeat: float = 0.0
    reward_negative_scale: float = 0.5  #: weight of own losses when they count
    reward_scale: bool = True  #: divide by ``max_reward / reward_scale_rate``
    reward_scale_rate: float = 20.0
    #: SMACv2 teams are drawn, and the client scales all rewards by its *first* team
    #: ("first_draw", one per slot of the batch). "expected" uses the mean over teams, so that an
    #: episode depends on its seed and nothing else.
    max_reward: str = "expected"
    # -- observation (SMAC client) --
    #: SMAC's stalker and zealot maps number enemy types against the allies' order.
    swapped_enemy_types: bool = True
    #: SMACv2 since mid 2023: an enemy that nobody has ever seen, or that died out of sight, blanks
    #: all enemies before it in every agent's observation. False is the December 2022 client.
    wiped_observations: bool = True
    # -- the game, where the data leaves room --
    missile_flight: bool = True  #: missiles take time, so that shots at the dying are wasted
    cooldown_jitter: bool = True  #: each cooldown is -1 to +2 loops longer
    #: SMACv2: its map orders every enemy to attack; medivacs, which cannot, keep with their army
    #: ("follow") or "stay" where they are and heal in range. On SMAC's maps they scan-move.
    enemy_medivac: str = "follow"
    #: "engine" drives the allies by the enemies' own script, for mirror fights: actions are ignored
    ally_control: str = "agents"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            choices = _CHOICES.get(field.name)
            if choices and value not in choices:
                raise BenchmarkError(
                    f"env option {field.name}={value!r}: choose one of {', '.join(choices)}"
                )
        if not self.reward_scale_rate > 0:
            raise BenchmarkError(
                f"env option reward_scale_rate={self.reward_scale_rate}: must be positive"
            )
