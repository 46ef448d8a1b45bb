"""What a release holds: a mapping file says which file is which method on which map.

Two mappings come with the project, ``sources/r3dm_release.yaml`` and
``sources/acorm_release.yaml``; one for another release is a copy of them with other patterns.
"""

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchmark import strict_yaml
from benchmark.analysis.labels import METRICS, Metric
from benchmark.errors import BenchmarkError
from benchmark.published.formats import EVALUATIONS, Column, seed_of
from benchmark.training.config import DEFAULT, one_line_errors

_FOLDER = Path(__file__).parent / "sources"
_GROUPS = {"map", "algorithm", "variant", "seed", "panel", "metric"}
_SECONDS = 2.0  #: that all expressions of a mapping may need for one path


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRule(_Model):
    """Which files a rule is about, and what is known of them.

    ``match`` is a regular expression for the end of a file's path, from a folder's or the file's
    first letter on. Its named groups ``map``, ``algorithm``, ``variant``, ``seed``, ``panel`` and
    ``metric`` are what the path says; a value next to ``match`` is the same for all its files. What
    neither says is taken from inside the file (wandb's and marl-eval's names).
    """

    match: str
    map: str | None = None
    algorithm: str | None = None
    variant: str | None = None
    metric: Metric | None = None
    panel: str = "main"
    """The published figure that is drawn from these files; names which copies were drawn twice."""
    kind: Literal["run", "group"] | None = None
    """Says whether wandb columns are runs or groups where their names do not."""

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            pattern = re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if unknown := set(pattern.groupindex) - _GROUPS:
            raise ValueError(f"the group {unknown.pop()!r} has no meaning")
        return value


class Names(_Model):
    """Names of the release -> ours, where they differ."""

    map: dict[str, str] = {}
    algorithm: dict[str, str] = {}
    variant: dict[str, str] = {}
    metric: dict[str, str] = {}


class PaperFigure(_Model):
    """A figure of the paper: a panel for each map, or for each ``panel`` of one map's files."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    metric: Metric = "win_rate"
    maps: list[str] = Field(min_length=1)
    panels: dict[str, str] = {"main": ""}
    """Panel of the files -> its title; without a title the map's name stands there."""


class Source(_Model):
    """A release: where it comes from, how its numbers were made, and what its files are."""

    version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    title: str
    """Stands on figures and tables."""
    origin: str
    commit: str | None = None
    backend: str
    """Where the battles were fought, e.g. starcraft2; verdicts need the same one."""
    protocol: str
    """Whose rules held; verdicts need the same one."""
    interval: int = Field(gt=0, le=10**9)
    """Env steps between evaluations; the steps of arrays are multiples of it."""
    ends: dict[str, int] = {}
    """Per map, the env step at which the published curves end; the largest one where none is."""
    return_limit: float = Field(default=20.0, gt=0)
    """What a victory is worth at most; SMAC scales its returns to 20."""
    skip: list[str] = []
    """Parts of paths that belong to something else."""
    names: Names = Names()
    files: list[FileRule] = Field(min_length=1)
    figures: list[PaperFigure] = []
    """What ``replot`` draws."""

    @property
    def last(self) -> int:
        """The largest number of env steps: a later one is a mistake, and would fill the memory."""
        return EVALUATIONS * self.interval

    @model_validator(mode="after")
    def _reachable(self) -> "Source":
        for map, end in self.ends.items():
            if not 0 < end <= self.last:
                raise ValueError(f"ends: {map}: must be above 0 and at most {self.last:,}")
        return self

    def match(self, path: str) -> tuple[FileRule, dict[str, str | None]] | None:
        """The first rule that a path matches, and what its groups say.

        Raises:
            BenchmarkError: that takes for ever.
        """
        if any(part in path for part in self.skip):
            return None
        endless = (
            f"the expressions of the mapping {self.name} need more than {_SECONDS:g} s for"
            f" {path!r}; simplify them"
        )
        with _limited(_SECONDS, endless):
            for rule in self.files:
                if found := re.fullmatch(rf"(?:|.*/)(?:{rule.match})", path):
                    return rule, found.groupdict()
        return None


@contextmanager
def _limited(seconds: float, message: str) -> Iterator[None]:
    """Ends what takes too long, where Python can: in the main thread."""

    def stop(*_: object) -> None:
        raise BenchmarkError(message)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def identify(
    source: Source, rule: FileRule, groups: dict[str, str | None], column: Column
) -> dict | None:
    """Names a column by its file's path, the mapping, and what stands inside the file.

    Args:
        groups: what the path says, see ``Source.match``.

    Returns:
        map, algorithm, variant, metric, panel, kind and seed; None for a metric that this benchmark
        does not compare.

    Raises:
        BenchmarkError: nothing tells the map or the algorithm, or the seed is no number.
    """
    inside = {"map": column.map, "algorithm": column.algorithm, "metric": column.tag}
    found: dict[str, str] = {}
    for what in ("metric", "map", "algorithm", "variant"):
        given = (groups.get(what), getattr(rule, what), inside.get(what))
        name = next((text for text in given if text is not None), None)
        if what == "variant" and name is None:
            name = DEFAULT
        elif what != "variant" and not name:
            raise BenchmarkError(
                f"nothing tells the {what}; name it in the mapping {source.name}, as a group of"
                f" `match` or next to it"
            )
        found[what] = getattr(source.names, what).get(name, name)
        if what == "metric" and found[what] not in METRICS:
            return None
    seed = groups.get("seed") or column.seed
    try:
        number = seed_of(seed) if seed else None
    except ValueError as error:
        raise BenchmarkError(f"{error}; fix the group in the mapping {source.name}") from error
    panel, kind = groups.get("panel") or rule.panel, rule.kind or column.kind
    return {**found, "panel": panel, "kind": kind, "seed": number}


def built_in() -> dict[str, Path]:
    """The mappings that come with the project, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def load(text: str) -> Source:
    """The mapping of that name, or of that file.

    Args:
        text: e.g. ``r3dm_release`` or ``my_mapping.yaml``.

    Raises:
        BenchmarkError: there is none, or it has a mistake.
    """
    path = built_in().get(text, Path(text))
    if path == Path(text) and not path.is_file():
        raise BenchmarkError(
            f"no release {text!r}: known are {', '.join(built_in())}, or give a mapping file"
        )
    values = strict_yaml.load(path)
    with one_line_errors(str(path)):
        return Source.model_validate(values)
