"""Draws a snapshot of a battle into matplotlib Axes, in cells.

Units are drawn as in ``markers``, a little larger where much of the map is in view. Lines are
attacks of the last step, with a spark where they hit; thick bars are the colossi's lines of fire.
Green lines heal, dots are missiles in flight, circles explosions; crosses are the dead.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba

from benchmark.envs.maps import SIZE
from benchmark.envs.simulator.units import LOOPS_PER_SECOND, UNITS
from benchmark.visualization import markers
from benchmark.visualization.recorder import Recording, Snapshot

View = tuple[float, float, float, float]  #: left, right, bottom, top of a part of the map, in cells

_GROUND, _WALL, _WALL_EDGE = "#FBFAF7", "#D3D0C8", "#8F8B80"
_LEGIBLE_VIEW, _LARGEST = 20.0, 1.4  #: wider views (cells) enlarge all units, up to this factor
_MISSILE, _ASIDE = 0.13, 0.07  # cells
_FADED = 0.4  #: opacity of the dead

_HEALTH = np.array([unit.health for unit in UNITS])
_SHIELDS = np.array([unit.shield for unit in UNITS])
_PERIOD = np.array([unit.period * LOOPS_PER_SECOND for unit in UNITS])
_HEALS = np.array([unit.heals > 0 for unit in UNITS])
_FLIES = np.array([unit.flies for unit in UNITS])
_SHOOTS = np.array([unit.missile_speed > 0 for unit in UNITS])
_BURST = np.array([unit.burst_splash for unit in UNITS])
_LINE = np.array([unit.line_splash for unit in UNITS])


def view_of(recording: Recording, margin: float = 1.6) -> View:
    """The part of the map in which a battle takes place."""
    where = np.concatenate(
        [
            snapshot.units[snapshot.units["alive"] | snapshot.died]
            for snapshot in recording.snapshots
        ]
    )
    spans = []
    for axis, least in (("x", 11.0), ("y", 7.0)):
        low, high = where[axis].min() - margin, where[axis].max() + margin
        more = max(least - (high - low), 0.0) / 2
        spans.append([low - more, high + more])
    (width, height) = (high - low for low, high in spans)
    for span, more in zip(spans, (0.8 * height - width, width / 2.6 - height), strict=True):
        span[0] -= max(more, 0.0) / 2
        span[1] += max(more, 0.0) / 2
    for span in spans:  # back onto the map, with as little cut off as possible
        shift = max(-0.5 - span[0], 0.0) - max(span[1] - (SIZE + 0.5), 0.0)
        span[0], span[1] = max(span[0] + shift, -0.5), min(span[1] + shift, SIZE + 0.5)
    return (*spans[0], *spans[1])


def draw_terrain(axes: Axes, walkable: np.ndarray, view: View) -> None:
    """Prepares axes for battles on one map: limits, aspect, walls.

    Args:
        axes: emptied of ticks, one cell as wide as high.
        walkable: [32, 32] bool, indexed [x, y].
        view: the part of the map that is shown.
    """
    axes.set(xlim=view[:2], ylim=view[2:], xticks=[], yticks=[], aspect="equal")
    axes.set_facecolor(_GROUND)
    for spine in axes.spines.values():
        spine.set(color=_WALL_EDGE, linewidth=0.6)
    padded = np.pad(walkable, 1)  # beyond the map is wall
    x, y = np.nonzero(~padded)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) - 1.0
    cells = np.stack([x, y], 1)[:, None] + corners
    walls = PolyCollection(cells, facecolor=_WALL, edgecolor=_WALL, linewidth=0.4, zorder=0)
    axes.add_collection(walls, autolim=False)
    x, y = np.nonzero(padded[1:] != padded[:-1])  # between cells (x - 1, y - 1) and (x, y - 1)
    upright = np.stack([np.stack([x, y - 1], 1), np.stack([x, y], 1)], 1)
    x, y = np.nonzero(padded[:, 1:] != padded[:, :-1])
    level = np.stack([np.stack([x - 1, y], 1), np.stack([x, y], 1)], 1)
    edges = LineCollection(
        np.concatenate([upright, level]), colors=_WALL_EDGE, linewidths=0.8, zorder=0.5
    )
    axes.add_collection(edges, autolim=False)


def draw_snapshot(
    axes: Axes, snapshot: Snapshot, colours: Sequence[str] | None = None
) -> list[Artist]:
    """Draws what the units are and did.

    Args:
        axes: with the map's terrain, see ``draw_terrain``.
        snapshot: the state, and what happened in the step before it.
        colours: [N] of the agents' bodies, e.g. by role; their team's colour when left out. The
            rings keep the team's colour.

    Returns:
        the artists, already added to the axes.
    """
    units, scale = snapshot.units, _scale(axes)
    ring = np.array([to_rgba(markers.TEAM_COLOURS[team]) for team in units["team"]])
    body = ring.copy()
    if colours is not None:
        body[: len(colours)] = [to_rgba(colour) for colour in colours]
    artists = [
        *_dead(snapshot, body, scale),
        *_explosions(snapshot, ring),
        *_strikes(snapshot, ring, scale),
    ]
    up = np.flatnonzero(units["alive"])
    size = markers.RADIUS[units["type"][up]]
    up = up[np.lexsort((-size, _FLIES[units["type"][up]]))]  # the small above the large
    kind = units["type"][up]
    with np.errstate(divide="ignore", invalid="ignore"):
        artists += markers.units(
            kind,
            snapshot.positions[up],
            scale * markers.RADIUS[kind],
            body[up],
            ring[up],
            units["health"][up] / _HEALTH[kind],
            np.nan_to_num(units["shield"][up] / _SHIELDS[kind]),
            np.nan_to_num(np.minimum(units["cooldown"][up] / _PERIOD[kind], 1.0)),
            scale,
        )
    artists += [*_sparks(snapshot, ring, scale), *_missiles(snapshot, ring, scale)]
    for layer, artist in enumerate(artists):
        artist.set_zorder(2 + 0.01 * layer)
        axes.add_collection(artist, autolim=False)
    return artists


def _dead(snapshot: Snapshot, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    """A faded outline and a cross where each dead unit lies."""
    down = ~snapshot.units["alive"]
    if not down.any():
        return
    kind, centres = snapshot.units["type"][down], snapshot.positions[down]
    radii = scale * (markers.RADIUS[kind] - markers.BODY_INSET)
    faded = colour[down].copy()
    faded[:, 3] = _FADED
    outlines = markers.shapes(kind, radii, centres)
    pale = faded.copy()
    pale[:, 3] = _FADED / 4
    yield PathCollection(outlines, facecolor=pale, edgecolor=faded, linewidth=0.6)
    arms = np.array([[(-0.62, -0.62), (0.62, 0.62)], [(-0.62, 0.62), (0.62, -0.62)]])
    crosses = centres[:, None, None] + arms * radii[:, None, None, None]  # [n, 2 arms, 2 ends, 2]
    cross = LineCollection(
        crosses.reshape(-1, 2, 2), colors=np.repeat(faded, 2, 0), linewidths=1.3, capstyle="round"
    )
    cross.set_gid("dead")
    yield cross


def _explosions(snapshot: Snapshot, colour: np.ndarray) -> Iterator[Artist]:
    """The reach of the banelings that died in this step."""
    burst = snapshot.died & (_BURST[snapshot.units["type"]] > 0)
    if burst.any():
        reach = _BURST[snapshot.units["type"][burst]]
        discs = markers.discs(snapshot.positions[burst], reach)
        fill = colour[burst].copy()
        fill[:, 3] = 0.18
        yield PathCollection(discs, facecolor=fill, edgecolor=colour[burst], linewidth=0.8)


def _strikes(snapshot: Snapshot, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    """A line from everyone who struck to whom it struck, and the colossi's lines of fire."""
    by = np.flatnonzero(snapshot.struck >= 0)
    if len(by) == 0:
        return
    heals = _HEALS[snapshot.units["type"][by]]
    start, end = _contact(snapshot, by, scale)
    tint = np.where(heals[:, None], to_rgba(markers.HEAL), colour[by])
    tint[:, 3] = 0.75
    widths = np.where(heals, markers.HEAL_WIDTH, markers.ATTACK_WIDTH)
    yield LineCollection(np.stack([start, end], 1), colors=tint, linewidths=widths)
    half = _LINE[snapshot.units["type"][by]]
    if (half > 0).any():
        centre = snapshot.positions[snapshot.struck[by]][half > 0]
        along = centre - snapshot.positions[by][half > 0]
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        across = np.stack([-along[:, 1], along[:, 0]], 1) * half[half > 0, None]
        yield LineCollection(
            np.stack([centre - across, centre + across], 1),
            colors=tint[half > 0],
            linewidths=markers.LINE_OF_FIRE_WIDTH,
        )


