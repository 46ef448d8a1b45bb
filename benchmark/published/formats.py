"""The formats that results are released in; each adapter turns one file into curves.

* TensorBoard CSV: ``Wall time,Step,Value``, one run per file;
* wandb run CSV: ``Step``, then per run a column and its ``__MIN`` and ``__MAX``, empty where the
  run has no value at that step;
* wandb group CSV: the same, but a column holds the mean over the runs of a group that were
  evaluated at that very step, ``__MIN`` and ``__MAX`` their extremes; which run is which is lost;
* NumPy arrays: one run per array, or one per row, without steps;
* marl-eval JSON: environment, task, algorithm, run, step, metric, one value per episode.

What cannot be read becomes a ``Problem`` that names file and column; the rest is still read.
"""

import io
import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.errors import first_line

EXTREMES = ("__MIN", "__MAX")  #: wandb's suffixes

_TENSORBOARD = ("Step", "Value")
_STEP = re.compile(r"_?(global_)?steps?$", re.IGNORECASE)
_GROUP = re.compile(r"[\w. ]+: ")  # wandb names a group's column "Group: name - metric"
_SEED = re.compile(r"seed[_-]?(\d+)", re.IGNORECASE)


class Problem(NamedTuple):
    """Something that could not be read."""

    file: str
    column: str
    reason: str

    def __str__(self) -> str:
        column = f", column {self.column!r}" if self.column else ""
        return f"{self.file}{column}: {self.reason}"


class Curve(NamedTuple):
    """One column of a file, as it stands there; what the file does not say is None or NaN."""

    column: str
    kind: str  #: "run" or "group"
    tag: str  #: what the file calls the number
    rows: np.ndarray  #: [N] row of the file, from 0
    steps: np.ndarray | None  #: [N] env steps
    value: np.ndarray  #: [N]
    low: np.ndarray | None = None  #: [N] the column __MIN
    high: np.ndarray | None = None  #: [N] the column __MAX
    wall: np.ndarray | None = None  #: [N] seconds since 1970
    episodes: np.ndarray | None = None  #: [N] index within an evaluation
    seed: int | None = None
    map: str | None = None
    algorithm: str | None = None
    phase: str = "training"


class Content(NamedTuple):
    """What one file holds."""

    format: str
    curves: list[Curve]
    problems: list[Problem]


def read(path: str, data: bytes) -> Content:
    """Reads one file by its suffix and its columns.

    Args:
        path: for the suffix and for messages.
        data: the file's bytes.
    """
    if not data.strip():
        return Content("unknown", [], [Problem(path, "", "the file is empty")])
    adapter = _ADAPTERS[PurePosixPath(path).suffix.lower()]
    return adapter(path, data)


def suffixes() -> tuple[str, ...]:
    """Suffixes of the files that can be read."""
    return tuple(_ADAPTERS)


def _csv(path: str, data: bytes) -> Content:
    text, problems = _decoded(path, data)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        reason = f"not a table of comma-separated values ({first_line(error)})"
        return Content("unknown", [], [*problems, Problem(path, "", reason)])
    if table.empty:
        return Content("unknown", [], [*problems, Problem(path, "", "a header without rows")])
    if _TENSORBOARD[1] in table or "Wall time" in table:
        return _tensorboard(path, table, problems)
    if _STEP.match(table.columns[0].strip()) and len(table.columns) > 1:
        return _wandb(path, table, problems)
    reason = "neither TensorBoard's columns (Wall time, Step, Value) nor wandb's (Step, ...)"
    return Content("unknown", [], [*problems, Problem(path, table.columns[0], reason)])


def _tensorboard(path: str, table: pd.DataFrame, problems: list[Problem]) -> Content:
    for column in _TENSORBOARD:
        if column not in table:
            problem = Problem(path, column, "the column is missing, the file cannot be used")
            return Content("tensorboard", [], [*problems, problem])
    steps = _numbers(path, table["Step"], problems)
    values = _numbers(path, table["Value"], problems)
    wall = table.get("Wall time")
    wall = np.full(len(table), np.nan) if wall is None else _numbers(path, wall, problems)
    rows = np.flatnonzero(np.isfinite(steps) & _is_value(table["Value"], values))
    tag = _tag_of_name(path)
    curve = Curve("Value", "run", tag, rows, steps[rows], values[rows], wall=wall[rows])
    return Content("tensorboard", [curve] if len(rows) else [], problems)


def _wandb(path: str, table: pd.DataFrame, problems: list[Problem]) -> Content:
    steps = _numbers(path, table.iloc[:, 0], problems)
    curves = []
    for name in table.columns[1:]:
        if name.endswith(EXTREMES):
            continue
        values = _numbers(path, table[name], problems)
        kept = np.flatnonzero(np.isfinite(steps) & _is_value(table[name], values))
        if not len(kept):
            problems.append(Problem(path, name, "the column holds no number"))
            continue
        low, high = (
            _numbers(path, table[name + end], problems)[kept] if name + end in table else None
            for end in EXTREMES
        )
        run, _, tag = name.rpartition(" - ")
        seed = _SEED.search(run)
        curves.append(
            Curve(
                column=name,
                kind="group" if _GROUP.match(name) else "run",
                tag=tag,
                rows=kept,
                steps=steps[kept],
                value=values[kept],
                low=low,
                high=high,
                seed=int(seed[1]) if seed else None,
            )
        )
    kinds = {curve.kind for curve in curves}
    return Content(f"wandb {'/'.join(sorted(kinds)) or 'unknown'}", curves, problems)


