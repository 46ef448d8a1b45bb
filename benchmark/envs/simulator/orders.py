"""Orders: from the agents' actions and the map's script, and how units follow them (compiled)."""

import math

from benchmark.envs.simulator.combat import continue_attack, fight, heal
from benchmark.envs.simulator.compiled import compiled
from benchmark.envs.simulator.movement import head_for, stand
from benchmark.envs.simulator.records import (
    ATTACK,
    ATTACK_MOVE,
    FIGHTING,
    FOLLOW,
    HEAL,
    IDLE,
    MOVE,
    MOVING,
)
from benchmark.envs.simulator.targeting import (
    SLACK,
    best_patient,
    can_hit,
    choose_target,
    gap_between,
    lose_dead_target,
    nearest_fighter,
    nearest_opponent,
    raise_alarm,
)
from benchmark.envs.simulator.units import (
    ENERGY_TO_HEAL,
    MELEE_RANGE,
    SCAN_INTERVAL,
    TURN_COSINE,
)

# The agents' actions (SMAC client).
NO_OP, STOP, NORTH, SOUTH, EAST, WEST, FIRST_TARGET = range(7)
_MOVE_AMOUNT = 2.0  #: a move orders the unit to a point this far away
_FOLLOW_DISTANCE = 2.0  #: how close (edge to edge) a following medivac keeps to its fighter


@compiled
def obey_action(i, action, units, types, rules):
    """Turns one agent's action into its unit's order."""
    u = units[i]
    if action >= FIRST_TARGET:
        target = action - FIRST_TARGET
        heals = rules.healers and types[u.type].heals > 0.0
        if not heals:
            target += rules.n_agents
        command_target(i, target, HEAL if heals else ATTACK, units, types)
    elif action == STOP:
        command_stop(u)
    else:
        x = u.x + _MOVE_AMOUNT * (int(action == EAST) - int(action == WEST))
        y = u.y + _MOVE_AMOUNT * (int(action == NORTH) - int(action == SOUTH))
        command_move(u, x, y)


@compiled
def command_stop(u):
    """Orders a unit to stop."""
    u.order = IDLE
    _break_off(u)


@compiled
def command_move(u, x, y):
    """Orders a unit to a point."""
    u.order = MOVE
    _break_off(u)
    u.goal_x, u.goal_y = x, y
    u.detour, u.blocked = 0, False  # it looks for its way from here


@compiled
def _break_off(u):
    """Ends what a unit does to its target: an attack before its damage point, a zealot's second
    blade (its attack is channelled), the time that it stands after a shot."""
    _leave(u)
    u.target = u.windup = u.aimed_at = -1
    u.second_hit = u.backswing = 0


@compiled
def _leave(u):
    """Remembers whom a unit attacked until now."""
    u.left, u.left_age = u.target, 0


@compiled
def command_target(i, target, order, units, types):
    """Orders a unit to attack (``ATTACK``) or heal (``HEAL``) another.

    An order that the engine refuses (a weapon that cannot hit flyers) leaves the last one running.
    """
    u = units[i]
    if order == ATTACK and not can_hit(u, units[target], types):
        return
    if u.order != order or u.target != target:
        _leave(u)
        u.windup = u.aimed_at = -1
        u.second_hit = u.target_age = 0
    u.order, u.target = order, target


@compiled
def order_from_script(i, units, types, rules):
    """SMACv2's map script: every env step a unit without an order is sent at its nearest opponent.

    Without an order means idle without an acquired target. The engine refuses the order to units
    that cannot hit that opponent, and they stay idle.
    """
    u = units[i]
    if u.order == IDLE and u.target < 0:
        target = nearest_opponent(i, units, rules)
        if target >= 0 and can_hit(u, units[target], types):
            u.order, u.target, u.target_age = ATTACK, target, 0


