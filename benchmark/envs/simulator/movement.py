"""Walking, flying, giving way, walls (compiled).

Units are discs. A walking unit heads straight for its goal; where somebody stands in the way it
takes the smallest turn that is free on the side on which the crowd ends sooner. Overlaps are then
pushed apart: who walks gives way to who fights and to standing opponents, and pushes its standing
friends along.
"""

import math

import numpy as np

from benchmark.envs.maps import BORDER, SIZE
from benchmark.envs.simulator.compiled import compiled
from benchmark.envs.simulator.records import FIGHTING, MOVING, STANDING
from benchmark.envs.simulator.terrain import DIRECT

#: Share of an overlap by which unit a gives way to b: [same team][stance a][stance b].
_SHARE = np.zeros((2, 3, 3))
for _same in range(2):
    _SHARE[_same, [MOVING, STANDING, FIGHTING], [MOVING, STANDING, FIGHTING]] = 0.5
    _SHARE[_same, MOVING, FIGHTING] = 1.0
    # In the recording of 3m who walks into an idle friend gets 1.05 cells far in a step, and so
    # does the friend (8 steps); with nobody in the way it is 1.125.
    _SHARE[_same, MOVING, STANDING] = 0.07 if _same else 1.0
    _SHARE[_same, STANDING, MOVING] = 0.93 if _same else 0.0
    _SHARE[_same, STANDING, FIGHTING] = 1.0 if _same else 0.5
    _SHARE[_same, FIGHTING, STANDING] = 0.0 if _same else 0.5

#: Turns (cosine, sine) that a blocked unit considers: none, then growing to the left, to the right.
_ANGLES = (0, 30, 60, 90, 120, 150)
_N_TURNS = len(_ANGLES)
_TURNS = np.array(
    [(math.cos(a), math.sin(a)) for a in np.radians(_ANGLES + tuple(-a for a in _ANGLES[1:]))]
)
_ABREAST = 0.05  #: of the distance at which units touch: who is less far ahead is not in the way
_TOUCHING = 0.999  #: rounding slack of units that touch side by side
_PROGRESS = 0.5  #: a unit that made less than this share of its step was blocked


@compiled
def body_of(u, types):
    """What ``apart`` needs of one unit, read once per loop over others: its team, its radius among
    friends and that with opponents."""
    kind = types[u.type]
    return u.team, kind.separation, kind.body


@compiled
def apart(body, v, types):
    """How far apart the centres of two units stay, in cells; one is given by ``body_of``."""
    team, separation, radius = body
    kind = types[v.type]
    return separation + kind.separation if v.team == team else radius + kind.body


@compiled
def stand(u):
    """Stops at once: the data knows of no deceleration."""
    u.stance = STANDING
    u.blocked = False
    u.detour = 0
    u.vx = u.vy = 0.0


@compiled
def head_for(i, goal_x, goal_y, stop, units, types, rules, via):
    """Sets the velocity towards a point, to halt ``stop`` cells short of it.

    Returns:
        whether there was any way to go.
    """
    u = units[i]
    kind = types[u.type]
    dx, dy = goal_x - u.x, goal_y - u.y
    distance = math.sqrt(dx * dx + dy * dy)
    way = distance - stop
    if way <= 0.0:
        stand(u)
        return False
    if rules.walls and not kind.flies:
        corner = _waypoint(u, goal_x, goal_y, via)
        if corner != DIRECT:
            dx, dy = corner // SIZE + 0.5 - u.x, corner % SIZE + 0.5 - u.y
            distance = max(math.sqrt(dx * dx + dy * dy), 1e-9)
            way = kind.speed
    # Ground units are at full speed at once, medivacs gain it bit by bit.
    speed = min(kind.speed, way, math.sqrt(u.vx * u.vx + u.vy * u.vy) + kind.acceleration)
    dx, dy = dx / distance, dy / distance
    if u.blocked:
        dx, dy = _free_heading(i, dx, dy, units, types)
    u.stance = MOVING
    u.vx, u.vy = speed * dx, speed * dy
    u.face_x, u.face_y = dx, dy
    return True


