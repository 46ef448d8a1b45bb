"""The formats that results are released in; each reader turns one file into columns of numbers.

* TensorBoard CSV: ``Wall time,Step,Value``, one run per file;
* wandb run CSV: ``Step``, then per run a column and its ``__MIN`` and ``__MAX``, empty where the
  run has no value at that step;
* wandb group CSV: the same, but a column holds the mean over the runs of a group that were
  evaluated at that very step, ``__MIN`` and ``__MAX`` their extremes; which run is which is lost;
* NumPy arrays: one run per array, or one per row, without steps;
* marl-eval JSON: environment, task, algorithm, run, step, metric, one value per episode.

Nothing is guessed: what cannot be read becomes a ``Problem`` that names file and column, and the
rest is still read.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from benchmark.errors import first_line

_STEP = re.compile(r"_?(global_)?steps?$", re.IGNORECASE)
_GROUP = re.compile(r"[\w. ]+: ")  # wandb names a group's column "Group: name - metric"
_SEED = re.compile(r"seed[_-]?(\d{1,18})", re.IGNORECASE)
_EXTREMES = ("__MIN", "__MAX")  # wandb's suffixes
_LARGEST = 2**53  #: steps above are no env steps, and would not survive as floats elsewhere


class Problem(NamedTuple):
    """Something that could not be read, or not as it stands."""

    file: str
    column: str
    reason: str

    def __str__(self) -> str:
        column = f", column {self.column!r}" if self.column else ""
        return f"{self.file}{column}: {self.reason}"


class Column(NamedTuple):
    """The numbers of one run or group as they stand in a file; what it does not say is None."""

    name: str  #: unique in the file
    kind: str  #: "run" or "group"
    tag: str  #: what the file calls the number
    rows: np.ndarray  #: [N] row of the file, from 0
    steps: np.ndarray | None  #: [N] env steps, NaN in the absolute phase
    value: np.ndarray  #: [N]
    low: np.ndarray | None = None  #: [N] the column __MIN, NaN where it is empty
    high: np.ndarray | None = None  #: [N] the column __MAX, NaN where it is empty
    wall: np.ndarray | None = None  #: [N] seconds since 1970
    episodes: np.ndarray | None = None  #: [N] index within an evaluation
    seed: int | None = None
    map: str | None = None
    algorithm: str | None = None
    phase: str = "training"


class Content(NamedTuple):
    """What one file holds."""

    format: str
    columns: list[Column]
    problems: list[Problem]


class _Unreadable(Exception):
    """A whole file or column that cannot be used; the message says why."""


def read(path: str, data: bytes) -> Content:
    """Reads one file by its suffix and its columns.

    Args:
        path: for the suffix and for messages.
        data: the file's bytes.
    """
    problems: list[Problem] = []
    name, reader = _READERS[PurePosixPath(path).suffix.lower()]
    try:
        if not data.strip():
            raise _Unreadable("the file is empty")
        name, columns = reader(path, data, problems)
    except _Unreadable as error:
        return Content(name, [], [*problems, Problem(path, "", str(error))])
    kept = [column for column in columns if np.isfinite(column.value).any()]
    for column in columns:
        if not np.isfinite(column.value).any():
            problems.append(Problem(path, column.name, "holds no finite number"))
    return Content(name, kept, problems)


def suffixes() -> tuple[str, ...]:
    """Suffixes of the files that can be read."""
    return tuple(_READERS)


def _csv(path: str, data: bytes, problems: list[Problem]) -> tuple[str, list[Column]]:
    table = _Table(path, _text(data), problems)
    if {"Value", "Wall time"} & set(table.header):
        return "tensorboard", _tensorboard(table)
    if _STEP.match(table.header[0].strip()) and len(table.header) > 1:
        columns = _wandb(table)
        kinds = sorted({column.kind for column in columns})
        return f"wandb {'/'.join(kinds) or 'unknown'}", columns
    raise _Unreadable(
        f"its columns ({', '.join(table.header[:3])}, ...) are neither TensorBoard's"
        " (Wall time, Step, Value) nor wandb's (Step, ...)"
    )


class _Table:
    """The cells of a CSV file; only rows that have as many fields as the header."""

    def __init__(self, path: str, text: str, problems: list[Problem]) -> None:
        self.path, self.problems = path, problems
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows, lines = [], []
        try:
            for row in filter(None, reader):
                rows.append(row)
                lines.append(reader.line_num)
        except csv.Error as error:
            raise _Unreadable(
                f"not a table of comma-separated values (line {reader.line_num}: {error})"
            ) from error
        if not rows:
            raise _Unreadable("the file is empty")
        self.header, width = rows[0], len(rows[0])
        if len(rows) == 1:
            raise _Unreadable("a header without rows")
        odd = [line for line, row in zip(lines, rows, strict=True) if len(row) != width]
        self.numbers = [i for i, row in enumerate(rows[1:]) if len(row) == width]  #: of the rows
        self.lines = [lines[i + 1] for i in self.numbers]
        self.cells = [rows[i + 1] for i in self.numbers]
        if odd:
            reason = f"line {odd[0]} does not have the header's {width} fields"
            self._left_out("", reason, len(odd), "line")
        if not self.cells:
            raise _Unreadable("no line has as many fields as the header")

    def column(self, name: str) -> int:
        """The place of a column that the header names once."""
        places = [i for i, title in enumerate(self.header) if title == name]
        if len(places) != 1:
            found = "is missing" if not places else f"stands {len(places)} times in the header"
            raise _Unreadable(f"the column {name!r} {found}, the file cannot be used")
        return places[0]

    def values(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of a column [N], and where there is one; a written NaN is one."""
        return self._numbers(place, float)

    def values_or_nan(self, place: int | None) -> np.ndarray:
        """Numbers of a column [N], NaN where there is none, or no such column."""
        if place is None:
            return np.full(len(self.cells), np.nan)
        numbers, known = self.values(place)
        return np.where(known, numbers, np.nan)

    def steps(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Env steps of a column [N], and where there is one."""
        steps, known = self._numbers(place, _step)
        return steps.astype(np.int64), known

    def _numbers(self, place: int, parse: Callable) -> tuple[np.ndarray, np.ndarray]:
        numbers, known, odd = np.zeros(len(self.cells)), np.zeros(len(self.cells), bool), []
        for row, cells in enumerate(self.cells):
            cell = cells[place].strip()
            if not cell:
                continue
            try:
                if "_" in cell or not cell.isascii():  # float() would take them
                    raise ValueError
                numbers[row], known[row] = parse(cell), True
            except (ValueError, OverflowError):
                odd.append(row)
        if odd:
            reason = f"{self.cells[odd[0]][place][:40]!r} in line {self.lines[odd[0]]} is no number"
            self._left_out(self.header[place], reason, len(odd), "row")
        return numbers, known

    def _left_out(self, column: str, reason: str, count: int, what: str) -> None:
        more = f", like {count - 1} more; these {what}s" if count > 1 else f"; this {what}"
        left = f"{more} {'are' if count > 1 else 'is'} left out"
        self.problems.append(Problem(self.path, column, reason + left))


def _step(text: str) -> int:
    """A number of env steps; floats are rounded."""
    step = int(text) if text.isdigit() else round(float(text))
    if not -_LARGEST < step < _LARGEST:
        raise ValueError
    return step


def _tensorboard(table: _Table) -> list[Column]:
    steps, known = table.steps(table.column("Step"))
    value, valued = table.values(table.column("Value"))
    kept = np.flatnonzero(known & valued)
    clock = table.column("Wall time") if "Wall time" in table.header else None
    wall = table.values_or_nan(clock)[kept]
    rows = np.array(table.numbers)[kept]
    tag = _tag_of_name(table.path)
    return [Column("Value", "run", tag, rows, steps[kept], value[kept], wall=wall)]


def _wandb(table: _Table) -> list[Column]:
    """The runs or groups of a wandb file.

    Runs may share a display name; then the first column of that name goes with the first ``__MIN``
    and ``__MAX`` of it, and so on. Columns of wandb's own counters (``_step``) are left out.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(table.header[1:], start=1):
        places.setdefault(name, []).append(place)
    steps, stepped = table.steps(0)
    columns = []
    for name, same in places.items():
        run, _, tag = name.rpartition(" - ")
        if name.endswith(_EXTREMES) or tag.startswith("_"):
            continue
        extremes = [places.get(name + end, []) for end in _EXTREMES]
        if any(len(found) not in (0, len(same)) for found in extremes):
            reason = "the columns of this name and of its extremes differ in number; left out"
            table.problems.append(Problem(table.path, name, reason))
            continue
        if len(same) > 1:
            reason = f"{len(same)} columns have this name; read as so many runs, in their order"
            table.problems.append(Problem(table.path, name, reason))
        for number, place in enumerate(same):
            value, valued = table.values(place)
            kept = np.flatnonzero(stepped & valued)
            low, high = (
                table.values_or_nan(found[number] if found else None)[kept] for found in extremes
            )
            seed = _SEED.search(run)
            columns.append(
                Column(
                    name=name if len(same) == 1 else f"{name} [column {place + 1}]",
                    kind="group" if _GROUP.match(name) else "run",
                    tag=tag,
                    rows=np.array(table.numbers)[kept],
                    steps=steps[kept],
                    value=value[kept],
                    low=low,
                    high=high,
                    seed=int(seed[1]) if seed and len(same) == 1 else None,
                )
            )
    return columns


def _array(path: str, data: bytes, problems: list[Problem]) -> tuple[str, list[Column]]:
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # whatever a damaged header makes NumPy and its parser raise
        raise _Unreadable(f"not a whole NumPy array of numbers ({first_line(error)})") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
        shape = "x".join(map(str, array.shape))
        raise _Unreadable(
            f"an array of {array.dtype} [{shape}]; not numbers [evaluations] or [runs, ...]"
        )
    names = ["array"] if array.ndim == 1 else [f"array[{i}]" for i in range(len(array))]
    return "array", [
        Column(name, "run", "", np.arange(len(values)), None, values.astype(float))
        for name, values in zip(names, np.atleast_2d(array), strict=True)
    ]


def _marl_eval(path: str, data: bytes, problems: list[Problem]) -> tuple[str, list[Column]]:
    try:
        tree = json.loads(_text(data), object_pairs_hook=_unique)
        runs = [
            (environment, task, algorithm, run, evaluations)
            for environment, tasks in tree.items()
            for task, algorithms in tasks.items()
            for algorithm, found in algorithms.items()
            for run, evaluations in found.items()
        ]
    except (ValueError, AttributeError, RecursionError) as error:
        raise _Unreadable(
            f"not marl-eval's environment/task/algorithm/run/step ({first_line(error)})"
        ) from error
    columns = []
    for *names, evaluations in runs:
        try:
            columns += _marl_eval_run(names, evaluations)
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
            reason = f"not marl-eval's evaluations ({type(error).__name__}: {first_line(error)})"
            problems.append(Problem(path, "/".join(names), reason))
    return "marl-eval", columns


def _unique(pairs: Sequence[tuple[str, object]]) -> dict:
    """A JSON object; a key that stands twice would hide a run."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _marl_eval_run(names: list[str], evaluations: dict) -> list[Column]:
    """The columns of one run, one per metric and phase; single numbers are no metrics.

    Args:
        names: of environment, task, algorithm and run.
    """
    _, task, algorithm, run = names
    found: dict[tuple[str, str], list[tuple]] = {}
    for name, metrics in evaluations.items():
        phase = "absolute" if name == "absolute_metrics" else "training"
        step = np.nan if phase == "absolute" else _step(str(metrics["step_count"]))
        for tag, values in metrics.items():
            if isinstance(values, list):
                found.setdefault((tag, phase), []).extend(
                    (step, episode, float(value)) for episode, value in enumerate(values)
                )
    seed = re.search(r"\d{1,18}", run)
    columns = []
    for (tag, phase), points in found.items():
        if not points:
            continue
        points.sort(key=lambda point: point[0])  # the order of keys means nothing in JSON
        steps, episodes, values = np.array(points).T
        columns.append(
            Column(
                name="/".join((*names, tag)),
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
    return columns


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        raise _Unreadable("holds NUL characters, the file is damaged")
    return text


def _tag_of_name(path: str) -> str:
    """TensorBoard's tag, which its CSV export writes into the file's name; empty without one."""
    stem = PurePosixPath(path).stem
    found = re.search(r"tag[-_]([\w-]+)|(?:^|_)((?:test_)?(?:battle_won|return)_mean)(?=_|$)", stem)
    return next(filter(None, found.groups()), "") if found else ""


_READERS: dict[str, tuple[str, Callable[[str, bytes, list[Problem]], tuple[str, list[Column]]]]] = {
    ".csv": ("unknown", _csv),
    ".npy": ("array", _array),
    ".json": ("marl-eval", _marl_eval),
}
