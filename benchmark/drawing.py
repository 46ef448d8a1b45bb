"""Draws a state of a battle into matplotlib Axes, in cells, and the key to its signs.

A unit is a shape with a letter for its type, as large as the ground it occupies (a little larger
where much of the map is in view), inside a ring in its team's colour: the ring's length is its
health. A thinner ring around it is its shield, a pale sector the rest of its weapon's cooldown.
Lines are attacks of the last step, with a spark where they hit; green ones heal, dots are missiles
in flight, circles explosions; the dead leave a cross. The teams' colours, Okabe and Ito's blue and
vermillion, stay apart under colour blindness.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from benchmark.envs.maps import SIZE
from benchmark.envs.units import LOOPS_PER_SECOND, UNITS
from benchmark.film import Film, Frame

TEAM_COLOURS = ("#0072B2", "#D55E00")  #: allies, enemies
INK = "#222222"
_HEAL, _SHIELD = "#009E73", "#F0B400"
_GROUND, _WALL, _WALL_EDGE = "#FBFAF7", "#D3D0C8", "#8F8B80"
_EMPTY = "#DADADA"  #: the missing part of a ring
_NEUTRAL = "#777777"  #: bodies in the key

_LEGIBLE_VIEW, _LARGEST = 20.0, 1.4  #: wider views (cells) enlarge all units, up to this factor

# Lengths in cells; a unit's body and rings lie around its radius.
_BODY_INSET, _RING, _SHIELD_RING, _GAP = 0.06, 0.12, 0.07, 0.02
_SPARK, _MISSILE, _ASIDE = 0.2, 0.13, 0.07
_ARC = 33  #: points along a full ring
_FADED = 0.4  #: opacity of the dead
_TINT = 0.3  #: strength of a body's colour between its shape and its ring

_BOLD = FontProperties(family="DejaVu Sans", weight="bold")  # comes with matplotlib
_PLAIN = FontProperties(family="DejaVu Sans")


def _polygon(corners: int, degrees: float = 0.0) -> Path:
    """A regular polygon in the unit circle, standing on a side when ``degrees`` is 0."""
    angles = np.pi / 2 + np.pi / corners * (corners % 2 == 0) + np.radians(degrees)
    angles = angles + 2 * np.pi * np.arange(corners + 1) / corners
    return Path(np.stack([np.cos(angles), np.sin(angles)], 1), closed=True)


@dataclass(frozen=True)
class Symbol:
    """How a unit type looks."""

    shape: Path  #: for a unit of radius 1
    letter: str
    height: float = 0.9  #: of the letter, in radii


SYMBOLS = {
    "marine": Symbol(Path.unit_circle(), "M"),
    "marauder": Symbol(_polygon(4), "R"),
    "medivac": Symbol(_polygon(6), "+", 1.1),
    "stalker": Symbol(_polygon(4, 45), "S", 0.8),
    "zealot": Symbol(_polygon(5), "Z", 0.8),
    "colossus": Symbol(_polygon(8), "C"),
    "hydralisk": Symbol(_polygon(3), "H", 0.62),
    "zergling": Symbol(_polygon(3, 180), "L", 0.62),
    "baneling": Symbol(Path.unit_regular_star(8, 0.75), "B", 0.8),
}
_SYMBOLS = [SYMBOLS[unit.name] for unit in UNITS]
_RADIUS = np.array([unit.separation for unit in UNITS])
_HEALTH = np.array([unit.health for unit in UNITS])
_SHIELDS = np.array([unit.shield for unit in UNITS])
_PERIOD = np.array([unit.period * LOOPS_PER_SECOND for unit in UNITS])
_HEALS = np.array([unit.heals > 0 for unit in UNITS])
_FLIES = np.array([unit.flies for unit in UNITS])
_SHOOTS = np.array([unit.missile_speed > 0 for unit in UNITS])
_BURST = np.array([unit.burst_splash for unit in UNITS])
_LINE = np.array([unit.line_splash for unit in UNITS])


def view_of(film: Film, margin: float = 1.6) -> tuple[float, float, float, float]:
    """The part of the map in which a battle takes place: (left, right, bottom, top) in cells."""
    where = np.concatenate(
        [frame.units[frame.units["alive"] | frame.fell] for frame in film.frames]
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


def draw_terrain(axes: Axes, walkable: np.ndarray, view: tuple[float, float, float, float]) -> None:
    """Prepares axes for battles on one map: limits, aspect, walls.

    Args:
        axes: emptied of ticks, one cell as wide as high.
        walkable: [32, 32] bool, indexed [x, y].
        view: (left, right, bottom, top) in cells.
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


