"""``docs/paper.md``: every table and figure of R3DM's paper, and where its counterpart is made.

Its hyper-parameter tables are written from the code, for both protocols; what differs from the
paper is marked. The paper's values are data here, as ``docs/fidelity.md`` discusses them.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmark import files
from benchmark.analysis.rendering import templates
from benchmark.training.config import flat, resolve_run
from benchmark.training.protocol import RULES
from benchmark.training.study import load_study

_STUDY = files.ROOT / "config" / "paper.yaml"
_MAP = "3s5z_vs_3s6z"  #: whose values stand for those that are the same on nearly all maps


class Row(NamedTuple):
    """A hyper-parameter of the paper's table."""

    name: str
    paper: object  #: its value there
    key: str  #: in our code: a key of ``--set``, or ``Class.argument`` for a fixed size
    maps: Mapping[str, object] = MappingProxyType({})  #: the paper's exceptions


#: The paper's Tables 1, 2 and 4 as far as they name a value; its Table 3 is one of maps.
TABLES = {
    "Table 1, networks": [
        Row("units of the hypernetworks", 32, "hypernet_size"),
        Row("units of the mixing network", 32, "mixer_size"),
        Row("attention", 128, "AttentionMixer.attention_size"),
        Row("attention's output, state embedding per agent", 64, "role_size"),
        Row("attention heads", 4, "AttentionMixer.heads"),
    ],
    "Table 2, training": [
        Row("replay (episodes)", 5000, "replay_episodes"),
        Row(
            "batch (episodes)",
            32,
            "batch_size",
            dict.fromkeys(("6h_vs_8z", "protoss_10_vs_11", "terran_10_vs_11", "zerg_10_vs_11"), 64),
        ),
        Row("learning rate", 6e-4, "learning_rate"),
        Row("rate of the contrast", 8e-4, "contrastive_learning_rate"),
        Row("updates per contrastive step", 100, "contrastive_interval"),
        Row("momentum of the key encoder", 0.005, "key_tau"),
        Row("clusters", 3, "clusters", {"5m_vs_6m": 5, "terran_10_vs_11": 4}),
        Row("updates per target copy", 200, "target_interval"),
        Row("discount", 0.99, "gamma"),
        Row("first epsilon", 1.0, "epsilon_start"),
        Row("last epsilon", 0.02, "epsilon_end", {"zerg_5_vs_5": 0.0, "terran_10_vs_11": 0.001}),
        Row("steps of its decay", 80_000, "epsilon_steps", {"zerg_5_vs_5": 100_000}),
        Row("steps between evaluations", 5000, "evaluation_interval"),
        Row("episodes of an evaluation", 32, "evaluation_episodes"),
    ],
    "Table 4, world models": [
        Row("imagined steps (the paper's section 5.4)", 1, "horizon"),
        Row("learning rate", 1e-4, "model_learning_rate"),
        Row("gradient clip", 1000.0, "model_gradient_clip"),
        Row("free nats", 512, "free_nats"),
        Row("hidden units", 128, "WorldModel.size"),
        Row("latent variables", 16, "WorldModel.variables"),
        Row("classes of each", 16, "WorldModel.classes"),
        Row("share of uniform in a class", 0.01, "WorldModel.unimix"),
    ],
}
#: Table 3: map -> alpha, beta1, beta2, beta3.
TABLE_3 = {
    "5m_vs_6m": (0.05, 2.0, 0.0, 1.0),
    "MMM2": (0.05, 2.0, 0.0, 1.0),
    "3s5z_vs_3s6z": (0.1, 1.0, 0.0, 1.0),
    "27m_vs_30m": (0.1, 1.0, 0.0, 1.0),
    "corridor": (0.1, 1.0, 0.0, 2.0),
    "6h_vs_8z": (0.1, 0.9, 0.0, 2.0),
    "protoss_5_vs_5": (0.05, 0.5, 0.0, 1.0),
    "terran_5_vs_5": (0.05, 1.0, 0.0, 1.0),
    "zerg_5_vs_5": (0.05, 0.2, 0.0, 0.5),
    "protoss_10_vs_11": (0.05, 0.5, 0.0, 0.5),
    "terran_10_vs_11": (0.05, 0.5, 0.0, 0.5),
    "zerg_10_vs_11": (0.05, 0.2, 0.0, 1.0),
}
WEIGHTS = ("alpha", "beta1", "beta2", "beta3")


def write(output: Path) -> None:
    """Writes the page."""
    settings = {protocol: _settings(protocol) for protocol in RULES}
    page = templates(Path(__file__).parent / "templates").get_template("paper.md.j2")
    text = page.render(
        map=_MAP,
        tables={title: [_line(row, settings) for row in rows] for title, rows in TABLES.items()},
        table_3=[_weights(map, settings) for map in TABLE_3],
        study=load_study(_STUDY),
    )
    files.write(text + "\n", output)


def _settings(protocol: str) -> dict[str, dict]:
    """Everything that decides a run of R3DM, by map: flat keys, and sizes that are fixed."""
    from algorithms.acorm import AttentionMixer
    from algorithms.world_model import WorldModel

    fixed = {
        f"{network.__name__}.{name}": argument.default
        for network in (AttentionMixer, WorldModel)
        for name, argument in inspect.signature(network).parameters.items()
    }
    return {
        map: fixed
        | flat(resolve_run(map=map, algorithm="r3dm", seed=0, protocol=protocol).resolved())
        for map in TABLE_3
    }


def _line(row: Row, settings: dict[str, dict[str, dict]]) -> dict:
    """A row of the page: the paper's value, and per protocol ours, with the maps that differ."""
    paper = {map: row.maps.get(map, row.paper) for map in TABLE_3}
    cells = [_values(paper)]
    for by_map in settings.values():
        ours = {map: values[row.key] for map, values in by_map.items()}
        cells.append(_values(ours) if ours == paper else f"**{_values(ours)}**")
    return {"name": row.name, "key": row.key, "cells": cells}


def _values(by_map: dict[str, object]) -> str:
    """A value, and the maps with another one."""
    usual = by_map[_MAP]
    others: dict[object, list[str]] = {}
    for map, value in by_map.items():
        if value != usual:
            others.setdefault(value, []).append(map)
    return "; ".join(
        [_number(usual), *(f"{_number(v)} on {', '.join(maps)}" for v, maps in others.items())]
    )


def _weights(map: str, settings: dict[str, dict[str, dict]]) -> dict:
    """A row of Table 3: the paper's weights, and ours per protocol."""
    paper = dict(zip(WEIGHTS, TABLE_3[map], strict=True))
    cells = [[_number(value) for value in paper.values()]]
    for by_map in settings.values():
        ours = {name: by_map[map][name] for name in WEIGHTS}
        cells.append(
            [
                _number(value) if value == paper[name] else f"**{_number(value)}**"
                for name, value in ours.items()
            ]
        )
    return {"map": map, "cells": [" / ".join(weights) for weights in cells]}


def _number(value: object) -> str:
    """A value as the page writes it."""
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:,.0f}"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)
