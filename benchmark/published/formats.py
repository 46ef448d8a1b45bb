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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from benchmark.errors import BenchmarkError, first_line

_STEP = re.compile(r"_?(global_)?steps?$", re.IGNORECASE)
_GROUP = re.compile(r"[\w. ]+: ")  # wandb names a group's column "Group: name - metric"
_SEED = re.compile(r"seed[_-]?(\d+)", re.IGNORECASE)
#: TensorBoard's tag, which its CSV export writes into the file's name.
_TAG = re.compile(r"tag[-_]([\w-]+)|(?:^|_)((?:test_)?(?:battle_won|return)_mean)(?=_|$)")
_EXTREMES = ("__MIN", "__MAX")  # wandb's suffixes
_CELLS = 5_000_000  #: a CSV file with more is no table of results, and would not fit into memory
_COLUMNS = 10_000  #: the same of curves in a file
EVALUATIONS = 1_000_000  #: the same of evaluations of a run
_SEEDS = 2**63  #: larger ones are no seeds


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
    #: [N] each, by their names in ``release.SCHEMA``: row, value, and what the file has of step,
    #: low, high, wall_time and episode
    points: Mapping[str, np.ndarray | None]
    seed: str | None = None
    map: str | None = None
    algorithm: str | None = None
    phase: str = "training"


class Content(NamedTuple):
    """What one file holds."""

    format: str
    columns: list[Column]
    problems: list[Problem]


def read(path: str, data: bytes, last: int) -> Content:
    """Reads one file by its suffix and its columns.

    Args:
        path: for the suffix and for messages.
        data: the file's bytes.
        last: a larger number is no number of env steps.
    """
    file = _File(path, data, last, [])
    name, reader = _READERS[PurePosixPath(path).suffix.lower()]
    columns: list[Column] = []
    try:
        if not data.strip():
            raise BenchmarkError("the file is empty")
        name, columns = reader(file)
    except BenchmarkError as error:
        file.note("", str(error))
    return Content(name, columns, file.problems)


def suffixes() -> tuple[str, ...]:
    """Suffixes of the files that can be read."""
    return tuple(_READERS)