@compiled
def _waypoint(u, goal_x, goal_y, via):
    """The cell to head for first, ``DIRECT`` if the goal is in plain view."""
    goal = min(max(int(goal_x), 0), SIZE - 1) * SIZE + min(max(int(goal_y), 0), SIZE - 1)
    return via[int(u.x) * SIZE + int(u.y), goal]


@compiled
def _free_heading(i, dx, dy, units, types):
    """The smallest turn away from (dx, dy) that nobody obstructs, always to the same side until the
    straight way is free again: so a unit walks around a crowd and not to and fro."""
    u = units[i]
    obstructed = _obstructed_turns(i, dx, dy, units, types)
    if obstructed & 1 == 0:
        u.blocked = False
        u.detour = 0
        return dx, dy
    if u.detour == 0:
        u.detour = _shorter_side(i, dx, dy, units, types)
    for _ in range(2):
        for k in range(1, _N_TURNS):
            turn = k if u.detour > 0 else k + _N_TURNS - 1
            if obstructed >> turn & 1 == 0:
                return _turned(dx, dy, turn)
        u.detour = -u.detour
    return dx, dy


@compiled
def _shorter_side(i, dx, dy, units, types):
    """The side (+1 left, -1 right) on which the crowd in the way ends sooner, the right if both are
    alike (recording of 3m).

    The crowd is who obstructs the straight way, and all ahead that are so near to one of them that
    the unit does not fit between. Sets of units are bits, so a battle has at most 63 of them.
    """
    u = units[i]
    body, speed = body_of(u, types), types[u.type].speed
    crowd = ahead = 0  # members whose neighbours are still to be found; who may be one
    for j in range(units.shape[0]):
        v = units[j]
        if j == i or not _obstructs(u, v, types):
            continue
        away = apart(body, v, types)
        ox, oy = v.x - u.x, v.y - u.y
        along, aside = ox * dx + oy * dy, oy * dx - ox * dy
        if along <= _ABREAST * away:
            continue
        if abs(aside) < away * _TOUCHING and along < away + speed:
            crowd |= 1 << j
        else:
            ahead |= 1 << j
    left = right = -math.inf  # how far the crowd reaches to either side
    while crowd:
        for k in range(units.shape[0]):
            if not crowd >> k & 1:
                continue
            crowd ^= 1 << k
            w = units[k]
            away = apart(body, w, types)
            aside = (w.y - u.y) * dx - (w.x - u.x) * dy
            left, right = max(left, away + aside), max(right, away - aside)
            for j in range(units.shape[0]):
                if not ahead >> j & 1:
                    continue
                v = units[j]
                gap = away + apart(body, v, types)
                ex, ey = v.x - w.x, v.y - w.y
                if ex * ex + ey * ey < gap * gap:
                    ahead ^= 1 << j
                    crowd |= 1 << j
    return 1 if left < right - 1e-6 else -1


@compiled
def _obstructs(u, v, types):
    """Whether v is one that u walks around: alive, on the ground as u is, and not on its way itself
    unless it is stuck. An idle friend steps aside, so it is no obstacle."""
    if not v.alive or types[v.type].plane != types[u.type].plane:
        return False
    if v.stance == MOVING:
        return v.blocked
    return v.stance == FIGHTING or v.team != u.team


@compiled
def _obstructed_turns(i, dx, dy, units, types):
    """Which turns would lead a unit into somebody who stands or is stuck himself.

    Returns:
        a bit per row of ``_TURNS``.
    """
    u = units[i]
    kind = types[u.type]
    body = body_of(u, types)
    obstructed = 0
    for j in range(units.shape[0]):
        v = units[j]
        away = apart(body, v, types)
        ox, oy = v.x - u.x, v.y - u.y
        reach = away + kind.speed
        if ox * ox + oy * oy >= reach * reach or j == i or not _obstructs(u, v, types):
            continue
        for turn in range(_TURNS.shape[0]):
            hx, hy = _turned(dx, dy, turn)
            ex, ey = ox - kind.speed * hx, oy - kind.speed * hy
            if ex * ex + ey * ey < away * away:
                obstructed |= 1 << turn
    return obstructed


