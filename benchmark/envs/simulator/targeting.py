"""Whom a unit can reach and hit, and whom the engine's units choose (compiled).

Among the candidates in scan range those that threaten the unit come first (see ``threatens``), the
nearest breaks ties, and a unit that is hit calls its friends for help. All nine units have the same
attack priority in the Liberty data, so nothing else ranks them.
"""

import math

from benchmark.envs.simulator.compiled import compiled
from benchmark.envs.simulator.records import ATTACK, ATTACK_MOVE, HEAL, IDLE, MOVING
from benchmark.envs.simulator.units import FORGOTTEN_AFTER, HELP_RADIUS, NOTICED_AFTER

#: Rounding slack of range tests, in cells: a unit that stopped exactly at range is in range.
SLACK = 1e-6


@compiled
def gap_between(u, v, types):
    """Distance from edge to edge, in cells; weapon ranges are measured so."""
    dx, dy = v.x - u.x, v.y - u.y
    return math.sqrt(dx * dx + dy * dy) - types[u.type].radius - types[v.type].radius


@compiled
def in_range(u, v, types):
    """Whether v is in the range of u's weapon."""
    return gap_between(u, v, types) <= types[u.type].range + SLACK


@compiled
def can_hit(u, v, types):
    """Whether u has a weapon against v."""
    kind = types[u.type]
    return kind.damage > 0.0 and (kind.hits_air or not types[v.type].flies)


@compiled
def threatens(i, j, units, types):
    """Whether unit j draws unit i's fire before others: a medivac always does (a flag of the unit),
    others while they attack i.

    Recording of 3m: a lone enemy keeps a target that attacks it (124 of 125), and turns to another
    that does if its target does not (24 of 27). An attacker counts from ``NOTICED_AFTER``
    loops after its order on, and the target that i has some loops longer than it attacks.
    """
    u, v = units[i], units[j]
    if types[v.type].heals > 0.0:
        return True
    if v.target == i and (v.order == ATTACK or v.autonomous):
        return v.target_age >= NOTICED_AFTER
    return u.target == j and v.left == i and v.left_age < FORGOTTEN_AFTER


@compiled
def opponents(u, rules):
    """Index range of the other side."""
    if u.team == 0:
        return rules.n_agents, rules.n_agents + rules.n_enemies
    return 0, rules.n_agents


@compiled
def friends(u, rules):
    """Index range of the unit's own side, itself included."""
    if u.team == 0:
        return 0, rules.n_agents
    return rules.n_agents, rules.n_agents + rules.n_enemies


@compiled
def best_target(i, units, types, rules):
    """The opponent in scan range that the engine would attack, or -1."""
    u = units[i]
    scan = types[u.type].scan_range + types[u.type].radius
    best, best_threatens, best_distance = -1, False, math.inf
    first, last = opponents(u, rules)
    for j in range(first, last):
        v = units[j]
        if not v.alive:
            continue
        reach = scan + types[v.type].radius
        dx, dy = v.x - u.x, v.y - u.y
        square = dx * dx + dy * dy
        if square > reach * reach or not can_hit(u, v, types):
            continue
        threat = threatens(i, j, units, types)
        distance = math.sqrt(square) - types[v.type].radius
        if (threat and not best_threatens) or (
            threat == best_threatens and distance < best_distance
        ):
            best, best_threatens, best_distance = j, threat, distance
    return best


@compiled
def nearest_opponent(i, units, rules):
    """The living opponent nearest by centre, or -1; what SMACv2's map script looks up."""
    u = units[i]
    best, best_square = -1, math.inf
    first, last = opponents(u, rules)
    for j in range(first, last):
        if units[j].alive:
            dx, dy = units[j].x - u.x, units[j].y - u.y
            square = dx * dx + dy * dy
            if square < best_square:
                best, best_square = j, square
    return best


