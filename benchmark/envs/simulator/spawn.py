"""Starting a battle: teams, positions, numbering (compiled)."""

import math

import numpy as np

from benchmark.envs.maps import BORDER, SIZE
from benchmark.envs.simulator.compiled import compiled
from benchmark.envs.simulator.random import below, uniform
from benchmark.envs.simulator.records import ATTACK_MOVE, FOLLOW, IDLE, MOVE, STANDING
from benchmark.envs.simulator.units import SCAN_INTERVAL

#: SMACv2: groups of enemies start at most this close to the centre, along x and y (client).
_CENTRE_OFFSET = 2.0
_SURROUNDED = 0.5  #: probability threshold between the two kinds of start positions (R3DM config)
_TOUCHING = 0.999  #: rounding slack of touching discs


def _square_grid(reach: int) -> np.ndarray:
    """Points of a square grid of unit spacing, nearest first; points of the same distance
    counter-clockwise from the south.

    The recording of 3m shows centre, south and east; the rest continues it. That the first diagonal
    is the south-east is fitted: with the north-east or south-west, the policies of 8m or 6h_vs_8z
    win far less often than in the game.
    """
    points = [(x, y) for x in range(-reach, reach + 1) for y in range(-reach, reach + 1)]

    def rank(point):
        x, y = point
        return x * x + y * y, math.atan2(x, -y) % (2 * math.pi)

    return np.array(sorted(points, key=rank), float)


_GRID = _square_grid(9)


@compiled
def start_battle(units, battle, layout, types, rules, walkable):
    """Sets up all units of one battle. Draws from the battle's stream only.

    Args:
        units: [U] records to overwrite.
        battle: its record, streams already seeded.
        layout: [U] records whose type, x and y are the fixed start of a SMAC map.
        types, rules, walkable: the env's tables.
    """
    n = rules.n_agents
    for i in range(units.shape[0]):
        units[i].type, units[i].x, units[i].y = layout[i].type, layout[i].x, layout[i].y
        units[i].team = int(i >= n)
    if rules.generated:
        _draw_teams(units, battle, types, rules)
        _draw_positions(units, battle, rules)
        pack(units, types, walkable)
        sort_agents(units, n)
    else:
        _number_enemies(units[n:], layout[n:], battle)
    for i in range(units.shape[0]):
        prepare(units[i], battle, types, rules)
    keep_formation(units)


@compiled
def _number_enemies(enemies, created, battle):
    """Gives the enemies their types and places in the order in which the game lists them: the
    earliest created are at the two ends, each at either with the same chance.

    Recording of 3m: four of six orders, in 98, 104, 95 and 91 battles.
    """
    first, last = 0, enemies.shape[0] - 1
    for k in range(enemies.shape[0]):
        if below(battle, 2) == 0:
            u = enemies[first]
            first += 1
        else:
            u = enemies[last]
            last -= 1
        u.type, u.x, u.y = created[k].type, created[k].x, created[k].y


@compiled
def keep_formation(units):
    """Spreads the goals of units that are sent to one point as the units themselves are spread.

    Recording of 3m: every enemy walks towards the attack point plus its offset from the mean of its
    group (15 paths, deviation 0.000), so that they walk in parallel.
    """
    for team in range(2):
        x = y = count = 0.0
        for i in range(units.shape[0]):
            if units[i].order == ATTACK_MOVE and units[i].team == team:
                x += units[i].x
                y += units[i].y
                count += 1.0
        for i in range(units.shape[0]):
            u = units[i]
            if u.order == ATTACK_MOVE and u.team == team:
                u.goal_x += u.x - x / count
                u.goal_y += u.y - y / count


@compiled
def prepare(u, battle, types, rules):
    """Makes a unit, of which type, team and place are set, as it is when it appears."""
    kind = types[u.type]
    u.health, u.shield, u.energy = kind.health, kind.shield, kind.energy
    u.seen_life = kind.health + kind.shield
    u.seen_x, u.seen_y = u.x, u.y
    u.from_x, u.from_y = u.x, u.y
    u.vx = u.vy = u.cooldown = 0.0
    u.missile_x = u.missile_y = u.goal_x = u.goal_y = 0.0
    u.target = u.second_target = u.missile_target = u.windup = u.aimed_at = u.left = -1
    u.second_hit = u.unhurt = u.backswing = u.target_age = u.left_age = u.delay = u.aim = 0
    u.face_x, u.face_y = 0.0, -1.0
    u.scan = 1 + below(battle, SCAN_INTERVAL)  # everybody looks for targets at times of its own
    u.order, u.stance, u.detour = IDLE, STANDING, 0
    u.alive = True
    u.healing = u.attacked = u.blocked = u.chased = u.explodes = u.melee = False
    u.autonomous = u.team == 1 or rules.autonomous_allies
    if not u.autonomous:
        return
    if rules.generated:
        if kind.heals > 0.0 and rules.medivacs_follow:
            u.order = FOLLOW
    else:
        # A medivac's attack-move is a scan-move: it flies there and heals on the way. It does not
        # follow: where policies win 0.95 of the battles in the game, it dies too.
        u.order = MOVE if kind.heals > 0.0 else ATTACK_MOVE
        if u.team == 1:
            u.goal_x, u.goal_y = rules.attack_x, rules.attack_y
        else:
            u.goal_x, u.goal_y = rules.home_x, rules.home_y


