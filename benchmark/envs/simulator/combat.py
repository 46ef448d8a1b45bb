"""Weapons, damage, death, healing and regeneration (compiled). Numbers: ``units.py``."""

import math

from benchmark.envs.simulator.compiled import compiled
from benchmark.envs.simulator.random import below, uniform
from benchmark.envs.simulator.records import FIGHTING
from benchmark.envs.simulator.targeting import call_for_help, can_hit, gap_between, opponents
from benchmark.envs.simulator.units import (
    COOLDOWN_JITTER,
    ENERGY_MAX,
    ENERGY_PER_HEALTH,
    ENERGY_REGENERATION,
    FIRST_SHOT_DELAY,
    LINE_POINT_RADIUS,
    LINE_POINTS,
    LOOPS_PER_SECOND,
    MELEE_RANGE,
    MIN_DAMAGE,
    SHIELD_DELAY,
    SHIELD_REGENERATION,
)

_SHIELD_DELAY = int(SHIELD_DELAY * LOOPS_PER_SECOND)
_SHIELD_STEP = SHIELD_REGENERATION / LOOPS_PER_SECOND
_ENERGY_STEP = ENERGY_REGENERATION / LOOPS_PER_SECOND
_JITTER_LOW, _JITTER_HIGH = COOLDOWN_JITTER


@compiled
def die(v, types):
    """Ends a unit's life; a baneling explodes however it dies (a behaviour of the unit)."""
    v.alive = False
    v.health = v.shield = 0.0
    v.healing = False
    v.explodes = types[v.type].burst_splash > 0.0


@compiled
def hit(attacker, victim, units, types, rules):
    """One hit. Shields have no armour; armour takes its part of what reaches the body."""
    v = units[victim]
    if not v.alive:
        return
    kind, body = types[units[attacker].type], types[v.type]
    amount = kind.damage
    if body.light:
        amount += kind.bonus_light
    if body.armoured:
        amount += kind.bonus_armoured
    v.unhurt = 0
    if v.shield >= amount:
        v.shield -= amount
    else:
        amount -= v.shield
        v.shield = 0.0
        v.health -= max(amount - body.armour, MIN_DAMAGE)
        if v.health <= 0.0:
            die(v, types)
    if units[attacker].alive:
        call_for_help(victim, attacker, units, types, rules)


@compiled
def strike(i, units, battle, types, rules):
    """The moment at which an attack takes effect: a hit, a missile, a line of fire, a burst."""
    u = units[i]
    kind = types[u.type]
    u.attacked = True
    u.windup = -1
    u.backswing = kind.backswing
    # The period counts from start to start, so what the windup took is already gone. The fraction
    # of a loop for which the weapon was ready before is not lost: in the recording of 3m shots are
    # 14.28 loops apart, the period and the mean delay, not rounded up.
    u.cooldown += kind.period - (kind.melee_windup if u.melee else kind.windup)
    if rules.jitter:
        u.cooldown += _JITTER_LOW + (_JITTER_HIGH - _JITTER_LOW) * uniform(battle)
    if kind.burst_splash > 0.0:
        die(u, types)
    elif kind.missile_speed > 0.0 and not u.melee:
        u.missile_target = u.target
        u.missile_x, u.missile_y = u.x, u.y
    elif kind.line_splash > 0.0:
        _fire_along_line(i, units, types, rules)
    else:
        hit(i, u.target, units, types, rules)
        if kind.hits > 1:
            u.second_hit, u.second_target = kind.hit_delay, u.target


@compiled
def _fire_along_line(i, units, types, rules):
    """The colossus: every lance hits the target and all ground units that a line across the firing
    direction touches (a row of points, 1.25 to either side of the target)."""
    u = units[i]
    kind = types[u.type]
    centre = units[u.target]
    x, y = centre.x, centre.y
    dx, dy = x - u.x, y - u.y
    length = math.sqrt(dx * dx + dy * dy)
    across_x, across_y = (-dy / length, dx / length) if length > 0.0 else (0.0, 1.0)
    spacing = 2.0 * kind.line_splash / (LINE_POINTS - 1)
    target = u.target
    first, last = opponents(u, rules)
    for j in range(first, last):
        v = units[j]
        if not v.alive or types[v.type].flies:
            continue
        # The point of the line that is nearest to this unit.
        along = (v.x - x) * across_x + (v.y - y) * across_y
        along = round(min(max(along, -kind.line_splash), kind.line_splash) / spacing) * spacing
        px, py = x + along * across_x - v.x, y + along * across_y - v.y
        touch = types[v.type].radius + LINE_POINT_RADIUS
        if j == target or px * px + py * py <= touch * touch:
            for _ in range(kind.hits):
                hit(i, j, units, types, rules)