@compiled
def choose_target(i, units, types, rules):
    """Lets a unit that acts by itself take a target, keep it, or change it.

    A target that threatens is kept. Another gives way to who threatens and, while the unit still
    walks to it, to who is already in weapon range; being nearer is not enough (recording of 3m).
    Between an attack's start and its last hit nothing changes.
    """
    u = units[i]
    if u.windup >= 0 or u.second_hit > 0:
        return
    t = u.target
    if t >= 0 and threatens(i, t, units, types):
        return
    best = best_target(i, units, types, rules)
    if best < 0 or best == t:
        return
    if (
        t < 0
        or threatens(i, best, units, types)
        or (in_range(u, units[best], types) and not in_range(u, units[t], types))
    ):
        take_target(u, best)


@compiled
def take_target(u, target):
    """Gives a unit that acts by itself a target."""
    u.target = target
    u.target_age = 0


@compiled
def call_for_help(victim, attacker, units, types, rules):
    """Sends the victim of a hit and its friends near it that have no target against the attacker,
    wherever that is."""
    first, last = friends(units[victim], rules)
    for j in range(first, last):
        if _hears(j, victim, attacker, units, types):
            _answer(units[j], attacker)


@compiled
def raise_alarm(victim, attacker, units, types, rules):
    """Lets the same units notice an attack that begins, if they see the attacker.

    Recording of 3m: the whole group stops 0 to 1 loops after an agent in range is ordered to
    attack, before any damage (30 of 31 first contacts), whenever it would look for targets next.
    """
    first, last = friends(units[victim], rules)
    for j in range(first, last):
        u = units[j]
        sees = gap_between(u, units[attacker], types) <= types[u.type].scan_range
        if sees and _hears(j, victim, attacker, units, types):
            _answer(u, attacker)


@compiled
def _hears(j, victim, attacker, units, types):
    """Whether unit j is free to help a friend: near it, without a target, able to hit."""
    u = units[j]
    return (
        u.alive
        and u.autonomous
        and u.target < 0
        and (u.order == IDLE or u.order == ATTACK_MOVE)
        and can_hit(u, units[attacker], types)
        and (j == victim or gap_between(u, units[victim], types) <= HELP_RADIUS)
    )


@compiled
def _answer(u, attacker):
    """Turns against an attacker. Whom it meets on the way is not shot at at once."""
    take_target(u, attacker)
    if u.stance == MOVING:
        u.delay = -1


@compiled
def lose_dead_target(u, units):
    """Forgets a target that died; an explicit attack or heal order ends with it."""
    if u.target >= 0 and not units[u.target].alive:
        u.target = u.windup = -1
        u.scan = 0  # it looks for the next at once (402 of 402 kills in the recording of 3m)
        if u.order == ATTACK or u.order == HEAL:
            u.order = IDLE


@compiled
def best_patient(i, units, types, rules):
    """The friend in autocast range with the smallest share of health, then the nearest, or -1."""
    u = units[i]
    scan = types[u.type].heal_scan
    best, best_share, best_gap = -1, 1.0, math.inf
    first, last = friends(u, rules)
    for j in range(first, last):
        v = units[j]
        if not v.alive or not types[v.type].biological:
            continue
        share = v.health / types[v.type].health
        if share > best_share or share >= 1.0:
            continue
        gap = gap_between(u, v, types)
        if gap <= scan and (share < best_share or gap < best_gap):
            best, best_share, best_gap = j, share, gap
    return best


@compiled
def nearest_fighter(i, units, types, rules):
    """The nearest living armed friend, or -1."""
    u = units[i]
    best, best_square = -1, math.inf
    first, last = friends(u, rules)
    for j in range(first, last):
        v = units[j]
        if v.alive and types[v.type].damage > 0.0:
            dx, dy = v.x - u.x, v.y - u.y
            if dx * dx + dy * dy < best_square:
                best, best_square = j, dx * dx + dy * dy
    return best
