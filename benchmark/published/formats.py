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
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from benchmark.errors import first_line

_STEP = re.compile(r"_?(global_)?steps?$", re.IGNORECASE)
_GROUP = re.compile(r"[\w. ]+: ")  # wandb names a group's column "Group: name - metric"
_SEED = re.compile(r"seed[_-]?(\d+)", re.IGNORECASE)
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
    rows: np.ndarray  #: [N] row of the file, from 0
    steps: np.ndarray | None  #: [N] env steps
    value: np.ndarray  #: [N]
    low: np.ndarray | None = None  #: [N] the column __MIN, NaN where it is empty
    high: np.ndarray | None = None  #: [N] the column __MAX, NaN where it is empty
    wall: np.ndarray | None = None  #: [N] seconds since 1970
    episodes: np.ndarray | None = None  #: [N] index within an evaluation
    seed: str | None = None
    map: str | None = None
    algorithm: str | None = None
    phase: str = "training"
    problems: tuple[str, ...] = ()  #: what of the column could not be read


class Content(NamedTuple):
    """What one file holds."""

    format: str
    columns: list[Column]
    problems: list[Problem]


class _Unreadable(Exception):
    """A whole file or column that cannot be used; the message says why."""


def read(path: str, data: bytes, last: int) -> Content:
    """Reads one file by its suffix and its columns.

    Args:
        path: for the suffix and for messages.
        data: the file's bytes.
        last: a larger number is no number of env steps.
    """
    problems: list[Problem] = []
    name, reader = _READERS[PurePosixPath(path).suffix.lower()]
    try:
        if not data.strip():
            raise _Unreadable("the file is empty")
        name, columns = reader(_File(path, data, last, problems))
    except _Unreadable as error:
        return Content(name, [], [*problems, Problem(path, "", str(error))])
    return Content(name, columns, problems)


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
    """What a reader gets."""

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
            raise _Unreadable(reason) from error
        if "\0" in text:
            raise _Unreadable("holds NUL characters, the file is damaged")
        return text

    def note(self, column: str, reason: str) -> None:
        """Notes something that is not read as it stands."""
        self.problems.append(Problem(self.path, column, reason))

    def step(self, text: str) -> int:
        """A number of env steps, exactly; those that are written as floats are rounded."""
        step = int(text) if text.isdigit() else round(float(text))
        if not 0 <= step <= self.last:
            raise ValueError
        return step


def _left_out(odd: list[str], reason: str) -> str:
    """Says of some things why they are left out, and names the first one."""
    more = f", like {len(odd) - 1} more" if len(odd) > 1 else ""
    return f"{odd[0]} {reason}{more}; left out"


def _few(columns: Sequence) -> None:
    if len(columns) > _COLUMNS:
        raise _Unreadable(f"{len(columns):,} columns, more than {_COLUMNS:,}")


