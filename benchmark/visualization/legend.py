"""The entries of a battle's legend: proxy handles for matplotlib."""

from collections.abc import Iterable

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.path import Path

from benchmark.envs.simulator.units import UNITS
from benchmark.visualization import markers
from benchmark.visualization.markers import INK

_SIZE = 9.5  #: points, of a sign
_NEUTRAL = "#777777"


def entries(kinds: Iterable[int]) -> dict[str, Line2D | tuple[Line2D, ...]]:
    """Names and proxies of all signs that a battle can show; those of a tuple overlap.

    Args:
        kinds: the unit types that fight.
    """
    units = [UNITS[kind] for kind in sorted(kinds)]
    allies, enemies = (_sign("o", colour, 0.7) for colour in markers.TEAM_COLOURS)
    found: dict = {"allies": allies, "enemies": enemies}
    for unit in units:
        symbol = markers.SYMBOLS[unit.name]
        letter = _sign(rf"$\mathbf{{{symbol.letter}}}$", "white", 0.5 * symbol.height)
        found[unit.name] = (_sign(symbol.shape, _NEUTRAL), letter)
    found["health"] = (_ring(0.4, 1.0, markers.EMPTY), _ring(0.4, 0.7, INK))
    if any(unit.shield for unit in units):
        found["shield"] = _ring(0.3, 0.7, markers.SHIELD)
    found["cooldown"] = (_sign("o", _NEUTRAL), _ring(1.0, 0.35, markers.COOLDOWN))
    star = markers.spark(np.zeros(2))
    corners = np.asarray(star.vertices)
    spark = Path(corners / corners.max() * 0.7 + (0.7, 0.0), star.codes)
    found["attack"] = (_line(INK, markers.ATTACK_WIDTH), _sign(spark, INK, 1.4))
    if any(unit.line_splash for unit in units):
        found["line of fire"] = _line(INK, markers.LINE_OF_FIRE_WIDTH)
    if any(unit.missile_speed for unit in units):
        found["missile"] = _sign("o", INK, 0.4)
    if any(unit.heals for unit in units):
        found["heal"] = _line(markers.HEAL, markers.HEAL_WIDTH)
    if any(unit.burst_splash for unit in units):
        found["explosion"] = _sign("o", (INK, 0.18), edge=INK, width=0.8)
    found["dead"] = _sign("x", _NEUTRAL, 0.6, edge=_NEUTRAL, width=1.3)
    return found


def _sign(marker: str | Path, colour, size: float = 1.0, edge="none", width=0.0) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, markersize=size * _SIZE, markerfacecolor=colour,
        markeredgecolor=edge, markeredgewidth=width,
    )  # fmt: skip


def _ring(width: float, share: float, colour) -> Line2D:
    """A share of a ring of outer radius 1, clockwise from the top."""
    one = np.ones(1)
    return _sign(Path(markers.arcs(np.zeros((1, 2)), one, width, share * one)[0]), colour)


def _line(colour: str, width: float) -> Line2D:
    return Line2D([], [], color=colour, linewidth=width)