def seed_of(text: str) -> int:
    """A seed as a number.

    Raises:
        ValueError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < _SEEDS):
        raise ValueError(f"{text[:40]!r} is no seed")
    return int(text)


class _File(NamedTuple):
    """What a reader gets; it raises BenchmarkError where the whole file cannot be used."""

    path: str
    data: bytes
    last: int
    problems: list[Problem]

    def text(self) -> str:
        """The content as text."""
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            reason = f"byte {error.start} is not UTF-8; save the file as UTF-8"
            raise BenchmarkError(reason) from error
        if "\0" in text:
            raise BenchmarkError("holds NUL characters, the file is damaged")
        return text

    def note(self, column: str, reason: str) -> None:
        """Notes something that is not read as it stands."""
        self.problems.append(Problem(self.path, column, reason))

    def leave_out(self, column: str, odd: list[str], reason: str) -> None:
        """Notes why some things are left out, if there are any, and names the first one."""
        if odd:
            more = f", like {len(odd) - 1} more" if len(odd) > 1 else ""
            self.note(column, f"{odd[0]} {reason}{more}; left out")

    def step(self, text: str) -> int:
        """A number of env steps, exactly; those that are written as floats are rounded."""
        step = int(text) if text.isdigit() else round(float(text))
        if not 0 <= step <= self.last:
            raise ValueError
        return step


def _few(columns: Sized) -> None:
    if len(columns) > _COLUMNS:
        raise BenchmarkError(f"{len(columns):,} columns, more than {_COLUMNS:,}")


# CSV


class _Table(NamedTuple):
    """The cells of a CSV file; only rows that have as many fields as the header."""

    file: _File
    header: list[str]
    rows: list[tuple[int, int, list[str]]]  #: number (from 0), line of the file (from 1), cells

    def place(self, name: str) -> int:
        """The place of a column that the header names once."""
        count = self.header.count(name)
        if count != 1:
            found = "is missing" if not count else f"stands {count} times in the header"
            raise BenchmarkError(f"the column {name!r} {found}, the file cannot be used")
        return self.header.index(name)

    def steps(self, place: int, column: str) -> list[int | None]:
        """Env steps of a column of the file [N], None where there is none.

        Args:
            column: that problems name.
        """
        what = f"number of env steps up to {self.file.last:,}"
        return self._numbers(place, column, self.file.step, what)

    def points(
        self, column: str, steps: list[int | None], **places: int | None
    ) -> dict[str, np.ndarray]:
        """The points of a column, where there are a step and a value; a written NaN is one.

        Args:
            column: that problems name.
            places: name of a number, ``value`` among them -> its column of the file, if any.
        """
        columns = {
            name: self._numbers(place, column, float, "number")
            for name, place in places.items()
            if place is not None
        }
        given = enumerate(zip(steps, columns["value"], strict=True))
        kept = [row for row, numbers in given if None not in numbers]
        return {
            "row": np.array([self.rows[row][0] for row in kept], np.int64),
            "step": np.array([steps[row] for row in kept], np.int64),
            **{
                name: np.array([numbers[row] for row in kept], float)  # None becomes NaN
                for name, numbers in columns.items()
            },
        }

    def _numbers(self, place: int, column: str, parse: Callable, what: str) -> list:
        found, odd = [], []
        for _, line, cells in self.rows:
            cell, number = cells[place].strip(), None
            try:
                if "_" in cell or not cell.isascii():  # int() and float() would take them
                    raise ValueError
                number = parse(cell) if cell else None
            except (ValueError, OverflowError):
                odd.append(f"{cell[:40]!r} in line {line}")
            found.append(number)
        self.file.leave_out(column, odd, f"is no {what}")
        return found


def _csv(file: _File) -> tuple[str, list[Column]]:
    table = _table(file)
    if {"Value", "Wall time"} & set(table.header):
        return "tensorboard", _tensorboard(table)
    if _STEP.match(table.header[0].strip()) and len(table.header) > 1:
        columns = _wandb(table)
        kinds = sorted({column.kind for column in columns})
        return f"wandb {'/'.join(kinds) or 'unknown'}", columns
    raise BenchmarkError(
        f"its columns ({', '.join(table.header[:3])}, ...) are neither TensorBoard's"
        " (Wall time, Step, Value) nor wandb's (Step, ...)"
    )


def _table(file: _File) -> _Table:
    reader = csv.reader(io.StringIO(file.text(), newline=""), strict=True)
    lines, read = [], 0
    try:
        for cells in filter(None, reader):
            lines.append((reader.line_num, cells))
            read += len(cells)
            if read > _CELLS:
                raise BenchmarkError(f"more than {_CELLS:,} cells")
    except csv.Error as error:
        raise BenchmarkError(
            f"not a table of comma-separated values (line {reader.line_num}: {error})"
        ) from error
    if len(lines) < 2:
        raise BenchmarkError("no rows")
    (_, header), *rows = lines
    _few(header)
    whole = [(number, *row) for number, row in enumerate(rows) if len(row[1]) == len(header)]
    odd = [f"line {line}" for line, cells in rows if len(cells) != len(header)]
    file.leave_out("", odd, f"does not have the header's {len(header)} fields")
    if not whole:
        raise BenchmarkError("no line is as long as the header")
    return _Table(file, header, whole)


def _tensorboard(table: _Table) -> list[Column]:
    steps = table.steps(table.place("Step"), "Value")
    wall = table.place("Wall time") if "Wall time" in table.header else None
    points = table.points("Value", steps, value=table.place("Value"), wall_time=wall)
    tag = _TAG.search(PurePosixPath(table.file.path).stem)
    return [Column("Value", "run", (tag[1] or tag[2]) if tag else "", points)]


def _wandb(table: _Table) -> list[Column]:
    """The runs or groups of a wandb file.

    Runs may share a display name; then the first column of that name goes with the first ``__MIN``
    and ``__MAX`` of it, and so on. Columns of wandb's own counters (``_step``) are left out.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(table.header[1:], start=1):
        places.setdefault(name, []).append(place)
    steps = table.steps(0, table.header[0])
    columns = []
    for name, same in places.items():
        run, _, tag = name.rpartition(" - ")
        if name.endswith(_EXTREMES):
            if name[: -len(_EXTREMES[0])] not in places:
                table.file.note(name, "extremes of a column that is missing; left out")
            continue
        if tag.startswith("_"):
            continue
        nowhere = [None] * len(same)
        extremes = [places.get(name + end, nowhere) for end in _EXTREMES]
        if any(len(found) != len(same) for found in extremes):
            reason = "the columns of this name and of its extremes differ in number; left out"
            table.file.note(name, reason)
            continue
        if len(same) > 1:
            reason = f"{len(same)} columns have this name; read as so many runs, in their order"
            table.file.note(name, reason)
        seed = _SEED.search(run) if len(same) == 1 else None
        for place, low, high in zip(same, *extremes, strict=True):
            unique = name if len(same) == 1 else f"{name} [column {place + 1}]"
            points = table.points(unique, steps, value=place, low=low, high=high)
            kind = "group" if _GROUP.match(name) else "run"
            columns.append(Column(unique, kind, tag, points, seed=seed[1] if seed else None))
    return columns


