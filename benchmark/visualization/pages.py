"""The pictures of a recorded battle: stills, a panel each, and the frames of an animation."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from benchmark.analysis import labels
from benchmark.envs.simulator.units import UNITS
from benchmark.visualization import legend
from benchmark.visualization.layout import FONT, GREY, Page
from benchmark.visualization.markers import EMPTY, TEAM_COLOURS
from benchmark.visualization.recorder import Recording, Snapshot
from benchmark.visualization.render import View, draw_snapshot, draw_terrain, view_of

_MARGIN, _CAPTION, _SPACE = 0.06, 0.2, 0.1  # inches
_LEAST_WIDTH = 3.4  #: inches, for the header
_ANIMATION_SIZE = (5.6, 4.6)  #: inches that an animation's panel may fill
_STILLS_WIDTH = 7.0  #: inches, the text width of a paper's page
_LEGIBLE_CELL = 0.15  #: inches; stills take fewer columns where a cell would be smaller
_MOST_COLUMNS = 3  #: more would leave no room for captions
_TEXT_WIDTH, _LONGEST_BAR = 1.5, 1.0  #: inches of a caption for its words, and of a bar
_LIFE = np.array([unit.health + unit.shield for unit in UNITS])


def stills(recording: Recording, steps: Sequence[int], title: str) -> Figure:
    """The battle at some steps, a panel each.

    Args:
        recording: the battle.
        steps: env steps in 0 .. ``recording.length``.
        title: who fought.
    """
    view = view_of(recording)
    most = int(_STILLS_WIDTH / _LEGIBLE_CELL / (view[1] - view[0]))
    rows = -(-len(steps) // min(max(most, 2), _MOST_COLUMNS))
    columns = -(-len(steps) // rows)  # as few as these rows allow, to leave no hole
    width = (_STILLS_WIDTH - 2 * _MARGIN - (columns - 1) * _SPACE) / max(columns, 2)
    figure, panels = _page(recording, title, view, width, len(steps), columns)
    for (caption, battle), step in zip(panels, steps, strict=True):
        draw_snapshot(battle, recording.snapshots[step])
        _draw_caption(caption, recording, recording.snapshots[step])
    return figure


def animation(recording: Recording, title: str) -> Iterator[Figure]:
    """The battle step by step.

    Yields:
        the same figure once per snapshot, changed; its size is an even number of pixels.
    """
    view = view_of(recording)
    width, height = _ANIMATION_SIZE
    width = min(width, height * (view[1] - view[0]) / (view[3] - view[2]))
    figure, ((caption, battle),) = _page(recording, title, view, width, 1, 1)
    for snapshot in recording.snapshots:
        artists = draw_snapshot(battle, snapshot) + _draw_caption(caption, recording, snapshot)
        yield figure
        for artist in artists:
            artist.remove()


def _page(
    recording: Recording, title: str, view: View, width: float, count: int, columns: int
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A page with header, ``count`` panels ``width`` inches wide, and legend.

    Returns:
        the figure, and each panel's axes for its caption and for the battle.
    """
    height = width * (view[3] - view[2]) / (view[1] - view[0])
    total = columns * (width + _SPACE) - _SPACE
    page = Page(max(total + 2 * _MARGIN, _LEAST_WIDTH), _MARGIN)
    left = (page.width - total) / 2
    page.write(left, f"{recording.spec.map}: {title}", 0.05, size=8.5, weight="bold")
    page.write(left, labels.played_by(recording.spec.backend), 0.2, size=6.5, color=GREY)
    page.y += 0.32
    panels = []
    for first in range(0, count, columns):
        for column in range(min(columns, count - first)):
            x = left + column * (width + _SPACE)
            caption = page.add(x, width, _CAPTION)
            caption.set(xlim=(0, width), ylim=(0, _CAPTION))
            caption.set_axis_off()
            battle = page.add(x, width, height, below=_CAPTION)
            draw_terrain(battle, recording.walkable, view)
            panels.append((caption, battle))
        page.y += _CAPTION + height + _SPACE
    page.add_legend(legend.entries(recording.kinds))
    return page.finish(), panels


def _draw_caption(axes: Axes, recording: Recording, snapshot: Snapshot) -> list[Artist]:
    """Step, result, and what is left of each side: living units and a bar of their life."""
    width = axes.get_xlim()[1]
    bar = min(_LONGEST_BAR, (width - _TEXT_WIDTH) / 2 - 0.2)
    middle, height, base = width - bar - 0.2, 0.08, 0.06
    last = snapshot.step == recording.length
    text = f"step {snapshot.step}/{recording.spec.episode_limit}"
    text += f": {recording.result}" if last else ""
    centre = base + height / 2
    artists: list[Artist] = [
        Text(0.0, centre, text, weight="bold" if last else "normal", ha="left"),
        Text(middle, centre, ":", ha="center"),
    ]
    units = snapshot.units
    for team, (colour, direction) in enumerate(zip(TEAM_COLOURS, (-1, 1), strict=True)):
        own = units[units["team"] == team]
        life = (own["health"] + own["shield"]).sum() / _LIFE[own["type"]].sum()
        place = (middle + direction * 0.2, base)
        for share, fill in ((1.0, EMPTY), (life, colour)):
            size = (direction * bar * share, height)
            artists.append(Rectangle(place, *size, color=fill, linewidth=0))
        alive = f"{np.count_nonzero(own['alive'])}"
        artists.append(Text(middle + direction * 0.1, centre, alive, color=colour, ha="center"))
    for artist in artists:
        if isinstance(artist, Text):
            artist.set(size=7, family=FONT, va="center_baseline", clip_on=False)
        axes.add_artist(artist)
    return artists