def _array(path: str, data: bytes) -> Content:
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        reason = f"not a whole NumPy array of numbers ({first_line(error)})"
        return Content("array", [], [Problem(path, "", reason)])
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
        shape = "x".join(map(str, array.shape))
        reason = f"an array of {array.dtype} [{shape}]; not numbers [evaluations] or [runs, ...]"
        return Content("array", [], [Problem(path, "", reason)])
    names = ["array"] if array.ndim == 1 else [f"array[{i}]" for i in range(len(array))]
    curves = [
        Curve(name, "run", "", np.arange(len(values)), None, values.astype(float))
        for name, values in zip(names, np.atleast_2d(array), strict=True)
    ]
    return Content("array", curves, [])


def _marl_eval(path: str, data: bytes) -> Content:
    text, problems = _decoded(path, data)
    try:
        tree = json.loads(text)
        runs = [
            (task, algorithm, run, evaluations)
            for tasks in tree.values()
            for task, algorithms in tasks.items()
            for algorithm, found in algorithms.items()
            for run, evaluations in found.items()
        ]
    except (ValueError, AttributeError) as error:
        reason = f"not marl-eval's environment/task/algorithm/run/step ({error})"
        return Content("marl-eval", [], [*problems, Problem(path, "", reason)])
    curves = []
    for task, algorithm, run, evaluations in runs:
        try:
            curves += _marl_eval_run(task, algorithm, run, evaluations)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            place = "/".join((task, algorithm, run))
            reason = f"not marl-eval's evaluations ({type(error).__name__}: {error})"
            problems.append(Problem(path, place, reason))
    return Content("marl-eval", curves, problems)


def _marl_eval_run(task: str, algorithm: str, run: str, evaluations: dict) -> list[Curve]:
    """The curves of one run, one per metric and phase."""
    found: dict[tuple[str, str], list[tuple]] = {}
    for name, metrics in evaluations.items():
        absolute = name == "absolute_metrics"
        step = np.nan if absolute else float(metrics["step_count"])
        for tag, values in metrics.items():
            if tag != "step_count":
                key = tag, "absolute" if absolute else "training"
                found.setdefault(key, []).extend(
                    (step, episode, float(value)) for episode, value in enumerate(values)
                )
    seed = re.search(r"\d+", run)
    curves = []
    for (tag, phase), points in found.items():
        steps, episodes, values = np.array(points).T
        curves.append(
            Curve(
                column="/".join((task, algorithm, run, tag)),
                kind="run",
                tag=tag,
                rows=np.arange(len(values)),
                steps=steps,
                value=values,
                episodes=episodes,
                seed=int(seed[0]) if seed else None,
                map=task,
                algorithm=algorithm,
                phase=phase,
            )
        )
    return curves


def _decoded(path: str, data: bytes) -> tuple[str, list[Problem]]:
    """The text of a file; an unusual encoding is said, so that odd names are no surprise."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding), []
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not {encoding}; read as Windows-1252"
        return data.decode("cp1252", errors="replace"), [Problem(path, "", reason)]


def _numbers(path: str, cells: pd.Series, problems: list[Problem]) -> np.ndarray:
    """Numbers of a column of text; NaN where the cell is empty or no number, which is said."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
    odd = ~_is_value(cells, numbers)
    odd[odd] = (cells[odd].str.strip() != "").to_numpy()
    if odd.any():
        first = int(np.argmax(odd))
        reason = f"{cells.iloc[first]!r} in row {first + 2} is not a number"
        more = f", like {odd.sum() - 1} more; these rows" if odd.sum() > 1 else "; this row"
        problems.append(Problem(path, str(cells.name), f"{reason}{more} left out"))
    return numbers


def _is_value(cells: pd.Series, numbers: np.ndarray) -> np.ndarray:
    """Where a cell holds a value; a written NaN is one, kept for the audit to find."""
    value = ~np.isnan(numbers)
    value[~value] = (cells[~value].str.strip().str.lower() == "nan").to_numpy()
    return value


def _tag_of_name(path: str) -> str:
    """TensorBoard's tag, which its CSV export writes into the file's name; empty without one."""
    stem = PurePosixPath(path).stem
    found = re.search(r"tag[-_]([\w-]+)|(?:^|_)((?:test_)?(?:battle_won|return)_mean)(?=_|$)", stem)
    return next(filter(None, found.groups()), "") if found else ""


_ADAPTERS: dict[str, Callable[[str, bytes], Content]] = {
    ".csv": _csv,
    ".npy": _array,
    ".json": _marl_eval,
}