@compiled
def _draw_teams(units, battle, types, rules):
    """SMACv2's weighted teams: the enemies copy the allies, those in excess are drawn apart."""
    n = rules.n_agents
    _draw_team(units[:n], battle, types)
    for i in range(min(n, rules.n_enemies)):
        units[n + i].type = units[i].type
    _draw_team(units[2 * n :], battle, types)


@compiled
def _draw_team(units, battle, types):
    """Independent draws, repeated while the team consists of exceptions only."""
    drawn = units.shape[0] == 0
    while not drawn:
        for i in range(units.shape[0]):
            kind = _draw_type(battle, types)
            units[i].type = kind
            drawn = drawn or not types[kind].exception


@compiled
def _draw_type(battle, types):
    """A type id by its weight."""
    left = uniform(battle)
    kind = last = 0
    while kind < types.shape[0]:
        if types[kind].weight > 0.0:
            if left < types[kind].weight:
                return kind
            left -= types[kind].weight
            last = kind
        kind += 1
    return last  # rounding of the weights' sum


@compiled
def _draw_positions(units, battle, rules):
    """SMACv2's "surrounded and reflect" start positions."""
    if uniform(battle) > _SURROUNDED:
        _surround(units, battle, rules)
    else:
        _reflect(units, battle, rules)


@compiled
def _reflect(units, battle, rules):
    """Allies anywhere in the left half but for a strip of one cell, enemies mirrored to the right;
    enemies in excess anywhere in the right half."""
    n = rules.n_agents
    for i in range(n):
        units[i].x = uniform(battle) * (SIZE / 2 - 1)
        units[i].y = uniform(battle) * SIZE
    for i in range(rules.n_enemies):
        if i < n:
            units[n + i].x, units[n + i].y = SIZE - units[i].x, units[i].y
        else:
            units[n + i].x = SIZE / 2 + uniform(battle) * (SIZE / 2)
            units[n + i].y = uniform(battle) * SIZE


@compiled
def _surround(units, battle, rules):
    """Allies in the centre, enemies in one to four groups on distinct diagonals."""
    n = rules.n_agents
    for i in range(n):
        units[i].x = units[i].y = SIZE / 2
    n_groups = 1 + below(battle, 4)
    # Which diagonal each group takes: a shuffle of the four corners, packed two bits each.
    corners = 0b11100100
    for k in range(3, 0, -1):
        j = below(battle, k + 1)
        a, b = (corners >> (2 * k)) & 3, (corners >> (2 * j)) & 3
        corners += (b - a) * (1 << (2 * k)) + (a - b) * (1 << (2 * j))
    # A multinomial over the groups with equal weights; a group's members have consecutive indices.
    left, first = rules.n_enemies, n
    for group in range(n_groups):
        size = 0
        for _ in range(left):
            size += below(battle, n_groups - group) == 0
        left -= size
        t = uniform(battle)
        corner = (corners >> (2 * group)) & 3
        sign_x, sign_y = 2 * (corner >> 1) - 1, 2 * (corner & 1) - 1
        for i in range(first, first + size):
            units[i].x = _along_diagonal(t, sign_x)
            units[i].y = _along_diagonal(t, sign_y)
        first += size


@compiled
def _along_diagonal(t, sign):
    """One coordinate of a group's point: t = 0 in the corner, t = 1 two cells from the centre."""
    return SIZE / 2 + sign * (t * _CENTRE_OFFSET + (1.0 - t) * SIZE / 2)


@compiled
def pack(units, types, walkable):
    """Moves coinciding units apart: each, in order of creation, takes the first free point of a
    square grid around its own. The spacing is that at which units touch; both sides' patterns are
    the same, not mirrored (recording of 3m)."""
    for i in range(units.shape[0]):
        u = units[i]
        edge = types[u.type].separation
        inside = BORDER + edge
        x = min(max(u.x, inside), SIZE - inside)
        y = min(max(u.y, inside), SIZE - inside)
        for k in range(_GRID.shape[0]):
            u.x = x + 2.0 * edge * _GRID[k, 0]
            u.y = y + 2.0 * edge * _GRID[k, 1]
            if _fits(i, units, types, walkable):
                break


@compiled
def _fits(i, units, types, walkable):
    """Whether a unit stands clear of walls and of the units created before it."""
    u = units[i]
    kind = types[u.type]
    edge = kind.separation * _TOUCHING
    if min(u.x, u.y) < BORDER + edge or max(u.x, u.y) >= SIZE - BORDER - edge:
        return False
    if not kind.flies:
        for column in (u.x - edge, u.x, u.x + edge):
            for row in (u.y - edge, u.y, u.y + edge):
                if not walkable[int(column), int(row)]:
                    return False
    for j in range(i):
        v = units[j]
        if types[v.type].plane == kind.plane:
            away = (kind.separation + types[v.type].separation) * _TOUCHING
            dx, dy = v.x - u.x, v.y - u.y
            if dx * dx + dy * dy < away * away:
                return False
    return True


@compiled
def sort_agents(units, n):
    """Numbers the agents as the client does: by type, then x, then y (an insertion sort)."""
    for i in range(1, n):
        kind, x, y = units[i].type, units[i].x, units[i].y
        j = i
        while j > 0 and ((units[j - 1].type, units[j - 1].x, units[j - 1].y) > (kind, x, y)):
            units[j].type, units[j].x, units[j].y = (
                units[j - 1].type, units[j - 1].x, units[j - 1].y,
            )  # fmt: skip
            j -= 1
        units[j].type, units[j].x, units[j].y = kind, x, y
