"""One run's configuration, fully resolved; importing this module does not import torch.

In this order, later wins: rules of the protocol, rules of the map, the algorithm's defaults, its
per-map table, its released tables (under that protocol), the study's ``set``, its ``per_map``, its
``per_algorithm``, the variant's ``set``, the command line. Keys are flat: every rule,
hyper-parameter and env option has one name, so ``--set learning_rate=0.001`` is enough.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from algorithms import ALGORITHMS, plugins
from benchmark.envs import BACKENDS
from benchmark.envs.maps import MAPS
from benchmark.envs.options import EnvOptions
from benchmark.errors import BenchmarkError, brief
from benchmark.training.protocol import MAP_RULES, RULES, ProtocolName, Training

VERSION: Literal[2] = 2  #: of the format of runs and study files

#: The variant that the main figures compare; every other variant is an ablation.
DEFAULT = "default"

#: The columns that name a run in the table of evaluations.
IDENTITY = ["study", "backend", "protocol", "map", "algorithm", "variant", "seed"]

_ENV_OPTIONS = sorted(field.name for field in dataclasses.fields(EnvOptions))
_ENV_VALIDATOR = TypeAdapter(EnvOptions)


class RunConfig(BaseModel):
    """Everything that decides a run's numbers; its hash identifies them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = VERSION
    study: str
    backend: str
    protocol: ProtocolName
    map: str
    algorithm: str
    variant: str
    seed: int = Field(ge=0, lt=2**63)
    training: Training
    env: EnvOptions
    hyperparameters: SerializeAsAny[BaseModel]  # the method's ``Config``

    @field_validator("hyperparameters", mode="before")
    @classmethod
    def _typed_hyperparameters(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            return ALGORITHMS[info.data["algorithm"]].Config.model_validate(value)
        return value

    def resolved(self) -> dict:
        """Plain values, for ``run.json`` and the workflow."""
        return json.loads(self.model_dump_json())

    @property
    def hash(self) -> str:
        """Hash of the resolved configuration; equal hashes mean equal numbers."""
        return hash_of(self.resolved())

    @property
    def identity(self) -> dict:
        """The values of ``IDENTITY``."""
        return {name: getattr(self, name) for name in IDENTITY}

    @property
    def path(self) -> Path:
        """The run's folder below ``results``."""
        return Path(self.study, run_path(self.identity))


def run_path(identity: Mapping[str, Any]) -> Path:
    """A run's folder below the folder of its study.

    Args:
        identity: a resolved run, its record, or anything else with the keys of ``IDENTITY``.
    """
    parts = ("backend", "map", "algorithm", "variant", "seed")
    return Path("runs", *(str(identity[part]) for part in parts))


def hash_of(resolved: dict | list) -> str:
    """The hash of a resolved run, or of other plain values."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:16]


def same_configuration(recorded: dict, wanted: dict) -> bool:
    """Whether a recorded run was made with the configuration that is now wanted.

    A key that is younger than the record counts as equal where its value is the benchmark's own:
    what a new key does is off, or as before, until somebody sets it.

    Args:
        recorded: the resolved run in a ``run.json``.
        wanted: a resolved run.
    """
    theirs, ours = flat(recorded), flat(wanted)
    if any(key not in ours or ours[key] != value for key, value in theirs.items()):
        return False
    younger = ours.keys() - theirs.keys()
    if not younger:
        return True
    names = ("map", "algorithm", "backend", "protocol")
    own = flat(resolve_run(**{name: wanted[name] for name in names}, seed=0).resolved())
    return all(ours[key] == own[key] for key in younger)


def same_but_for_the_budget(recorded: dict, wanted: dict) -> bool:
    """Whether they may differ in the budget alone, which decides when a run ends and nothing
    before; arguments as for ``same_configuration``."""
    rules = recorded["training"] | {"budget": wanted["training"]["budget"]}
    return same_configuration(recorded | {"training": rules}, wanted)


def differences(recorded: dict, wanted: dict) -> str:
    """How they differ, for messages: the first keys with both values; arguments as for
    ``same_configuration``."""
    theirs, ours = flat(recorded), flat(wanted)
    values = {key: (theirs.get(key), ours.get(key)) for key in ours | theirs}
    listed = [
        f"{key} ({there} there, {here} here)"
        for key, (there, here) in values.items()
        if there != here
    ]
    more = [f"and {len(listed) - 3} more"] if len(listed) > 3 else []
    return ", ".join(listed[:3] + more)


def flat(resolved: dict) -> dict[str, Any]:
    """A resolved run as one table; each key has one meaning, whatever part of the run it is of."""
    table: dict[str, Any] = {}
    for key, value in resolved.items():
        table |= value if isinstance(value, dict) else {key: value}
    return table


def resolve_run(
    *,
    map: str,
    algorithm: str,
    seed: int,
    study: str = "adhoc",
    backend: str = "simulator",
    protocol: str = "unified",
    variant: str = DEFAULT,
    overrides: Iterable[dict[str, Any]] = (),
) -> RunConfig:
    """Resolves one run.

    Args:
        overrides: flat tables of rules, hyper-parameters and env options; later ones win.

    Raises:
        BenchmarkError: an unknown name or key, or a value out of range.
    """
    known("map", map, MAPS)
    known_algorithm(algorithm)
    known("backend", backend, BACKENDS)
    known("protocol", protocol, RULES)
    sections: dict[str, dict] = {"training": {}, "env": {}, "hyperparameters": {}}
    for table in [*_tables(map, algorithm, protocol).values(), *overrides]:
        for key, value in table.items():
            section = _section(key, algorithm)
            no_number = isinstance(value, bool) and section != "env"  # only the game has switches
            if no_number or (isinstance(value, float) and not math.isfinite(value)):
                raise BenchmarkError(f"{key}: {value} is no number that a run could use")
            sections[section][key] = value
    with one_line_errors(f"run {map}/{algorithm}/{variant}/{seed}"):
        return RunConfig(
            study=study,
            backend=backend,
            protocol=cast(ProtocolName, protocol),  # checked above
            map=map,
            algorithm=algorithm,
            variant=variant,
            seed=seed,
            training=Training.model_validate(sections["training"]),
            env=_ENV_VALIDATOR.validate_python(sections["env"]),
            hyperparameters=ALGORITHMS[algorithm].Config.model_validate(
                sections["hyperparameters"]
            ),
        )


def _tables(map: str, algorithm: str, protocol: str) -> dict[str, Mapping[str, Any]]:
    """The flat tables that come with the benchmark, by what they are; later ones win."""
    method = ALGORITHMS[algorithm]
    for name in {**method.MAP_HYPERPARAMETERS, **method.RELEASED_MAPS}:
        known("map", name, MAPS, f"tables of {algorithm}")
    tables: dict[str, Mapping[str, Any]] = {
        f"protocol {protocol}": RULES[protocol],
        "rule of the map": MAP_RULES.get(map, {}),
        "method's table for the map": method.MAP_HYPERPARAMETERS.get(map, {}),
    }
    if protocol == "released":
        tables["released by the method's authors"] = method.RELEASED
        tables["released for the map"] = method.RELEASED_MAPS.get(map, {})
    return tables


class Setting(NamedTuple):
    """One value of a run, and where it comes from."""

    part: str  #: "training", "env" or "hyperparameters"
    key: str
    value: Any
    source: str


def settings(run: RunConfig, overrides: Mapping[str, dict[str, Any]]) -> list[Setting]:
    """Every setting of a run with its source.

    Args:
        run: the resolved run.
        overrides: what it was resolved with, by what it is, e.g. "study, per_map".
    """
    tables = {**_tables(run.map, run.algorithm, run.protocol), **overrides}
    sources = {key: source for source, table in tables.items() for key in table}
    default = {"env": "default of the env", "hyperparameters": "default of the method"}
    return [
        Setting(part, key, value, sources.get(key) or default[part])
        for part, table in run.resolved().items()
        if isinstance(table, dict)
        for key, value in table.items()
    ]


def _section(key: str, algorithm: str) -> str:
    """Which part of a run a flat key belongs to: "training", "env" or "hyperparameters"."""
    if key in RunConfig.model_fields:
        raise BenchmarkError(
            f"{key!r} says which run it is, not how it is trained; give it where runs are named, as"
            " a study's own key (one backend and one protocol: write a second study file for"
            " another) or as an option of train"
        )
    hyperparameters = ALGORITHMS[algorithm].Config.model_fields
    taken = [*RunConfig.model_fields, *Training.model_fields, *_ENV_OPTIONS]
    if clash := sorted(hyperparameters.keys() & taken):
        raise BenchmarkError(
            f"{algorithm}: {clash[0]!r} is a rule or an env option already; give that"
            " hyper-parameter another name"
        )
    sections = {
        "training": Training.model_fields,
        "hyperparameters": hyperparameters,
        "env": _ENV_OPTIONS,
    }
    if not any(key in names for names in sections.values()):
        others = [name for name, method in ALGORITHMS.items() if key in method.Config.model_fields]
        if others:
            raise BenchmarkError(
                f"{key!r} is a hyper-parameter of {', '.join(others)} and not of {algorithm}; in a"
                " study it belongs under per_algorithm, or in the `set` of a variant"
            )
        known("key", key, [name for names in sections.values() for name in names])
    return next(section for section, names in sections.items() if key in names)


def known_algorithm(name: str, source: str = "") -> None:
    """Checks that there is a method of that name.

    Raises:
        BenchmarkError: as :func:`known`.
    """
    try:
        known("algorithm", name, ALGORITHMS, source)
    except BenchmarkError as error:
        raise BenchmarkError(f"{error}; of your own? name its file in {plugins.VARIABLE}") from None


def known(kind: str, name: str, names: Iterable[str], source: str = "") -> None:
    """Checks that ``name`` is one of ``names``.

    Raises:
        BenchmarkError: names the nearest matches.
    """
    names = list(names)
    if name in names:
        return
    near = difflib.get_close_matches(str(name)[:80], names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(names))}"
    hint = hint if names else "there are none here, are you in the folder of the benchmark?"
    where = f"{source}: " if source else ""
    raise BenchmarkError(f"{where}unknown {kind} {brief(name)}; {hint}")


@contextmanager
def one_line_errors(source: str) -> Iterator[None]:
    """Turns pydantic's report into one line that names the key and what is wrong with it."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        # All keys that are missing stand together.
        alike = [one for one in error.errors() if one["type"] == first["type"] == "missing"]
        alike = alike or [first]
        key = ", ".join(".".join(map(str, one["loc"])) for one in alike)
        reason = first["msg"].removeprefix("Value error, ")
        value = first["input"]
        got = f" (got {brief(value)})" if isinstance(value, str | int | float) else ""
        others = error.error_count() - len(alike)
        more = f"; and {others} more" if others else ""
        message = f"{source}: {key + ': ' if key else ''}{reason}{got}{more}"
        raise BenchmarkError(message) from None
