"""Whole pictures of a filmed battle: a page with header, one or more panels, and the key.

Everything is laid out in inches from what is shown: the panels are as large as the battle needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from benchmark.analysis import labels
from benchmark.envs.simulator.units import UNITS
from benchmark.visualization.legend import draw_key
from benchmark.visualization.markers import EMPTY, INK, TEAM_COLOURS
from benchmark.visualization.recorder import Film, Frame
from benchmark.visualization.render import draw_frame, draw_terrain, view_of

DPI = 100  #: of animations; stills choose their own
_HEADER, _CAPTION, _MARGIN, _SPACE = 0.38, 0.2, 0.06, 0.1  # inches
_ANIMATION_SIZE = (5.6, 4.6)  #: inches that an animation's panel may fill
_STILLS_WIDTH = 7.0  #: inches, the text width of a paper's page
_LEGIBLE_CELL = 0.15  #: inches; stills take fewer columns rather than go below
_MOST_COLUMNS = 3  #: more would leave no room for captions
_KEY_POINTS = 14.0
_TEXT_WIDTH, _LONGEST_BAR = 1.5, 1.0  #: inches of a caption for its words, and of a bar
_FONT = "DejaVu Sans"  # comes with matplotlib: the same everywhere
_GREY = "#555555"
_LIFE = np.array([unit.health + unit.shield for unit in UNITS])


@dataclass(frozen=True)
class _Panel:
    caption: Axes
    battle: Axes


def stills(film: Film, steps: Sequence[int], title: str) -> Figure:
    """The battle at some steps, a panel each.

    Args:
        film: the battle.
        steps: env steps in 0 .. ``film.length``.
        title: who fought.
    """
    view = view_of(film)
    cells = view[1] - view[0]
    most = min(max(int(_STILLS_WIDTH / _LEGIBLE_CELL / cells), 2), _MOST_COLUMNS)
    rows = -(-len(steps) // most)
    columns = -(-len(steps) // rows)  # as few as these rows allow, to leave no hole
    width = (_STILLS_WIDTH - 2 * _MARGIN - (columns - 1) * _SPACE) / max(columns, 2)
    figure, panels = _page(film, title, view, width / cells, rows, columns)
    for panel, step in zip(panels, steps, strict=False):
        draw_frame(panel.battle, film.frames[step])
        _draw_caption(panel.caption, film, film.frames[step])
    for panel in panels[len(steps) :]:
        panel.battle.remove()
        panel.caption.remove()
    return figure


def animation(film: Film, title: str) -> Iterator[np.ndarray]:
    """The battle step by step.

    Yields:
        [H, W, 3] uint8 images, H and W even, one per frame of the film.
    """
    view = view_of(film)
    width, height = _ANIMATION_SIZE
    cell = min(width / (view[1] - view[0]), height / (view[3] - view[2]))
    figure, (panel,) = _page(film, title, view, cell, 1, 1)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    empty = canvas.copy_from_bbox(figure.bbox)
    for frame in film.frames:
        canvas.restore_region(empty)
        artists = draw_frame(panel.battle, frame) + _draw_caption(panel.caption, film, frame)
        for artist in artists:
            figure.draw_artist(artist)
            artist.remove()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _page(
    film: Film,
    title: str,
    view: tuple[float, float, float, float],
    cell: float,
    rows: int,
    columns: int,
) -> tuple[Figure, list[_Panel]]:
    """A figure with header, empty panels and key; ``cell`` is the size of a cell in inches."""
    wide, high = cell * (view[1] - view[0]), cell * (view[3] - view[2])
    width = 2 * _MARGIN + columns * wide + (columns - 1) * _SPACE
    width = _even(max(width, 3.4))
    figure = Figure(figsize=(width, 1.0), dpi=DPI)
    key = figure.add_axes((_MARGIN / width, 0.0, 1 - 2 * _MARGIN / width, 1.0))
    key_height = draw_key(key, film, _KEY_POINTS) / 72
    panels_height = rows * (_CAPTION + high) + (rows - 1) * _SPACE
    height = _even(_HEADER + panels_height + key_height + 2 * _MARGIN)
    figure.set_figheight(height)

    def place(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        """From inches, y downwards, to matplotlib's shares, y upwards."""
        return x / width, 1 - (y + h) / height, w / width, h / height

    key.set_position(
        place(_MARGIN, height - key_height - _MARGIN / 2, width - 2 * _MARGIN, key_height)
    )
    left = (width - columns * wide - (columns - 1) * _SPACE) / 2
    panels = []
    for row in range(rows):
        for column in range(columns):
            x = left + column * (wide + _SPACE)
            y = _HEADER + row * (_CAPTION + high + _SPACE)
            panel = _Panel(
                figure.add_axes(place(x, y, wide, _CAPTION)),
                figure.add_axes(place(x, y + _CAPTION, wide, high)),
            )
            panel.caption.set_axis_off()
            panel.caption.set(xlim=(0, wide), ylim=(0, _CAPTION))
            draw_terrain(panel.battle, film.walkable, view)
            panels.append(panel)
    _draw_header(figure, film, title, left / width, height)
    return figure, panels


def _even(inches: float) -> float:
    """Rounded up to an even number of pixels, which video formats need."""
    return 2 * int(np.ceil(inches * DPI / 2)) / DPI


def _draw_header(figure: Figure, film: Film, title: str, left: float, height: float) -> None:
    lines = (
        (0.05, f"{film.spec.map}: {title}", 8.5, "bold", INK),
        (0.205, labels.played_by(film.spec.backend), 6.5, "normal", _GREY),
    )
    for top, text, size, weight, colour in lines:
        figure.text(
            left, 1 - top / height, text, size=size, weight=weight, color=colour, family=_FONT,
            va="top",
        )  # fmt: skip


def _draw_caption(axes: Axes, film: Film, frame: Frame) -> list[Artist]:
    """Step, result, and what is left of each side: living units and a bar of their life."""
    width = axes.get_xlim()[1]
    bar = min(_LONGEST_BAR, (width - _TEXT_WIDTH) / 2 - 0.2)
    middle = width - bar - 0.2
    height, base = 0.08, 0.06
    last = frame.step == film.length
    text = f"step {frame.step}/{film.spec.episode_limit}" + (f": {film.result}" if last else "")
    artists: list[Artist] = [
        Text(0.0, base + height / 2, text, weight="bold" if last else "normal", ha="left")
    ]
    units = frame.units
    for team, direction in ((0, -1), (1, 1)):
        own = units["team"] == team
        life = (units["health"] + units["shield"])[own].sum() / _LIFE[units["type"][own]].sum()
        x = middle + direction * 0.2
        colour = TEAM_COLOURS[team]
        for share, fill in ((1.0, EMPTY), (life, colour)):
            artists.append(
                Rectangle((x, base), direction * bar * share, height, color=fill, linewidth=0)
            )
        alive = f"{np.count_nonzero(units['alive'][own])}"
        artists.append(
            Text(middle + direction * 0.1, base + height / 2, alive, color=colour, ha="center")
        )
    artists.append(Text(middle, base + height / 2, ":", ha="center"))
    for artist in artists:
        if isinstance(artist, Text):
            artist.set(size=7, family=_FONT, va="center_baseline", clip_on=False)
        axes.add_artist(artist)
    return artists
