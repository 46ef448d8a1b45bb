"""The page that pictures of battles and of roles are laid out on, in inches."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D

from benchmark.visualization.markers import INK

DPI = 100  #: of animations; other pictures choose their own
FONT = "DejaVu Sans"  # comes with matplotlib: the same everywhere
GREY = "#555555"


class Page:
    """A figure of fixed width that is filled downwards: ``y`` is where its content ends so far.

    Places are in inches from the top left corner. Width and height are an even number of pixels,
    which video formats need.
    """

    def __init__(self, width: float, margin: float) -> None:
        self.width, self.margin, self.y = _even(width), margin, margin
        self.figure = Figure(figsize=(self.width, 1.0), dpi=DPI)
        FigureCanvasAgg(self.figure)
        self._down = Affine2D()  # from the places above to matplotlib's, which go up
        self._inches = self._down + self.figure.dpi_scale_trans
        self._axes: list[tuple[Axes, tuple[float, float, float, float]]] = []

    def add(self, x: float, width: float, height: float, below: float = 0.0) -> Axes:
        """New axes that begin ``below`` the end of the page; the end does not move."""
        axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0), label=str(len(self._axes)))
        self._axes.append((axes, (x, self.y + below, width, height)))
        return axes

    def write(self, x: float, text: str, below: float = 0.0, **style) -> None:
        """A line of text whose middle is ``below`` the end of the page; the end does not move."""
        style = {"color": INK, "family": FONT, "va": "center_baseline"} | style
        style["parse_math"] = False  # a $ of a name is a $
        self.figure.text(x, self.y + below, text, transform=self._inches, **style)

    def add_legend(self, entries: Mapping[str, Line2D | tuple[Line2D, ...]]) -> None:
        """A legend at the end of the page, in as many columns as have room.

        Args:
            entries: name -> handle; the handles of a tuple are drawn on top of each other.
        """
        handles: list = list(entries.values())  # matplotlib's types know no tuples
        for columns in range(len(entries), 0, -1):
            legend = self.figure.legend(
                handles, list(entries), handler_map={tuple: HandlerTuple(ndivide=1)},
                loc="upper left", bbox_to_anchor=(self.margin, self.y), bbox_transform=self._inches,
                ncols=columns, prop={"family": FONT, "size": 7}, labelcolor=INK, frameon=False,
                handlelength=1.6, handletextpad=0.5, columnspacing=1.1, labelspacing=0.45,
                borderpad=0, borderaxespad=0,
            )  # fmt: skip
            width, height = (side / DPI for side in legend.get_window_extent().size)
            if width <= self.width - 2 * self.margin or columns == 1:
                break
            legend.remove()
        self.y += height

    def finish(self) -> Figure:
        """Cuts the page below its content."""
        height = _even(self.y + self.margin)
        self.figure.set_figheight(height)
        self._down.scale(1, -1).translate(0, height)
        for axes, (x, y, w, h) in self._axes:
            axes.set_position((x / self.width, 1 - (y + h) / height, w / self.width, h / height))
        return self.figure


def _even(inches: float) -> float:
    """Rounded up to an even number of pixels."""
    return 2 * int(np.ceil(inches * DPI / 2)) / DPI