# Arrays and JSON


def _array(file: _File) -> tuple[str, list[Column]]:
    stream = io.BytesIO(file.data)
    try:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # whatever a damaged header makes NumPy and its parser raise
        raise BenchmarkError(f"not a whole NumPy array of numbers ({first_line(error)})") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
        shape = "x".join(map(str, array.shape))
        raise BenchmarkError(
            f"an array of {array.dtype} [{shape}]; not numbers [evaluations] or [runs, ...]"
        )
    if stream.read(1):
        raise BenchmarkError("there are more bytes than the array has, the file is damaged")
    runs = np.atleast_2d(array).astype(float)
    _few(runs)
    if runs.shape[1] > EVALUATIONS:
        raise BenchmarkError(f"more than {EVALUATIONS:,} evaluations of a run")
    names = ["array"] if array.ndim == 1 else [f"array[{number}]" for number in range(len(runs))]
    return "array", [
        Column(name, "run", "", {"row": np.arange(len(values)), "value": values})
        for name, values in zip(names, runs, strict=True)
    ]


def _marl_eval(file: _File) -> tuple[str, list[Column]]:
    try:
        tree = json.loads(file.text(), object_pairs_hook=_unique)
        tasks = Counter(task for tasks in tree.values() for task in tasks)
        runs = [
            (environment, task, algorithm, run, evaluations)
            for environment, tasks in tree.items()
            for task, algorithms in tasks.items()
            for algorithm, found in algorithms.items()
            for run, evaluations in found.items()
        ]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BenchmarkError(
            f"not marl-eval's environment/task/algorithm/run/step ({first_line(error)})"
        ) from error
    if any(count > 1 for count in tasks.values()):
        raise BenchmarkError(f"several environments have the task {tasks.most_common(1)[0][0]!r}")
    columns: list[Column] = []
    for *names, evaluations in runs:
        try:
            columns += _marl_eval_run(file, names, evaluations)
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
            reason = f"not marl-eval's evaluations ({type(error).__name__}: {first_line(error)})"
            file.note("/".join(names), reason)
        _few(columns)
    return "marl-eval", columns


def _unique(pairs: Sequence[tuple[str, object]]) -> dict:
    """A JSON object; a key that stands twice would hide a run."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _marl_eval_run(file: _File, names: list[str], evaluations: dict) -> list[Column]:
    """The columns of one run, one per metric and phase.

    Args:
        names: of environment, task, algorithm and run.
    """
    _, task, algorithm, run = names
    found: dict[tuple[str, str], list[tuple[int, str, object]]] = {}
    for key, metrics in evaluations.items():
        phase = "absolute" if key == "absolute_metrics" else "training"
        step = 0 if phase == "absolute" else file.step(str(metrics["step_count"]))
        for tag, values in metrics.items():
            if tag != "step_count":
                found.setdefault((tag, phase), []).append((step, key, values))
    seed = _SEED.search(run) or re.search(r"(\d+)$", run)
    columns = []
    for (tag, phase), logged in found.items():
        name, numbers, odd = "/".join((*names, tag)), [], []
        first: dict[int, str] = {}  # step -> its first key
        # the order of keys means nothing in JSON
        for step, key, values in sorted(logged, key=lambda evaluation: evaluation[0]):
            again = first.setdefault(step, key) != key
            for episode, value in enumerate(values if isinstance(values, list) else [values]):
                if again or not isinstance(value, int | float) or not np.isfinite(value):
                    odd.append(f"{value!r:.40} in {key!r:.40}")
                else:
                    numbers.append((step, episode, value))
        file.leave_out(name, odd, "is no finite number, or its step_count is that of another one")
        table = np.array(numbers, float).reshape(-1, 3)
        points: dict[str, np.ndarray | None] = {"row": np.arange(len(table)), "value": table[:, 2]}
        points["episode"] = table[:, 1].astype(np.int64)
        points["step"] = table[:, 0].astype(np.int64) if phase == "training" else None
        seed_text = seed[1] if seed else None
        columns.append(Column(name, "run", tag, points, seed_text, task, algorithm, phase))
    return columns


_READERS: dict[str, tuple[str, Callable[[_File], tuple[str, list[Column]]]]] = {
    ".csv": ("unknown", _csv),
    ".npy": ("array", _array),
    ".json": ("marl-eval", _marl_eval),
}