@compiled
def _turned(dx, dy, turn):
    cos, sin = _TURNS[turn, 0], _TURNS[turn, 1]
    return cos * dx - sin * dy, sin * dx + cos * dy


@compiled
def move_all(units, order, types, walkable, near_wall):
    """Moves every unit by its velocity, then resolves overlaps and walls."""
    n = units.shape[0]
    for i in range(n):
        u = units[i]
        if u.alive:
            u.from_x, u.from_y = u.x, u.y
            u.x += u.vx
            u.y += u.vy
    _separate(units, order, types)
    for i in range(n):
        u = units[i]
        if u.alive:
            _keep_inside(u, types, walkable, near_wall)
            square = u.vx * u.vx + u.vy * u.vy
            progress = (u.x - u.from_x) * u.vx + (u.y - u.from_y) * u.vy
            u.blocked = u.blocked or progress < _PROGRESS * square


@compiled
def _separate(units, order, types):
    """Pushes overlapping units apart, pair by pair in the loop's random order, so that the units'
    numbering has no say in it."""
    n = units.shape[0]
    for a in range(n):
        u = units[order[a]]
        if not u.alive:
            continue
        plane, body = types[u.type].plane, body_of(u, types)
        for b in range(a + 1, n):
            v = units[order[b]]
            if not v.alive:
                continue
            dx, dy = v.x - u.x, v.y - u.y
            square = dx * dx + dy * dy
            away = apart(body, v, types)
            if square >= away * away or plane != types[v.type].plane:
                continue
            distance = math.sqrt(square)
            if distance < 1e-6:  # exactly on top of each other: part along x
                dx, dy, distance = 1.0, 0.0, 1.0
                overlap = away
            else:
                overlap = away - distance
            share = _SHARE[int(u.team == v.team), u.stance, v.stance]
            dx, dy = dx / distance * overlap, dy / distance * overlap
            u.x -= share * dx
            u.y -= share * dy
            v.x += (1.0 - share) * dx
            v.y += (1.0 - share) * dy


@compiled
def _keep_inside(u, types, walkable, near_wall):
    """Pushes a unit's disc out of walls, and a flyer's back into the playable area."""
    kind = types[u.type]
    edge = kind.separation
    inside = edge + (BORDER if kind.flies else 0)
    u.x = min(max(u.x, inside), SIZE - inside)
    u.y = min(max(u.y, inside), SIZE - inside)
    if kind.flies:
        return
    cell_x, cell_y = int(u.x), int(u.y)
    if walkable[cell_x, cell_y]:
        if not near_wall[cell_x, cell_y]:
            return
    else:  # shoved into a wall: back to where it came from
        u.x, u.y = u.from_x, u.from_y
        cell_x, cell_y = int(u.x), int(u.y)
    for column in range(max(cell_x - 1, 0), min(cell_x + 2, SIZE)):
        for row in range(max(cell_y - 1, 0), min(cell_y + 2, SIZE)):
            if walkable[column, row]:
                continue
            # The point of the blocked cell that is nearest to the unit.
            near_x = min(max(u.x, float(column)), column + 1.0)
            near_y = min(max(u.y, float(row)), row + 1.0)
            dx, dy = u.x - near_x, u.y - near_y
            square = dx * dx + dy * dy
            if 0.0 < square < edge * edge:
                distance = math.sqrt(square)
                u.x += dx / distance * (edge - distance)
                u.y += dy / distance * (edge - distance)
    if not walkable[int(u.x), int(u.y)]:
        u.x, u.y = u.from_x, u.from_y
