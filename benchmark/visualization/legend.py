"""The key to the signs in a picture of a battle."""

from collections.abc import Iterator

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from benchmark.envs.simulator.units import UNITS
from benchmark.visualization import markers
from benchmark.visualization.recorder import Film

_TEXT = FontProperties(family="DejaVu Sans")  # comes with matplotlib
_NEUTRAL = "#777777"
_RADIUS, _LINE, _SPACE = 0.42, 1.25, 0.55  # in units of the key, see ``draw_key``
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
    for entry in _entries(film):
        text = entry if isinstance(entry, str) else UNITS[entry].name
        label = TextPath((0, 0), text, size=0.5, prop=_TEXT)
        length = 1.1 + label.get_extents().width + _SPACE
        if x + length - _SPACE > width and x > 0:
            x, y = 0.0, y - _LINE
        centre = np.array([x + 0.5, y])
        for artist in _sign(entry, centre):
            axes.add_collection(artist, autolim=False)
        place = (x + 1.1, y - 0.18)
        axes.add_collection(
            PathCollection(
                [Path(label.vertices + place, label.codes)], facecolor=markers.INK, linewidth=0
            ),
            autolim=False,
        )
        x += length
    height = _LINE - y
    axes.set(xlim=(0, width), ylim=(y - _LINE / 2, _LINE / 2), autoscale_on=False)
    return height * points


def _entries(film: Film) -> Iterator[int | str]:
    """Unit types, and names of signs."""
    units = [UNITS[kind] for kind in film.kinds]
    yield from _TEAMS
    yield from film.kinds
    yield "health"
    if any(unit.shield for unit in units):
        yield "shield"
    yield "cooldown"
    yield "attack"
    if any(unit.line_splash for unit in units):
        yield "line of fire"
    if any(unit.missile_speed for unit in units):
        yield "missile"
    if any(unit.heals for unit in units):
        yield "heal"
    if any(unit.burst_splash for unit in units):
        yield "explosion"
    yield "dead"


def _sign(entry: int | str, centre: np.ndarray) -> list[Artist]:
    """The sign of one entry, in a field of width 1 around ``centre``."""
    grey, ink = np.array([to_rgba(_NEUTRAL)]), np.array([to_rgba(markers.INK)])
    at, radius, one = centre[None], np.array([_RADIUS]), np.ones(1)
    left, right = np.array([-0.42, 0.0]), np.array([0.28, 0.0])
    line = [np.stack([centre + left, centre + right])]

    def sector(width: float, share: float, **look) -> PolyCollection:
        return PolyCollection(markers.arcs(at, radius, width, share * one), **look)

    if isinstance(entry, int):
        return markers.units(np.array([entry]), at, radius, grey, grey * 0, one, one * 0, one * 0)
    if entry in _TEAMS:
        return [
            PathCollection(
                markers.discs(at, 0.7 * radius), facecolor=markers.TEAM_COLOURS[_TEAMS.index(entry)]
            )
        ]
    if entry == "health":
        return [
            sector(0.16, 1.0, facecolor=markers.EMPTY),
            sector(0.16, 0.7, facecolor=ink),
        ]
    if entry == "shield":
        return [sector(0.12, 0.7, facecolor=markers.SHIELD)]
    if entry == "cooldown":
        return [
            sector(radius, 1.0, facecolor=grey),
            sector(radius, 0.35, facecolor=markers.COOLDOWN),
        ]
    if entry == "attack":
        return [
            LineCollection(line, colors=markers.INK, linewidths=markers.ATTACK_WIDTH),
            PathCollection([markers.spark(centre + right)], facecolor=markers.INK, linewidth=0),
        ]
    if entry == "line of fire":
        return [LineCollection(line, colors=markers.INK, linewidths=markers.LINE_OF_FIRE_WIDTH)]
    if entry == "missile":
        return [PathCollection(markers.discs(at, 0.4 * radius), facecolor=markers.INK, linewidth=0)]
    if entry == "heal":
        return [LineCollection(line, colors=markers.HEAL, linewidths=markers.HEAL_WIDTH)]
    if entry == "explosion":
        return [
            PathCollection(
                markers.discs(at, radius), facecolor=(*ink[0, :3], 0.18), edgecolor=markers.INK
            )
        ]
    arms = np.array([[(-0.3, -0.3), (0.3, 0.3)], [(-0.3, 0.3), (0.3, -0.3)]])
    return [LineCollection(centre + arms, colors=_NEUTRAL, linewidths=1.3)]
