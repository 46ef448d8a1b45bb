"""Walkable cells of the maps, and the ways around their corners.

Read from the SC2Map files: the cells on the playing plateau (cliff level 64), cut to the playable
area 2 .. 29 (``maps.BORDER``). The recording of 3m agrees: the client refuses moves west at x 2.3
and south at y 7.7, and allows them at x 3.4 and y 8.5. The pit's corners are cut once more, or
untrained policies that flee live too long on 6h_vs_8z. Grids are indexed ``[x, y]``, y grows north,
cell (x, y) covers [x, x+1) x [y, y+1).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmark.envs.maps import SIZE

#: Rows of walkable cells: (first y, last y, first x, last x).
_ROWS = {
    "flat": ((2, 29, 2, 29),),
    "strip": ((7, 24, 2, 29),),
    "pit": (
        (7, 7, 10, 19), (8, 8, 9, 20), (9, 9, 8, 21), (10, 17, 7, 22), (18, 18, 8, 21),
        (19, 19, 9, 20), (20, 20, 10, 19),
    ),
    "corridor": (
        # lower-left chamber, where the zerglings' attack point is
        (2, 2, 2, 14), (3, 3, 2, 13), (4, 9, 2, 12), (10, 10, 2, 13), (11, 11, 2, 14),
        (12, 12, 2, 15),
        # upper-right chamber, where both armies start; six cells of row 13 lie above row 12
        (13, 13, 10, 26), (14, 14, 11, 27), (15, 15, 12, 28), (16, 16, 12, 29), (17, 22, 11, 29),
        (23, 23, 12, 29), (24, 24, 13, 29), (25, 25, 14, 29), (26, 26, 15, 29), (27, 27, 16, 29),
        (28, 28, 17, 29), (29, 29, 18, 29),
    ),
}  # fmt: skip
#: Half the width that a straight way must keep clear, about the radius of the ground units.
_CLEARANCE = 0.45
DIRECT = -1  #: in ``Terrain.via``: the straight way is open


@dataclass(frozen=True)
class Terrain:
    """What blocks units and how to get around it."""

    walkable: np.ndarray  #: [32, 32] bool
    #: [32, 32] bool, walkable cells with a blocked one (or the edge) among their eight neighbours
    near_wall: np.ndarray
    #: [1024, 1024] int16 (or [1, 1] where every straight way is open): from cell ``32 x + y`` to
    #: another, the cell to head for first, or ``DIRECT``
    via: np.ndarray


@lru_cache(maxsize=8)
def find_terrain(name: str) -> Terrain:
    """The terrain of that name in the table above."""
    walkable = np.zeros((SIZE, SIZE), bool)
    for first_y, last_y, first_x, last_x in _ROWS[name]:
        walkable[first_x : last_x + 1, first_y : last_y + 1] = True
    open_around = np.pad(walkable, 1)
    blocked_near = np.zeros_like(walkable)
    for dx in range(3):
        for dy in range(3):
            blocked_near |= ~open_around[dx : dx + SIZE, dy : dy + SIZE]
    via = _ways_around(walkable) if name == "corridor" else np.full((1, 1), DIRECT, np.int16)
    terrain = Terrain(walkable, walkable & blocked_near, via)
    for array in (terrain.walkable, terrain.near_wall, terrain.via):
        array.flags.writeable = False
    return terrain


def _ways_around(walkable: np.ndarray) -> np.ndarray:
    """First waypoint of the shortest way between any two cells (a visibility graph of corners)."""
    cells = np.argwhere(walkable)
    centres = cells + 0.5
    sees = _lines_of_sight(walkable, centres)
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    # Any cell may be a waypoint: Floyd-Warshall over the few hundred of them.
    length = np.where(sees, distance, np.inf)
    first = np.where(sees, np.arange(len(cells))[None], -1)
    for k in range(len(cells)):
        longer = length[:, k, None] + length[None, k] + 1e-6
        better = longer < length
        length = np.where(better, longer, length)
        first = np.where(better, first[:, k, None], first)
    index = (cells[:, 0] * SIZE + cells[:, 1]).astype(np.int16)
    via = np.full((SIZE * SIZE, SIZE * SIZE), DIRECT, np.int16)
    via[np.ix_(index, index)] = np.where(sees | (first < 0), DIRECT, index[first])
    return via


def _lines_of_sight(walkable: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[n, n] bool: whether a unit can walk straight from one cell to another."""
    start, end = np.triu_indices(len(centres), 1)
    clear = np.arange(len(start))
    along = np.linspace(0, 1, 64, dtype=np.float32)
    for side in (0.0, _CLEARANCE, -_CLEARANCE):  # the middle of the way, then its borders
        x, y = centres[start[clear]].astype(np.float32).T
        dx, dy = (centres[end[clear]] - centres[start[clear]]).astype(np.float32).T
        length = np.hypot(dx, dy)
        x, y = x - side * dy / length, y + side * dx / length
        column = (x[:, None] + dx[:, None] * along).astype(np.int16)
        row = (y[:, None] + dy[:, None] * along).astype(np.int16)
        clear = clear[walkable[column, row].all(1)]
    sees = np.eye(len(centres), dtype=bool)
    sees[start[clear], end[clear]] = True
    return sees | sees.T
