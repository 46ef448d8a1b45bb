"""The kernel's memory: one record per unit, one per battle, one for the rules of the env.

Structured arrays keep a unit's fields side by side, read like attributes in compiled code
(``units[i].health``) and by name in NumPy (``units["health"]`` is a [B, U] array).
Units are indexed allies first: ``0 .. N-1`` are the agents, ``N .. U-1`` the enemies.
"""

import numpy as np

# Orders a unit can be under.
IDLE, MOVE, ATTACK, HEAL, ATTACK_MOVE, FOLLOW = range(6)
# What a unit's body does in a loop; decides who gives way to whom.
MOVING, STANDING, FIGHTING = range(3)

UNIT_DTYPE = np.dtype(
    [
        ("x", "f8"), ("y", "f8"),  #: centre; a dead unit stays where the client last saw it
        ("health", "f8"), ("shield", "f8"), ("energy", "f8"),
        ("cooldown", "f8"),  #: loops until the weapon is ready; the fraction of a loop since when
        ("vx", "f8"), ("vy", "f8"),  #: cells per loop
        ("face_x", "f8"), ("face_y", "f8"),  #: unit vector of where it looks
        ("goal_x", "f8"), ("goal_y", "f8"),  #: of MOVE and ATTACK_MOVE
        ("missile_x", "f8"), ("missile_y", "f8"),  #: where its missile is, while in flight
        ("from_x", "f8"), ("from_y", "f8"),  #: where it stood at the start of the loop
        ("seen_x", "f8"), ("seen_y", "f8"),  #: position at the last observation
        ("seen_life", "f8"),  #: health + shield at the last observation
        ("type", "i4"),  #: index into units.UNITS
        ("team", "i4"),  #: 0 allies, 1 enemies
        ("order", "i4"),
        ("target", "i4"),  #: unit index it attacks or heals, -1 none
        ("target_age", "i4"),  #: loops since an order named this target
        ("left", "i4"),  #: unit index that it attacked until its last order, -1 none ...
        ("left_age", "i4"),  #: ... and the loops since
        ("scan", "i4"),  #: loops until it looks for targets again
        ("delay", "i4"),  #: loops that it holds its first shot back, -1 not drawn yet
        ("aimed_at", "i4"),  #: unit index its weapon points at or turns to, -1 none
        ("aim", "i4"),  #: loops until its weapon points there
        ("windup", "i4"),  #: loops until a started attack hits, -1 when none is under way
        ("melee", "?"),  #: the attack under way is its melee weapon's
        ("backswing", "i4"),  #: loops that it still stands after an attack
        ("second_hit", "i4"),  #: loops until the second hit, 0 none
        ("second_target", "i4"),
        ("missile_target", "i4"),  #: unit index its missile flies to, -1 none in flight
        ("unhurt", "i4"),  #: loops since it last took damage
        ("stance", "i4"),
        ("detour", "i4"),  #: side on which it walks around others: +1 left, -1 right, 0 open
        ("alive", "?"),
        ("autonomous", "?"),  #: acquires targets by itself, as the engine's units do
        ("healing", "?"),  #: a medivac that heals in this loop
        ("attacked", "?"),  #: it hit, healed or released a missile in the last env step
        ("chased", "?"),  #: has walked after a target since its weapon last pointed at one
        ("blocked", "?"),  #: others stand in its way; it looks for a way around them
        ("explodes", "?"),  #: a dead baneling whose explosion is due
    ],
    align=True,
)  # fmt: skip

BATTLE_DTYPE = np.dtype(
    [
        ("random", "u8"),  #: stream of everything that happens in the battle
        ("client_random", "u8"),  #: stream of the client's own shuffles
        ("max_reward", "f8"),
        ("steps", "i4"),
        ("running", "?"),
    ],
    align=True,
)

RULES_DTYPE = np.dtype(
    [
        ("n_agents", "i4"), ("n_enemies", "i4"), ("n_actions", "i4"), ("limit", "i4"),
        # layout
        ("generated", "?"),  #: SMACv2's client, teams and positions; otherwise SMAC's
        ("healers", "?"),  #: medivac rules of action slots and of the end of a battle
        ("type_bits", "i4"), ("ally_shields", "?"), ("enemy_shields", "?"),
        ("ally_width", "i4"), ("enemy_width", "i4"),
        ("obs_enemy_width", "i4"), ("obs_ally_width", "i4"), ("obs_own_width", "i4"),
        ("wiped_observations", "?"),
        # reward
        ("sparse", "?"), ("only_positive", "?"), ("absolute", "?"), ("death_value", "f8"),
        ("win", "f8"), ("defeat", "f8"), ("negative_scale", "f8"),
        ("scale_rate", "f8"),  #: 0 for unscaled rewards
        ("max_reward", "f8"), ("first_draw", "?"),
        # game
        ("attack_x", "f8"), ("attack_y", "f8"),  #: the enemies' attack point
        ("home_x", "f8"), ("home_y", "f8"),  #: the enemies' spawn: autonomous allies go there
        ("medivacs_follow", "?"), ("autonomous_allies", "?"), ("jitter", "?"), ("walls", "?"),
    ],
    align=True,
)  # fmt: skip