def _csv(file: _File) -> tuple[str, list[Column]]:
    table = _Table(file)
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

    def __init__(self, file: _File) -> None:
        self.file = file
        self.cells: list[list[str]] = []
        self.numbers: list[int] = []  #: of the rows, from 0
        self.lines: list[int] = []  #: of the file, from 1
        reader = csv.reader(io.StringIO(file.text(), newline=""), strict=True)
        self.header: list[str] = []
        odd, read = [], 0
        try:
            for number, row in enumerate(filter(None, reader), start=-1):
                read += len(row)
                if read > _CELLS:
                    raise _Unreadable(f"more than {_CELLS:,} cells")
                if not self.header:
                    self.header = row
                elif len(row) != len(self.header):
                    odd.append(f"line {reader.line_num}")
                else:
                    self.cells.append(row)
                    self.numbers.append(number)
                    self.lines.append(reader.line_num)
        except csv.Error as error:
            raise _Unreadable(
                f"not a table of comma-separated values (line {reader.line_num}: {error})"
            ) from error
        if odd:
            file.note("", _left_out(odd, f"does not have the header's {len(self.header)} fields"))
        if not self.cells:
            raise _Unreadable("no line is as long as the header" if odd else "no rows")
        _few(self.header)

    def column(self, name: str) -> int:
        """The place of a column that the header names once."""
        count = self.header.count(name)
        if count != 1:
            found = "is missing" if not count else f"stands {count} times in the header"
            raise _Unreadable(f"the column {name!r} {found}, the file cannot be used")
        return self.header.index(name)

    def steps(self, place: int, problems: list[str]) -> np.ma.MaskedArray:
        """Env steps of a column [N]; masked where there is none."""
        what = f"number of env steps up to {self.file.last:,}"
        return self._numbers(place, np.ma.masked_all(len(self.cells), np.int64), what, problems)

    def values(self, place: int, problems: list[str]) -> np.ma.MaskedArray:
        """Numbers of a column [N]; masked where there is none, a written NaN is one."""
        return self._numbers(place, np.ma.masked_all(len(self.cells)), "number", problems)

    def _numbers(
        self, place: int, numbers: np.ma.MaskedArray, what: str, problems: list[str]
    ) -> np.ma.MaskedArray:
        parse = float if numbers.dtype == float else self.file.step
        values, unknown, odd = numbers.data, numbers.mask, []
        for row, cells in enumerate(self.cells):
            if cell := cells[place].strip():
                try:
                    if "_" in cell or not cell.isascii():  # float() would take them
                        raise ValueError
                    values[row], unknown[row] = parse(cell), False
                except (ValueError, OverflowError):
                    odd.append(f"{cell[:40]!r} in line {self.lines[row]}")
        if odd:
            problems.append(_left_out(odd, f"is no {what}"))
        return numbers

    def points(
        self, steps: np.ma.MaskedArray, value: int, problems: list[str], **others: int | None
    ) -> dict[str, np.ndarray | None]:
        """The fields of ``Column`` where there are a step and a value.

        Args:
            value: the place of the value's column.
            others: the places of further columns, None where there is none.
        """
        values = self.values(value, problems)
        kept = np.flatnonzero(~(steps.mask | values.mask))
        further = {
            name: None if place is None else self.values(place, problems).filled(np.nan)[kept]
            for name, place in others.items()
        }
        rows = np.array(self.numbers)[kept]
        return {"rows": rows, "steps": steps.data[kept], "value": values.data[kept], **further}


def _tensorboard(table: _Table) -> list[Column]:
    problems: list[str] = []
    steps = table.steps(table.column("Step"), problems)
    wall = table.column("Wall time") if "Wall time" in table.header else None
    points = table.points(steps, table.column("Value"), problems, wall=wall)
    tag = _tag_of_name(table.file.path)
    return [Column("Value", "run", tag, **points, problems=tuple(problems))]


def _tag_of_name(path: str) -> str:
    """TensorBoard's tag, which its CSV export writes into the file's name; empty without one."""
    stem = PurePosixPath(path).stem
    found = re.search(r"tag[-_]([\w-]+)|(?:^|_)((?:test_)?(?:battle_won|return)_mean)(?=_|$)", stem)
    return next(filter(None, found.groups()), "") if found else ""


