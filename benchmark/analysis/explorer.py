"""What the report's script draws: mean curves, and every run with all that is known of it.

The page holds it as JSON, compressed, for ``templates/report.js``:

* ``scale``: metric -> what its values were multiplied by before they were rounded to whole numbers;
* ``grids``: distinct grids of env steps;
* ``curves``: "map/algorithm/variant" -> its grid, its number of runs and per metric the values and
  the bounds of their interval, null where there are none;
* ``runs``: per run its cell in ``curves``, its values and what else is known of it;
* ``settings`` and ``provenance``: what several runs share, which refer to it by position.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.markers import MarkerStyle

from benchmark.analysis import labels
from benchmark.training.config import run_path

_SCALE = {"win_rate": 1000, "return": 100}
_RUN = ["map", "algorithm", "variant", "seed"]
_LOG_LINES = 12  #: at the end of each run's log
_LOG_BYTES = 4000  #: of the end of a log that are read for them
_SHARED = ("commit", "dirty", "backend_version", "source_hash", "versions", "hardware")
_OWN = ("config_hash", "env_steps", "episodes", "updates", "wall_seconds", "end_reason", "attempts")


def page_data(curves: pd.DataFrame, points: pd.DataFrame, runs: list[dict], folder: Path) -> str:
    """The JSON of the page: gzip in base64, a third of its size as text.

    Args:
        curves: the statistic of that name.
        points: what ``scores.evaluations_to_points`` returns.
        runs: the ``run.json`` of every run, in the order of the report.
        folder: the study's folder, for the ends of logs.
    """
    grids, settings, provenance = _Distinct(), _Distinct(), _Distinct()
    points = points[points["phase"] == "training"]
    by_run = {key: rows for key, rows in points.groupby(_RUN, sort=False)}
    page = {
        "scale": _SCALE,
        "curves": {
            cell_name(*cell): _curve(rows, grids)
            for cell, rows in curves.groupby(_RUN[:-1], sort=False)
        },
        "runs": [
            {
                "cell": cell_name(*(run[name] for name in _RUN[:-1])),
                "seed": run["seed"],
                **_values(by_run.get(tuple(run[name] for name in _RUN)), grids),
                "settings": settings.add(_settings(run["config"])),
                "provenance": provenance.add({name: run[name] for name in _SHARED}),
                "about": {name: run[name] for name in _OWN},
                "folder": str(run_path(run)),
                "log": _log(folder / run_path(run) / "train.log"),
            }
            for run in runs
        ],
        "grids": grids.found,
        "settings": settings.found,
        "provenance": provenance.found,
    }
    text = json.dumps(page, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


class _Distinct:
    """Distinct values by position."""

    def __init__(self) -> None:
        self.found: list = []
        self._places: dict[str, int] = {}

    def add(self, value: Any) -> int:
        """The position of a value, which is added if it is new."""
        place = self._places.setdefault(json.dumps(value, sort_keys=True), len(self.found))
        if place == len(self.found):
            self.found.append(value)
        return place


def cell_name(map: str, algorithm: str, variant: str) -> str:
    """What the page calls a method on a map."""
    return f"{map}/{algorithm}/{variant}"


def _curve(rows: pd.DataFrame, grids: _Distinct) -> dict:
    """The mean of one method on one map, both metrics."""
    by_metric = {metric: rows[rows["metric"] == metric] for metric in _SCALE}
    first = next(iter(by_metric.values()))
    n = first["n"].tolist()
    return {
        "grid": grids.add(first["step"].tolist()),
        "n": n[0] if len(set(n)) == 1 else n,
        **{
            metric: [_whole(part[name], metric) for name in ("value", "low", "high")]
            for metric, part in by_metric.items()
        },
    }


def _values(rows: pd.DataFrame | None, grids: _Distinct) -> dict:
    """The evaluations of one run; none where the table does not have it."""
    if rows is None:
        return {"grid": grids.add([]), **{metric: [] for metric in _SCALE}}
    grid = grids.add(rows["step"].tolist())
    return {"grid": grid, **{metric: _whole(rows[metric], metric) for metric in _SCALE}}


def _whole(values: pd.Series, metric: str) -> list[int | None]:
    scaled = values.to_numpy(float) * _SCALE[metric]
    return [None if np.isnan(value) else round(value) for value in scaled]


def _settings(config: dict) -> dict[str, dict]:
    """The rules, env options and hyper-parameters of a run, without what names it."""
    return {part: values for part, values in config.items() if isinstance(values, dict)}


def _log(path: Path) -> str:
    """The last lines of a run's log; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:  # a study that came as its table
        return ""
    return "\n".join(lines[-_LOG_LINES:])


def legend(styles: Sequence[tuple[str, labels.PlotStyle]]) -> list[dict[str, str]]:
    """How the methods of a group of plots look in the page.

    Args:
        styles: "algorithm/variant" and style of each.
    """
    return [
        {
            "method": method,
            "name": style.name,
            "style": f"--c:{style.colour};--d:{labels.on_dark(style.colour)}",
            "marker": _marker(style.marker),
        }
        for method, style in styles
    ]


def _marker(name: str) -> str:
    """A marker of matplotlib as an SVG path of about two units, y downwards."""
    style = MarkerStyle(name)
    path = style.get_path().transformed(style.get_transform())
    polygons = [np.asarray(corners) for corners in path.to_polygons()]
    size = max(float(np.abs(corners).max()) for corners in polygons)
    return "".join(
        "M" + "L".join(f"{x / size:.2f} {-y / size:.2f}" for x, y in corners) + "Z"
        for corners in polygons
    )
