"""Reward and end of a battle, as the clients count them (compiled)."""

from benchmark.envs.simulator.compiled import compiled

UNDECIDED, LOST, DRAWN, WON = range(4)


@compiled
def winner_of(units, types, rules):
    """Who has won, by the client's order of tests.

    With medivacs on the map a side that has nothing else left has lost; this is tested for the
    allies first, so that a simultaneous wipe-out is a defeat there and a draw elsewhere. SMAC's
    client finds the enemies' rule fulfilled when exactly one of them lives, SMACv2's when at least
    one does and none but medivacs.
    """
    n = rules.n_agents
    allies = enemies = allied_fighters = enemy_fighters = 0
    for i in range(n + rules.n_enemies):
        u = units[i]
        if not u.alive:
            continue
        fighter = types[u.type].heals == 0.0
        if i < n:
            allies += 1
            allied_fighters += fighter
        else:
            enemies += 1
            enemy_fighters += fighter
    if (allies == 0 and enemies > 0) or (rules.healers and allied_fighters == 0):
        return LOST
    only_medivacs = rules.healers and enemy_fighters == 0 and (rules.generated or enemies == 1)
    if (allies > 0 and enemies == 0) or only_medivacs:
        return WON
    return DRAWN if allies == 0 and enemies == 0 else UNDECIDED


@compiled
def reward_of(units, rules):
    """Damage dealt and units killed since the last observation, before the bonus for the end.

    Compares with what the client saw last, so regenerated and healed health counts negatively.
    Remembers the present state for the next call.
    """
    dealt = taken = 0.0
    killed = lost = 0
    for i in range(units.shape[0]):
        u = units[i]
        change = u.seen_life - (u.health + u.shield)
        died = not u.alive and u.seen_life > 0.0  # the dead are remembered with no life
        u.seen_life = u.health + u.shield
        if u.team == 1:
            dealt += change
            killed += died
        else:
            taken += change
            lost += died
    reward = dealt + rules.death_value * killed
    if not rules.only_positive:
        return reward - rules.negative_scale * (taken + rules.death_value * lost)
    if rules.absolute:
        return abs(reward)
    return max(reward, 0.0)


@compiled
def final_reward(reward, winner, battle, rules):
    """Adds the bonus for the end and scales, as the client does."""
    if rules.sparse:
        reward = 1.0 if winner == WON else -1.0 if winner == LOST else 0.0
    elif winner == WON:
        reward += rules.win
    elif winner == LOST:
        reward += rules.defeat
    if rules.scale_rate > 0.0:
        reward *= rules.scale_rate / battle.max_reward
    return reward