@compiled
def act(i, units, battle, types, rules, via):
    """One game loop of one unit: it picks a target, then fights, heals, walks or stands."""
    u = units[i]
    u.healing = False
    u.target_age += 1
    u.left_age += 1
    u.backswing = max(u.backswing - 1, 0)
    continue_attack(i, units, types, rules)
    lose_dead_target(u, units)
    if types[u.type].heals > 0.0:
        _tend(i, units, types, rules, via)
        return
    if u.autonomous and (u.order == IDLE or u.order == ATTACK_MOVE):
        u.scan -= 1
        if u.scan <= 0:
            u.scan = SCAN_INTERVAL
            walked = u.target < 0 and u.stance == MOVING
            choose_target(i, units, types, rules)
            if walked and u.target >= 0:
                u.delay = -1
    if u.target >= 0:
        _engage(i, units, battle, types, rules, via)
    elif u.order == MOVE or u.order == ATTACK_MOVE:
        if not head_for(i, u.goal_x, u.goal_y, 0.0, units, types, rules, via):
            u.order = IDLE
    else:
        stand(u)


@compiled
def _engage(i, units, battle, types, rules, via):
    """Fights the target if it is in range, else walks into range."""
    u = units[i]
    reach = types[u.type].range
    if u.backswing > 0 and u.windup < 0 and u.cooldown > 0.0:
        stand(u)  # its weapon has just fired: it waits where it is, even if its target leaves
        u.stance = FIGHTING
    elif u.windup >= 0:
        fight(i, units, battle, types, rules)
    elif not _approach(i, u.target, reach, units, types, rules, via):
        u.aimed_at, u.chased = -1, True
    elif _aims(i, units, types, rules):
        fight(i, units, battle, types, rules)


@compiled
def _aims(i, units, types, rules):
    """Points the weapon at a target in range.

    Recording of 3m: an agent that is ready and faces its target shoots in the second loop of a new
    order (538 shots; cooldowns of period + delay - 7 loops after the step), and in the loop after
    the one in which it came into range (68 shots). Marines that act by themselves shoot at once
    after a kill, but also wait a loop after a walk; melee units do not, or near-random battles on
    6h_vs_8z and corridor last too long.

    Returns:
        whether it points there already.
    """
    u = units[i]
    u.stance = FIGHTING
    if u.aimed_at != u.target:
        dx, dy = units[u.target].x - u.x, units[u.target].y - u.y
        distance = max(math.sqrt(dx * dx + dy * dy), 1e-9)
        dx, dy = dx / distance, dy / distance
        u.aim = int(u.face_x * dx + u.face_y * dy < TURN_COSINE)
        u.aim += int(not u.autonomous or (u.chased and types[u.type].range > MELEE_RANGE))
        u.aimed_at, u.chased = u.target, False
        u.face_x, u.face_y = dx, dy
    if u.aim == 0:
        return True
    u.aim -= 1
    if u.cooldown <= 0.0:  # its attack begins
        raise_alarm(u.target, i, units, types, rules)
    return False


@compiled
def _approach(i, j, reach, units, types, rules, via):
    """Walks until unit j is within reach, edge to edge, and stands there.

    Returns:
        whether it is within reach.
    """
    u, v = units[i], units[j]
    if gap_between(u, v, types) <= reach + SLACK:
        stand(u)
        return True
    stop = reach + types[u.type].radius + types[v.type].radius
    head_for(i, v.x, v.y, stop, units, types, rules, via)
    return False


@compiled
def _tend(i, units, types, rules, via):
    """A medivac: heals its patient, or flies where its order says."""
    u = units[i]
    if u.autonomous:
        _choose_patient(i, units, types, rules)
    fighter = nearest_fighter(i, units, types, rules) if u.order == FOLLOW else -1
    if u.target >= 0:
        reach = types[u.type].heal_range
        if _approach(i, u.target, reach, units, types, rules, via):
            u.stance = FIGHTING
            heal(u, units[u.target], types)
    elif fighter >= 0:
        _approach(i, fighter, _FOLLOW_DISTANCE, units, types, rules, via)
    elif u.order == MOVE:
        head_for(i, u.goal_x, u.goal_y, 0.0, units, types, rules, via)
    else:
        stand(u)


@compiled
def _choose_patient(i, units, types, rules):
    """Keeps a patient until it is well or out of reach, then looks for the next one."""
    u = units[i]
    kind = types[u.type]
    if u.target >= 0:
        v = units[u.target]
        if (
            v.health < types[v.type].health
            and u.energy > 0.0
            and gap_between(u, v, types) <= kind.heal_scan
        ):
            return
        u.target = -1
    if u.energy >= ENERGY_TO_HEAL:
        u.target = best_patient(i, units, types, rules)
