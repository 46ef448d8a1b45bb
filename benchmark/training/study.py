"""A *study*: a grid of runs and what is made of it, in one YAML file."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from algorithms import ALGORITHMS
from benchmark import strict_yaml
from benchmark.errors import BenchmarkError, brief
from benchmark.training.config import (
    DEFAULT,
    VERSION,
    RunConfig,
    known,
    one_line_errors,
    resolve_run,
)

_FOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
_OTHER_FOLDERS = ("adhoc", "imported", "published", "real", "watch")  #: of results/


def _distinct(values: list) -> list:
    if not values:
        raise ValueError("must not be empty")
    twice = sorted(value for value, count in Counter(values).items() if count > 1)
    if twice:
        raise ValueError(f"{twice[0]!r} is listed twice")
    return values


def _integer(value: Any) -> Any:
    # Snakemake's --config hands the numbers of a list over as text, which pydantic reads; it would
    # read true and 1.0 as well.
    if isinstance(value, bool | float):
        raise ValueError("must be an integer")
    return value


_Names = Annotated[list[str], AfterValidator(_distinct)]
_Seed = Annotated[int, BeforeValidator(_integer), Field(ge=0, lt=2**63)]


class Variant(BaseModel):
    """Extra runs of one algorithm with some keys changed, e.g. an ablation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: str
    name: str
    maps: _Names
    set: dict[str, Any]


class Curve(BaseModel):
    """One method of an ablation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: str
    variant: str = DEFAULT
    label: str = Field(min_length=1)


class Ablation(BaseModel):
    """Methods that one figure compares, on the maps that all of them ran on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = Field(min_length=1)
    curves: list[Curve] = Field(min_length=2)

    @field_validator("curves")
    @classmethod
    def _labels_differ(cls, curves: list[Curve]) -> list[Curve]:
        _distinct([curve.label for curve in curves])  # a table has a row of each
        return curves


class Roles(BaseModel):
    """The runs whose roles are shown and measured in battle: one of each method on one map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: str
    algorithms: _Names
    seed: int
    battles: int = Field(default=32, gt=0)


class Statistics(BaseModel):
    """How results are summarised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replications: int = Field(default=50_000, gt=0)
    seed: int = Field(default=0, ge=0)