def _wandb(table: _Table) -> list[Column]:
    """The runs or groups of a wandb file.

    Runs may share a display name; then the first column of that name goes with the first ``__MIN``
    and ``__MAX`` of it, and so on. Columns of wandb's own counters (``_step``) are left out.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(table.header[1:], start=1):
        places.setdefault(name, []).append(place)
    of_steps: list[str] = []
    steps = table.steps(0, of_steps)
    for reason in of_steps:
        table.file.note(table.header[0], reason)
    columns = []
    for name, same in places.items():
        run, _, tag = name.rpartition(" - ")
        if name.endswith(_EXTREMES):
            if name[: -len(_EXTREMES[0])] not in places:
                table.file.note(name, "extremes of a column that is missing; left out")
            continue
        if tag.startswith("_"):
            continue
        extremes = [places.get(name + end, []) for end in _EXTREMES]
        if any(len(found) not in (0, len(same)) for found in extremes):
            reason = "the columns of this name and of its extremes differ in number; left out"
            table.file.note(name, reason)
            continue
        if len(same) > 1:
            reason = f"{len(same)} columns have this name; read as so many runs, in their order"
            table.file.note(name, reason)
        seed = _SEED.search(run) if len(same) == 1 else None
        for number, place in enumerate(same):
            problems: list[str] = []
            low, high = (found[number] if found else None for found in extremes)
            columns.append(
                Column(
                    name=name if len(same) == 1 else f"{name} [column {place + 1}]",
                    kind="group" if _GROUP.match(name) else "run",
                    tag=tag,
                    **table.points(steps, place, problems, low=low, high=high),
                    seed=seed[1] if seed else None,
                    problems=tuple(problems),
                )
            )
    return columns


def _array(file: _File) -> tuple[str, list[Column]]:
    stream = io.BytesIO(file.data)
    try:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # whatever a damaged header makes NumPy and its parser raise
        raise _Unreadable(f"not a whole NumPy array of numbers ({first_line(error)})") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
        shape = "x".join(map(str, array.shape))
        raise _Unreadable(
            f"an array of {array.dtype} [{shape}]; not numbers [evaluations] or [runs, ...]"
        )
    if stream.read(1):
        raise _Unreadable("there are more bytes than the array has, the file is damaged")
    runs = np.atleast_2d(array)
    _few(runs)
    if runs.shape[1] > EVALUATIONS:
        raise _Unreadable(f"more than {EVALUATIONS:,} evaluations of a run")
    return "array", [
        Column(
            name="array" if array.ndim == 1 else f"array[{number}]",
            kind="run",
            tag="",
            rows=np.arange(len(values)),
            steps=None,
            value=values.astype(float),
        )
        for number, values in enumerate(runs)
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
        raise _Unreadable(
            f"not marl-eval's environment/task/algorithm/run/step ({first_line(error)})"
        ) from error
    if any(count > 1 for count in tasks.values()):
        raise _Unreadable(f"several environments have the task {max(tasks, key=tasks.get)!r}")
    columns = []
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
    for name, metrics in evaluations.items():
        phase = "absolute" if name == "absolute_metrics" else "training"
        step = 0 if phase == "absolute" else file.step(str(metrics["step_count"]))
        for tag, values in metrics.items():
            if tag != "step_count":
                found.setdefault((tag, phase), []).append((step, name, values))
    seed = _SEED.search(run) or re.search(r"(\d+)$", run)
    columns = []
    for (tag, phase), points in found.items():
        points.sort(key=lambda point: point[0])  # the order of keys means nothing in JSON
        steps, episodes, value, odd = [], [], [], []
        for number, (step, name, values) in enumerate(points):
            again = bool(number) and step == points[number - 1][0]
            for episode, one in enumerate(values if isinstance(values, list) else [values]):
                if again or not isinstance(one, int | float) or not np.isfinite(one):
                    odd.append(f"{one!r:.40} in {name!r:.40}")
                else:
                    steps.append(step)
                    episodes.append(episode)
                    value.append(float(one))
        reason = "is no finite number, or its step_count is that of another one"
        problems = (_left_out(odd, reason),) if odd else ()
        columns.append(
            Column(
                name="/".join((*names, tag)),
                kind="run",
                tag=tag,
                rows=np.arange(len(value)),
                steps=np.array(steps, np.int64),
                value=np.array(value),
                episodes=np.array(episodes, np.int64),
                seed=seed[1] if seed else None,
                map=task,
                algorithm=algorithm,
                phase=phase,
                problems=problems,
            )
        )
    return columns


_READERS: dict[str, tuple[str, Callable[[_File], tuple[str, list[Column]]]]] = {
    ".csv": ("unknown", _csv),
    ".npy": ("array", _array),
    ".json": ("marl-eval", _marl_eval),
}
