"""The markers of units in pictures of battles, as matplotlib paths and collections, in cells.

A unit is a shape with a letter for its type, as large as the ground it occupies, inside a ring in
its team's colour: the ring's length is its health. A thinner ring around it is its shield, a pale
sector the rest of its weapon's cooldown. The teams' colours, Okabe and Ito's blue and vermillion,
stay apart under colour blindness.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from benchmark.envs.simulator.units import UNITS

TEAM_COLOURS = ("#0072B2", "#D55E00")  #: allies, enemies
INK = "#222222"
EMPTY = "#DADADA"  #: the missing part of a ring or bar
HEAL, SHIELD = "#009E73", "#F0B400"
COOLDOWN = (1.0, 1.0, 1.0, 0.5)
ATTACK_WIDTH, HEAL_WIDTH, LINE_OF_FIRE_WIDTH = 1.1, 2.4, 3.0  #: points

# Lengths in cells; a unit's body and rings lie around its radius.
BODY_INSET = 0.06
_RING, _SHIELD_RING, _GAP = 0.12, 0.07, 0.02
_SPARK = 0.2
_ARC = 33  #: points along a full ring
_TINT = 0.3  #: strength of a body's colour between its shape and its ring

_LETTERS = FontProperties(family="DejaVu Sans", weight="bold")  # comes with matplotlib


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
RADIUS = np.array([unit.separation for unit in UNITS])  #: [9] by type


def units(
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
    """Units with their rings, in one collection.

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
    inside, outer = radii - scale * BODY_INSET, radii + scale * _RING / 2
    beyond = outer + scale * (_GAP + _SHIELD_RING)
    ink = ink_on(body)

    def plain(colour: str | tuple) -> np.ndarray:
        return np.tile(to_rgba(colour), (len(kinds), 1))

    def arc(radius: np.ndarray, width: np.ndarray | float, share: np.ndarray) -> list[Path]:
        return [Path(outline) for outline in arcs(centres, radius, width, share)]

    layers = [
        (discs(centres, outer), 1 - _TINT * (1 - body)),  # hides what lies below
        (shapes(kinds, inside, centres), body),
        (arc(inside, inside, cooldown), plain(COOLDOWN)),
        (_letters(kinds, inside, centres), ink),
        (arc(outer, scale * _RING, np.ones(len(kinds))), plain(EMPTY)),
        (arc(outer, scale * _RING, health), ring),
        (arc(beyond, scale * _SHIELD_RING, shield), plain(SHIELD)),
    ]
    paths, colours = zip(*layers, strict=True)
    return [
        PathCollection(  # unit by unit, so that a whole unit covers the one below it
            [path for unit in zip(*paths, strict=True) for path in unit],
            facecolor=np.stack(colours, 1).reshape(-1, 4),
            linewidth=0,
        )
    ]


def ink_on(colours: np.ndarray) -> np.ndarray:
    """What can be read on grounds of these colours: white or ``INK``, [n, 4].

    Args:
        colours: [n, 3 or 4].
    """
    dark = colours[:, :3] @ (0.299, 0.587, 0.114) < 0.6  # luminance
    return np.where(dark[:, None], to_rgba("white"), to_rgba(INK))


def spark(centre: np.ndarray, scale: float = 1.0) -> Path:
    """A star where an attack hits."""
    return _placed(Path.unit_regular_star(4, 0.35), scale * _SPARK, centre)


def discs(centres: np.ndarray, radii: np.ndarray) -> list[Path]:
    """Discs around centres [n, 2]."""
    circle = Path.unit_circle()
    return [_placed(circle, radius, at) for radius, at in zip(radii, centres, strict=True)]


def shapes(kinds: np.ndarray, radii: np.ndarray, centres: np.ndarray) -> list[Path]:
    """The shapes of unit types [n] around centres [n, 2]."""
    found = zip(kinds, radii, centres, strict=True)
    return [_placed(_SYMBOLS[kind].shape, radius, at) for kind, radius, at in found]


def arcs(
    centres: np.ndarray, outer: np.ndarray, width: np.ndarray | float, share: np.ndarray
) -> np.ndarray:
    """Sectors of rings, clockwise from the top: polygons [n, 2 * _ARC, 2].

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


def _letters(kinds: np.ndarray, radii: np.ndarray, centres: np.ndarray) -> list[Path]:
    symbols = [_SYMBOLS[kind] for kind in kinds]
    found = zip(symbols, radii, centres, strict=True)
    return [_placed(_letter(one.letter), one.height * radius, at) for one, radius, at in found]


@cache
def _letter(letter: str) -> Path:
    """A letter of height 1, centred."""
    path = TextPath((0, 0), letter, size=1, prop=_LETTERS)
    box = path.get_extents()
    middle = np.add(box.min, box.max) / 2
    return Path((np.asarray(path.vertices) - middle) / max(box.height, 0.6 * box.width), path.codes)


def _placed(path: Path, size: float, centre: np.ndarray) -> Path:
    return Path(np.asarray(path.vertices) * size + centre, path.codes)
