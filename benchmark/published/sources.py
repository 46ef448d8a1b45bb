"""What a release holds: a mapping file says which file is which method on which map.

Two mappings come with the project, ``sources/r3dm_release.yaml`` and
``sources/acorm_release.yaml``; one for another release is a copy of them with other patterns.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchmark.analysis.labels import DEFAULT, METRICS, Metric
from benchmark.errors import BenchmarkError
from benchmark.published.formats import Column
from benchmark.training.config import load_yaml, one_line_errors

_FOLDER = Path(__file__).parent / "sources"
_GROUPS = {"map", "algorithm", "variant", "seed", "panel", "metric"}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if unknown := set(pattern.groupindex) - _GROUPS:
            raise ValueError(f"the group {unknown.pop()!r} has no meaning")
        return value

    @cached_property
    def pattern(self) -> re.Pattern:
        """The expression, anchored at a folder's beginning and the path's end."""
        return re.compile(rf"(?:^|.*/)(?:{self.match})$")


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
    interval: int = Field(gt=0)
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

    def rule_of(self, path: str) -> FileRule | None:
        """The first rule that a path matches."""
        if any(part in path for part in self.skip):
            return None
        return next((rule for rule in self.files if rule.pattern.match(path)), None)


class Identity(NamedTuple):
    """What a column of a file is."""

    map: str
    algorithm: str
    variant: str
    metric: str
    panel: str
    kind: str
    seed: int | None


def identify(source: Source, rule: FileRule, path: str, column: Column) -> Identity | None:
    """Names a column by its file's path, the mapping, and what stands inside the file.

    Returns:
        None for a metric that this benchmark does not compare.

    Raises:
        BenchmarkError: nothing tells the map or the algorithm, or the seed is no number.
    """
    groups = rule.pattern.match(path).groupdict()
    inside = {"map": column.map, "algorithm": column.algorithm, "metric": column.tag}

    def named(what: str) -> str | None:
        given = (groups.get(what), getattr(rule, what), inside.get(what))
        name = next((text for text in given if text is not None), None)
        if not name and what != "variant":
            raise BenchmarkError(
                f"nothing tells the {what}; name it in the mapping {source.name}, as a group of"
                f" `match` or next to it"
            )
        return getattr(source.names, what).get(name, name)

    metric = named("metric")
    if metric not in METRICS:
        return None
    variant, seed = named("variant"), groups.get("seed")
    if seed and not (seed.isascii() and seed.isdigit() and int(seed) < 2**63):
        raise BenchmarkError(f"{seed!r} is no seed; mend the group in the mapping {source.name}")
    return Identity(
        map=named("map"),
        algorithm=named("algorithm"),
        variant=DEFAULT if variant is None else variant,
        metric=metric,
        panel=groups.get("panel") or rule.panel,
        kind=rule.kind or column.kind,
        seed=int(seed) if seed else column.seed,
    )


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
    values = load_yaml(path)
    with one_line_errors(str(path)):
        return Source.model_validate(values)