def draw_frame(axes: Axes, frame: Frame, colours: Sequence[str] | None = None) -> list[Artist]:
    """Draws what the units are and did.

    Args:
        axes: with the map's terrain, see ``draw_terrain``.
        frame: the state, and what happened in the step before it.
        colours: [N] of the agents' bodies, e.g. by role; their team's colour when left out. The
            rings keep the team's colour.

    Returns:
        the artists, already added to the axes.
    """
    units, scale = frame.units, _scale(axes)
    ring = np.array([to_rgba(TEAM_COLOURS[team]) for team in units["team"]])
    body = ring.copy()
    if colours is not None:
        body[: len(colours)] = [to_rgba(colour) for colour in colours]
    artists = [
        *_dead(frame, body, scale),
        *_explosions(frame, ring),
        *_strikes(frame, ring, scale),
    ]
    up = np.flatnonzero(units["alive"])
    up = up[np.lexsort((-_RADIUS[units["type"][up]], _FLIES[units["type"][up]]))]  # small on large
    kind = units["type"][up]
    with np.errstate(divide="ignore", invalid="ignore"):
        artists += _living(
            kind,
            _places(frame)[up],
            scale * _RADIUS[kind],
            body[up],
            ring[up],
            units["health"][up] / _HEALTH[kind],
            np.nan_to_num(units["shield"][up] / _SHIELDS[kind]),
            np.nan_to_num(np.minimum(units["cooldown"][up] / _PERIOD[kind], 1.0)),
            scale,
        )
    artists += [*_sparks(frame, ring, scale), *_missiles(frame, ring, scale)]
    for layer, artist in enumerate(artists):
        artist.set_zorder(2 + 0.01 * layer)
        axes.add_collection(artist, autolim=False)
    return artists


def _living(
    kinds: np.ndarray,
    centres: np.ndarray,
    radii: np.ndarray,
    body: np.ndarray,
    ring: np.ndarray,
    health: np.ndarray,
    shield: np.ndarray,
    cooldown: np.ndarray,
    scale: float = 1.0,
) -> list[Artist]:
    """Units in good health or bad.

    Args:
        kinds: [n] indices into ``UNITS``.
        centres: [n, 2].
        radii: [n] as drawn.
        body: [n, 4] RGBA.
        ring: [n, 4] RGBA.
        health: [n] share left.
        shield: [n] share left; only types that have one show it.
        cooldown: [n] share of the weapon's period until it is ready.
        scale: of the rings.
    """
    if len(kinds) == 0:
        return []
    inside, outer = radii - scale * _BODY_INSET, radii + scale * _RING / 2
    beyond = outer + scale * (_GAP + _SHIELD_RING)
    full = np.ones(len(kinds))
    dark = body[:, :3] @ (0.299, 0.587, 0.114) < 0.6
    ink = np.where(dark[:, None], to_rgba("white"), to_rgba(INK))

    def plain(colour: str | tuple, opacity: float = 1.0) -> np.ndarray:
        return np.tile(to_rgba(colour, opacity), (len(kinds), 1))

    layers = [
        (_discs(centres, outer), 1 - _TINT * (1 - body)),  # hides what lies below
        ([_shape(*each) for each in zip(kinds, inside, centres, strict=True)], body),
        (_closed(_arcs(centres, inside, inside, cooldown)), plain("white", 0.5)),
        ([_letter(*each) for each in zip(kinds, inside, centres, strict=True)], ink),
        (_closed(_arcs(centres, outer, scale * _RING, full)), plain(_EMPTY)),
        (_closed(_arcs(centres, outer, scale * _RING, health)), ring),
        (_closed(_arcs(centres, beyond, scale * _SHIELD_RING, shield)), plain(_SHIELD)),
    ]
    paths, colours = zip(*layers, strict=True)
    return [
        PathCollection(  # unit by unit, so that a whole unit covers the one below it
            [path for unit in zip(*paths, strict=True) for path in unit],
            facecolor=np.stack(colours, 1).reshape(-1, 4),
            linewidth=0,
        )
    ]