@compiled
def continue_attack(i, units, types, rules):
    """The second blade of a zealot falls a little after the first, on the same target."""
    u = units[i]
    if u.second_hit > 0:
        u.second_hit -= 1
        if u.second_hit == 0:
            hit(i, u.second_target, units, types, rules)


@compiled
def fight(i, units, battle, types, rules):
    """One loop of attacking: waits for the weapon, starts an attack, or finishes the one begun.

    An attack that has begun lands even if its target leaves the range in the meantime; it is lost
    if the target dies or the unit gets another order before the damage point.
    """
    u = units[i]
    kind = types[u.type]
    u.stance = FIGHTING
    if u.windup < 0 and u.cooldown <= 0.0:
        if u.delay < 0:
            shoots = kind.range > MELEE_RANGE
            u.delay = below(battle, FIRST_SHOT_DELAY) if shoots else 0
        if u.delay > 0:
            u.delay -= 1
            return
        u.melee = _in_melee_range(u, units[u.target], types)
        u.windup = kind.melee_windup if u.melee else kind.windup
        if u.windup > 0:
            return
    elif u.windup > 0:
        u.windup -= 1
    if u.windup == 0:
        strike(i, units, battle, types, rules)


@compiled
def _in_melee_range(u, v, types):
    """Whether u has a second weapon for close targets, and v is in its range."""
    reach = types[u.type].melee_range
    return reach > 0.0 and gap_between(u, v, types) <= reach and not types[v.type].flies


@compiled
def fly_missiles(units, types, rules):
    """Moves every missile towards its target. It outlives its shooter, not its target."""
    for i in range(units.shape[0]):
        u = units[i]
        if u.missile_target < 0:
            continue
        v = units[u.missile_target]
        if not v.alive:
            u.missile_target = -1
            continue
        speed = types[u.type].missile_speed
        dx, dy = v.x - u.missile_x, v.y - u.missile_y
        square = dx * dx + dy * dy
        if square <= speed * speed:
            target = u.missile_target
            u.missile_target = -1
            hit(i, target, units, types, rules)
        else:
            part = speed / math.sqrt(square)
            u.missile_x += part * dx
            u.missile_y += part * dy


@compiled
def settle_explosions(units, types, rules):
    """Lets dead banelings explode, and those that die of it, until none is left."""
    pending = True
    while pending:
        pending = False
        for i in range(units.shape[0]):
            u = units[i]
            if not u.explodes:
                continue
            u.explodes = False
            pending = True
            burst = types[u.type].burst_splash
            first, last = opponents(u, rules)
            for j in range(first, last):
                v = units[j]
                if v.alive and can_hit(u, v, types):
                    reach = burst + types[v.type].radius
                    dx, dy = v.x - u.x, v.y - u.y
                    if dx * dx + dy * dy <= reach * reach:
                        hit(i, j, units, types, rules)


@compiled
def heal(u, patient, types):
    """Heals for one loop, as far as energy lasts."""
    kind = types[u.type]
    amount = min(kind.heals, types[patient.type].health - patient.health)
    amount = min(amount, u.energy / ENERGY_PER_HEALTH)
    if amount > 0.0:
        patient.health += amount
        u.energy -= amount * ENERGY_PER_HEALTH
        u.healing = True
        u.attacked = True


@compiled
def regenerate(u, types):
    """One loop of regeneration: weapon, shields after 10 s without damage, zerg health, energy."""
    kind = types[u.type]
    u.unhurt += 1
    if u.windup < 0:
        u.cooldown = u.cooldown - 1.0 if u.cooldown > 0.0 else 0.0
    if kind.shield > 0.0 and u.unhurt > _SHIELD_DELAY:
        u.shield = min(u.shield + _SHIELD_STEP, kind.shield)
    if kind.regeneration > 0.0:
        u.health = min(u.health + kind.regeneration, kind.health)
    if kind.energy > 0.0:
        u.energy = min(u.energy + _ENERGY_STEP, ENERGY_MAX)
