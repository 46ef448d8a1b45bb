"""How methods, maps and sources are named, ordered and coloured: one place for every output.

A *method* is an (algorithm, variant) pair. Colours are Okabe and Ito's, which stay apart under the
common forms of colour blindness; markers tell methods apart where colour does not print.
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from benchmark.envs.maps import MAPS, find_map
from benchmark.training.config import DEFAULT, RunConfig


class PlotStyle(NamedTuple):
    """How one algorithm appears everywhere."""

    name: str
    colour: str
    marker: str


#: In the order in which they are listed everywhere.
ALGORITHMS = {
    "r3dm": PlotStyle("R3DM", "#D55E00", "o"),
    "qmix": PlotStyle("QMIX", "#000000", "s"),
    "acorm": PlotStyle("ACORM", "#0072B2", "^"),
    "cia": PlotStyle("CIA", "#009E73", "D"),
    "gomarl": PlotStyle("GoMARL", "#E69F00", "v"),
    "cds": PlotStyle("CDS", "#CC79A7", "P"),
    "emc": PlotStyle("EMC", "#56B4E9", "X"),
}

#: For added algorithms and variants: none of the seven colours above, none of their markers.
_FURTHER_COLOURS = ("#332288", "#117733", "#AA4499", "#999933", "#882255", "#777777", "#661100")
_FURTHER_MARKERS = ("<", ">", "p", "h", "d", "*", "8")

_SEEN = 0.22  #: luminance of a line that stands out on a dark ground

FAMILIES = {"smac": "SMAC", "smacv2": "SMACv2"}
PHASES = {"training": "final", "absolute": "absolute"}
METRICS = {"win_rate": "win rate", "return": "return"}
Metric = Literal["win_rate", "return"]
AGGREGATES = {"iqm": "IQM", "mean": "Mean", "median": "Median", "optimality_gap": "Optimality gap"}
#: Why a map is left out.
NO_SCORE = "no score there"
_BACKENDS = {
    "simulator": "battle simulator (not StarCraft II)",
    "starcraft2": "StarCraft II",
    "standin": "stand-in for StarCraft II (battle simulator behind the real clients)",
}


def plot_style(algorithm: str) -> PlotStyle:
    """Name, colour and marker of an algorithm; the same ones every time for an unlisted one."""
    if algorithm in ALGORITHMS:
        return ALGORITHMS[algorithm]
    pick = zlib.crc32(algorithm.encode()) % (len(_FURTHER_COLOURS) * len(_FURTHER_MARKERS))
    name = " ".join(algorithm.split())
    return PlotStyle(name, *next(itertools.islice(further(), pick, None)))


def further(
    colours: Sequence[str] = _FURTHER_COLOURS, markers: Sequence[str] = _FURTHER_MARKERS
) -> Iterator[tuple[str, str]]:
    """Further colours with markers; the colours come again with other markers, without end."""
    for turn in itertools.count():
        for index, colour in enumerate(colours):
            yield colour, markers[(index + turn) % len(markers)]


def on_dark(colour: str) -> str:
    """A colour for a dark ground: mixed with white as far as it is too dark to be seen there."""
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    while 0.2126 * rgb[0] ** 2.2 + 0.7152 * rgb[1] ** 2.2 + 0.0722 * rgb[2] ** 2.2 < _SEEN:
        rgb = [value + 0.1 * (1 - value) for value in rgb]
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)


def label(algorithm: str, variant: str = DEFAULT) -> str:
    """Display name of a method: ``QMIX``, or ``R3DM (no contrastive)`` for a variant."""
    name = plot_style(algorithm).name
    return name if variant == DEFAULT else f"{name} ({' '.join(variant.replace('_', ' ').split())})"


def run_label(run: RunConfig) -> str:
    """Display name of a run: ``R3DM (no contrastive), seed 3``."""
    return f"{label(run.algorithm, run.variant)}, seed {run.seed}"


def order(algorithm: str) -> tuple[int, str]:
    """Sort key: the listed algorithms first, in their order, then the others by name."""
    names = list(ALGORITHMS)
    return (names.index(algorithm) if algorithm in names else len(names), algorithm)


def played_by(backend: str) -> str:
    """Who plays on a backend, for people; its own name if it is none of ours."""
    return _BACKENDS.get(backend, backend)


def source(backend: str, protocol: str) -> str:
    """Where numbers come from, in the words of every table and figure."""
    return f"{played_by(backend)}, {protocol} protocol"


def family(map: str) -> str:
    """The family of a map: ``smac`` or ``smacv2``.

    Raises:
        BenchmarkError: there is no such map.
    """
    return "smacv2" if find_map(map).generated else "smac"


def map_order(map: str) -> tuple[int, int]:
    """Sort key: by family, then as in the list of maps."""
    return list(FAMILIES).index(family(map)), list(MAPS).index(map)


def families(maps: list[str]) -> list[str]:
    """The families that occur among ``maps``, in their fixed order."""
    present = {family(map) for map in maps}
    return [name for name in FAMILIES if name in present]


def suites(maps: list[str]) -> dict[str, list[str]]:
    """Sets of maps that aggregate metrics run over: each family, and ``all`` when there are two."""
    groups = {name: [map for map in maps if family(map) == name] for name in families(maps)}
    return groups if len(groups) < 2 else {**groups, "all": list(maps)}


def suite_name(suite: str) -> str:
    """Display name of a suite."""
    return " and ".join(FAMILIES.values()) if suite == "all" else FAMILIES[suite]


def count(values: Iterable[int], noun: str) -> str:
    """Counts in words: ``5 runs``, ``1 map``, or ``3 to 5 runs`` where they differ."""
    low, high = int(min(values, default=0)), int(max(values, default=0))
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} {noun}" if high == 1 else f"{number} {noun}s"