def _dead(frame: Frame, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    """A faded outline and a cross where each dead unit lies."""
    down = ~frame.units["alive"]
    if not down.any():
        return
    kind, centres = frame.units["type"][down], _places(frame)[down]
    radii = scale * (_RADIUS[kind] - _BODY_INSET)
    faded = colour[down].copy()
    faded[:, 3] = _FADED
    outlines = [_shape(*each) for each in zip(kind, radii, centres, strict=True)]
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


def _explosions(frame: Frame, colour: np.ndarray) -> Iterator[Artist]:
    """The reach of the banelings that died in this step."""
    burst = frame.fell & (_BURST[frame.units["type"]] > 0)
    if burst.any():
        reach = _BURST[frame.units["type"][burst]]
        discs = _discs(_places(frame)[burst], reach)
        fill = colour[burst].copy()
        fill[:, 3] = 0.18
        yield PathCollection(discs, facecolor=fill, edgecolor=colour[burst], linewidth=0.8)


def _strikes(frame: Frame, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    """A line from everyone who struck to whom it struck, and the colossi's lines of fire."""
    by = np.flatnonzero(frame.struck >= 0)
    if len(by) == 0:
        return
    heals = _HEALS[frame.units["type"][by]]
    start, end = _contact(frame, by, scale)
    tint = np.where(heals[:, None], to_rgba(_HEAL), colour[by])
    tint[:, 3] = 0.75
    widths = np.where(heals, 2.4, 1.1)
    yield LineCollection(np.stack([start, end], 1), colors=tint, linewidths=widths)
    half = _LINE[frame.units["type"][by]]
    if (half > 0).any():
        centre = _places(frame)[frame.struck[by]][half > 0]
        along = centre - _places(frame)[by][half > 0]
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        across = np.stack([-along[:, 1], along[:, 0]], 1) * half[half > 0, None]
        yield LineCollection(
            np.stack([centre - across, centre + across], 1), colors=tint[half > 0], linewidths=3
        )


def _sparks(frame: Frame, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    """Where attacks hit: on the victim's near edge. Missiles hit later and have none."""
    kind = frame.units["type"]
    by = np.flatnonzero((frame.struck >= 0) & ~_HEALS[kind] & ~_SHOOTS[kind])
    if len(by):
        _, end = _contact(frame, by, scale)
        yield PathCollection(
            [_spark(place, scale) for place in end],
            facecolor=colour[by],
            edgecolor="white",
            linewidth=0.3,
        )


def _spark(centre: np.ndarray, scale: float = 1.0) -> Path:
    star = Path.unit_regular_star(4, 0.35)
    return Path(star.vertices * scale * _SPARK + centre, star.codes)


def _missiles(frame: Frame, colour: np.ndarray, scale: float) -> Iterator[Artist]:
    flying = frame.units["missile_target"] >= 0
    if flying.any():
        at = np.stack([frame.units["missile_x"], frame.units["missile_y"]], 1)[flying]
        dots = _discs(at, np.full(len(at), scale * _MISSILE))
        yield PathCollection(dots, facecolor=colour[flying], edgecolor="white", linewidth=0.6)


def _scale(axes: Axes) -> float:
    left, right = axes.get_xlim()
    return min(max((right - left) / _LEGIBLE_VIEW, 1.0), _LARGEST)


def _places(frame: Frame) -> np.ndarray:
    return np.stack([frame.units["x"], frame.units["y"]], 1)


def _contact(frame: Frame, by: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """From the edge of each striker to the edge of whom it struck, both [n, 2].

    A little to the left, so that the lines of two who strike each other lie side by side.
    """
    places, radii = _places(frame), scale * _RADIUS[frame.units["type"]]
    start, end = places[by], places[frame.struck[by]]
    way = end - start
    length = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    way /= length
    victim = np.where(frame.units["alive"][frame.struck[by]], radii[frame.struck[by]], 0.0)
    aside = _ASIDE * np.stack([-way[:, 1], way[:, 0]], 1)
    start = start + way * radii[by, None] + aside
    return start, end - way * np.minimum(victim[:, None], length) + aside


def _arcs(
    centres: np.ndarray, outer: np.ndarray, width: np.ndarray | float, share: np.ndarray
) -> np.ndarray:
    """Ring sectors, clockwise from the top: polygons [n, 2 * _ARC, 2].

    Args:
        centres: [n, 2].
        outer: [n] outer radius.
        width: of the ring; the outer radius makes it a sector of the disc.
        share: [n] of the full turn.
    """
    angles = np.pi / 2 - 2 * np.pi * share[:, None] * np.linspace(0, 1, _ARC)
    rim = np.stack([np.cos(angles), np.sin(angles)], 2)  # [n, _ARC, 2]
    inner = np.asarray(outer - width)[:, None, None]
    outline = np.concatenate([rim * outer[:, None, None], rim[:, ::-1] * inner], 1)
    return centres[:, None] + outline


@cache
def _glyph(letter: str) -> Path:
    """A letter of height 1, centred."""
    path = TextPath((0, 0), letter, size=1, prop=_BOLD)
    box = path.get_extents()
    middle = (box.min + box.max) / 2
    return Path((path.vertices - middle) / max(box.height, 0.6 * box.width), path.codes)


def _shape(kind: int, radius: float, centre: np.ndarray) -> Path:
    shape = _SYMBOLS[kind].shape
    return Path(shape.vertices * radius + centre, shape.codes)


def _letter(kind: int, radius: float, centre: np.ndarray) -> Path:
    glyph = _glyph(_SYMBOLS[kind].letter)
    return Path(glyph.vertices * _SYMBOLS[kind].height * radius + centre, glyph.codes)


def _discs(centres: np.ndarray, radii: np.ndarray) -> list[Path]:
    circle = Path.unit_circle()
    pairs = zip(centres, radii, strict=True)
    return [Path(circle.vertices * radius + centre, circle.codes) for centre, radius in pairs]


def _closed(outlines: np.ndarray) -> list[Path]:
    """Filled polygons [n, points, 2] as paths."""
    return [Path(outline) for outline in outlines]


# The key ------------------------------------------------------------------------------------------

_KEY_RADIUS, _KEY_LINE, _KEY_SPACE = 0.42, 1.25, 0.55  # in units of the key, see draw_key
_TEAMS = ("allies", "enemies")


def draw_key(axes: Axes, film: Film, points: float) -> float:
    """Draws the key to all signs that a battle can show.

    Args:
        axes: without ticks; gets limits in units of the key, its left edge at 0.
        film: tells which types and signs occur.
        points: size of a unit of the key, which is twice that of its text.

    Returns:
        the height that the key needs, in points.
    """
    axes.set_axis_off()
    box = axes.get_position()
    width = box.width * axes.figure.get_figwidth() * 72 / points
    x = y = 0.0
    for kind, text in _key_entries(film):
        label = TextPath((0, 0), text, size=0.5, prop=_PLAIN)
        length = 1.1 + label.get_extents().width + _KEY_SPACE
        if x + length - _KEY_SPACE > width and x > 0:
            x, y = 0.0, y - _KEY_LINE
        centre = np.array([x + 0.5, y])
        for artist in _key_sign(kind, centre):
            axes.add_collection(artist, autolim=False)
        place = (x + 1.1, y - 0.18)
        axes.add_collection(
            PathCollection([Path(label.vertices + place, label.codes)], facecolor=INK, linewidth=0),
            autolim=False,
        )
        x += length
    height = _KEY_LINE - y
    axes.set(xlim=(0, width), ylim=(y - _KEY_LINE / 2, _KEY_LINE / 2), autoscale_on=False)
    return height * points


def _key_entries(film: Film) -> Iterator[tuple[int | str, str]]:
    units = [UNITS[kind] for kind in film.kinds]
    yield from zip(_TEAMS, _TEAMS, strict=True)
    for kind, unit in zip(film.kinds, units, strict=True):
        yield kind, unit.name
    yield "health", "health"
    if any(unit.shield for unit in units):
        yield "shield", "shield"
    yield "cooldown", "cooldown"
    yield "attack", "attack"
    if any(unit.missile_speed for unit in units):
        yield "missile", "missile"
    if any(unit.heals for unit in units):
        yield "heal", "heal"
    if any(unit.burst_splash for unit in units):
        yield "burst", "explosion"
    yield "dead", "dead"


def _key_sign(kind: int | str, centre: np.ndarray) -> list[Artist]:
    """The sign of one entry, in a field of width 1 around ``centre``."""
    grey, ink = np.array([to_rgba(_NEUTRAL)]), np.array([to_rgba(INK)])
    at, radius, one = centre[None], np.array([_KEY_RADIUS]), np.ones(1)
    left, right = np.array([-0.42, 0.0]), np.array([0.28, 0.0])
    line = [np.stack([centre + left, centre + right])]

    def sector(size: float, width: float, share: float, **look) -> PolyCollection:
        return PolyCollection(_arcs(at, size * radius, width, share * one), **look)

    if isinstance(kind, int):
        return _living(np.array([kind]), at, radius, grey, grey * 0, one, one * 0, one * 0)
    if kind in _TEAMS:
        return [
            PathCollection(_discs(at, 0.7 * radius), facecolor=TEAM_COLOURS[_TEAMS.index(kind)])
        ]
    if kind == "health":
        return [
            sector(1.0, 0.16, 1.0, facecolor=_EMPTY),
            sector(1.0, 0.16, 0.7, facecolor=ink),
        ]
    if kind == "shield":
        return [sector(1.0, 0.12, 0.7, facecolor=_SHIELD)]
    if kind == "cooldown":
        return [
            sector(1.0, radius, 1.0, facecolor=grey),
            sector(1.0, radius, 0.35, facecolor=(1, 1, 1, 0.5)),
        ]
    if kind == "attack":
        return [
            LineCollection(line, colors=INK, linewidths=1.1),
            PathCollection([_spark(centre + right)], facecolor=INK, linewidth=0),
        ]
    if kind == "missile":
        return [PathCollection(_discs(at, 0.4 * radius), facecolor=INK, linewidth=0)]
    if kind == "heal":
        return [LineCollection(line, colors=_HEAL, linewidths=2.4)]
    if kind == "burst":
        return [PathCollection(_discs(at, radius), facecolor=(*ink[0, :3], 0.18), edgecolor=INK)]
    arms = np.array([[(-0.3, -0.3), (0.3, 0.3)], [(-0.3, 0.3), (0.3, -0.3)]])
    return [LineCollection(centre + arms, colors=_NEUTRAL, linewidths=1.3)]