class Study(BaseModel):
    """A grid of runs, and what is made of it; one file in ``config/``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    name: str
    backend: str
    protocol: str
    seeds: Annotated[list[_Seed], AfterValidator(_distinct)]
    maps: _Names
    algorithms: _Names
    set: dict[str, Any] = {}
    per_map: dict[str, dict[str, Any]] = {}
    per_algorithm: dict[str, dict[str, Any]] = {}
    variants: list[Variant] = []
    ablations: list[Ablation] = []
    roles: Roles | None = None
    statistics: Statistics = Statistics()

    @field_validator("backend", "protocol", mode="before")
    @classmethod
    def _single(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list):
            raise ValueError(
                f"a study has one {info.field_name}; write a second study file for another,"
                " nothing is ever averaged across them"
            )
        return value

    @model_validator(mode="after")
    def _folder_names(self) -> "Study":
        parts: list[Variant | Ablation] = [*self.variants, *self.ablations]
        for name in [self.name, *(part.name for part in parts)]:
            if not _FOLDER_NAME.fullmatch(name):
                raise ValueError(
                    f"{brief(name)} names a folder: use lower-case letters, digits and _ only, 100"
                    " at most"
                )
        if self.name in _OTHER_FOLDERS:
            raise ValueError(f"results/{self.name}/ is another folder; choose another name")
        return self

    @model_validator(mode="after")
    def _tables_of_parts(self) -> "Study":
        for map in self.per_map:
            if map not in self.maps:
                raise ValueError(f"per_map: {map!r} is not among the study's maps")
        for algorithm in self.per_algorithm:
            if algorithm not in self.algorithms:
                raise ValueError(
                    f"per_algorithm: {algorithm!r} is not among the study's algorithms"
                )
        return self

    @model_validator(mode="after")
    def _variants_are_runs(self) -> "Study":
        names = [(variant.algorithm, variant.name) for variant in self.variants]
        for algorithm, name in names:
            if name == DEFAULT or names.count((algorithm, name)) > 1:
                raise ValueError(f"variants: {algorithm}/{name} stands for two different runs")
        for variant in self.variants:
            for map in variant.maps:
                if map not in self.maps:  # tables and figures are those of the study's maps
                    raise ValueError(
                        f"variants: {variant.algorithm}/{variant.name} runs on {map!r}, which is"
                        " not among the study's maps"
                    )
        return self

    @model_validator(mode="after")
    def _ablations_have_runs(self) -> "Study":
        for ablation in self.ablations:
            if not self.ablation_maps(ablation):
                raise ValueError(
                    f"ablations: no map has runs of every method of {ablation.name!r}; each must be"
                    " an algorithm of the study (variant default) or one of its variants"
                )
        names = [ablation.name for ablation in self.ablations]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"ablations: {name!r} is listed twice")
        return self

    def ablation_maps(self, ablation: Ablation) -> list[str]:
        """The maps on which every method of an ablation has runs."""
        maps = {(name, DEFAULT): self.maps for name in self.algorithms}
        maps |= {(variant.algorithm, variant.name): variant.maps for variant in self.variants}
        of_curves = [maps.get((curve.algorithm, curve.variant), []) for curve in ablation.curves]
        return [map for map in of_curves[0] if all(map in others for others in of_curves)]

    @model_validator(mode="after")
    def _role_runs(self) -> "Study":
        if self.roles is None:
            return self
        chosen: list[tuple[str, Any, list]]
        chosen = [("map", self.roles.map, self.maps), ("seed", self.roles.seed, self.seeds)]
        chosen += [("algorithm", name, self.algorithms) for name in self.roles.algorithms]
        for kind, value, values in chosen:
            if value not in values:
                raise ValueError(f"roles: {value!r} is not among the study's {kind}s")
        return self

    def role_runs(self) -> list[RunConfig]:
        """The runs whose roles are shown; none on another backend, which shows no battles."""
        if self.roles is None or self.backend != "simulator":
            return []
        wanted = [(self.roles.map, name, self.roles.seed) for name in self.roles.algorithms]
        found = {
            (run.map, run.algorithm, run.seed): run for run in self.runs() if run.variant == DEFAULT
        }
        return [found[run] for run in wanted]

    def runs(self) -> list[RunConfig]:
        """Every run of the study, fully resolved.

        Raises:
            BenchmarkError: an unknown name or key, or a value out of range.
        """
        from algorithms.acorm import ACORM  # here, because torch takes seconds

        for name in self.roles.algorithms if self.roles else []:
            if name in ALGORITHMS and not issubclass(ALGORITHMS[name], ACORM):
                raise BenchmarkError(f"roles: {name} is not built on ACORM, whose roles are shown")
        return list(self._resolved())

    def _resolved(self) -> Iterator[RunConfig]:
        methods = [(name, DEFAULT, self.maps) for name in self.algorithms]
        methods += [(variant.algorithm, variant.name, variant.maps) for variant in self.variants]
        of_all = {"study": self.name, "backend": self.backend, "protocol": self.protocol}
        for algorithm, variant, maps in methods:
            for map in maps:
                run = {"map": map, "algorithm": algorithm, "variant": variant}
                overrides = self.overrides(**run).values()
                for seed in self.seeds:
                    yield resolve_run(**of_all, **run, seed=seed, overrides=overrides)

    def overrides(self, map: str, algorithm: str, variant: str) -> dict[str, dict[str, Any]]:
        """What the study sets for a run, by the key that says so; later ones win.

        Raises:
            BenchmarkError: the study has no such variant.
        """
        changes = {part.name: part.set for part in self.variants if part.algorithm == algorithm} | {
            DEFAULT: {}
        }
        known("variant", variant, changes, self.name)
        return {
            f"{self.name}, set": self.set,
            f"{self.name}, per_map": self.per_map.get(map, {}),
            f"{self.name}, per_algorithm": self.per_algorithm.get(algorithm, {}),
            f"{self.name}, variant": changes[variant],
        }


def parse_study(values: dict, source: str, check_runs: bool = True) -> Study:
    """Checks the content of a study file.

    Args:
        values: the parsed YAML.
        source: the file's name, for messages.
        check_runs: also resolve every run, which imports torch.

    Raises:
        BenchmarkError: names the file, the key and what is allowed.
    """
    if not isinstance(values, dict):
        raise BenchmarkError(f"{source}: a study is a table of keys, see config/paper.yaml")
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BenchmarkError(
            f"{source}: version {brief(version)} is newer than this program understands"
            f" ({VERSION}); update the program (git pull) and run `make setup`"
        )
    if version != VERSION:
        raise BenchmarkError(
            f"{source}: version must be {VERSION}, not {brief(version)}; config/paper.yaml explains"
            " its keys"
        )
    for key in values:
        known("key", key, Study.model_fields, source)
    with one_line_errors(source):
        study = Study.model_validate(values)
    if check_runs:
        checked_runs(study, source)
    return study


def checked_runs(study: Study, source: str) -> list[RunConfig]:
    """The study's runs.

    Raises:
        BenchmarkError: as ``Study.runs``, with the name of the file.
    """
    try:
        return study.runs()
    except BenchmarkError as error:
        raise BenchmarkError(f"{source}: {error}") from None


def load_study(path: str | Path, check_runs: bool = True) -> Study:
    """Reads and checks a study file (``config/*.yaml``).

    Raises:
        BenchmarkError: names the file, the key and what is allowed.
    """
    return parse_study(strict_yaml.load(path), str(path), check_runs)