def _sparks(snapshot: Snapshot, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    """Where attacks hit: on the victim's near edge. Missiles hit later and have none."""
    kind = snapshot.units["type"]
    by = np.flatnonzero((snapshot.struck >= 0) & ~_HEALS[kind] & ~_SHOOTS[kind])
    if len(by):
        _, end = _contact(snapshot, by, scale)
        yield PathCollection(
            [markers.spark(place, scale) for place in end],
            facecolor=colour[by],
            edgecolor="white",
            linewidth=0.3,
        )


def _missiles(snapshot: Snapshot, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    flying = snapshot.units["missile_target"] >= 0
    if flying.any():
        at = np.stack([snapshot.units["missile_x"], snapshot.units["missile_y"]], 1)[flying]
        dots = markers.discs(at, np.full(len(at), scale * _MISSILE))
        yield PathCollection(dots, facecolor=colour[flying], edgecolor="white", linewidth=0.6)


def _scale(axes: Axes) -> float:
    left, right = axes.get_xlim()
    return min(max((right - left) / _LEGIBLE_VIEW, 1.0), _LARGEST)


def _contact(snapshot: Snapshot, by: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """From the edge of each striker to the edge of whom it struck, both [n, 2].

    A little to the left, so that the lines of two who strike each other lie side by side.
    """
    places, radii = snapshot.positions, scale * markers.RADIUS[snapshot.units["type"]]
    start, end = places[by], places[snapshot.struck[by]]
    way = end - start
    length = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    way /= length
    victim = np.where(snapshot.units["alive"][snapshot.struck[by]], radii[snapshot.struck[by]], 0.0)
    aside = _ASIDE * np.stack([-way[:, 1], way[:, 0]], 1)
    start = start + way * radii[by, None] + aside
    return start, end - way * np.minimum(victim[:, None], length) + aside
