"""The paper's claims as data: ``config/claims.yaml``.

The margins below which a difference counts as none are part of the file, and were fixed before any
claim was tested. ``claim_tests`` tests them.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchmark import files
from benchmark.analysis import labels
from benchmark.analysis.labels import Metric
from benchmark.analysis.scores import Method
from benchmark.training.config import DEFAULT, load_yaml, one_line_errors

#: The claims of the R3DM paper.
PAPER = files.ROOT / "config" / "claims.yaml"

Verdict = Literal["higher", "lower", "equal"]


def _method(text: str) -> Method:
    algorithm, _, variant = text.partition("/")
    return Method(algorithm, variant or DEFAULT)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Comparison(_Model):
    """What every kind of claim says."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    says: str
    """The claim in our words."""
    stated: str
    """Where the paper states it, or what of it was read from a figure."""
    metric: Metric = "win_rate"
    maps: list[str] = Field(min_length=1)
    left: str
    right: list[str] = Field(min_length=1)
    expect: list[Verdict] = Field(min_length=1)
    """The verdicts that the claim expects."""

    @field_validator("expect", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @property
    def methods(self) -> tuple[Method, list[Method]]:
        """Left and right."""
        return _method(self.left), [_method(text) for text in self.right]


class PerMap(Comparison):
    """Left against each of right, on each map: Welch intervals with Holm's correction per map."""

    kind: Literal["per_map"]
    at: float = Field(default=1.0, gt=0, le=1)
    """Which part of training, of the length of the published curve."""


class PerSuite(Comparison):
    """Left against each of right, averaged over the maps: a bootstrap stratified by map."""

    kind: Literal["per_suite"]
    suite: str
    """What the maps are together."""


class LargestGain(Comparison):
    """The largest lead of left over the best of right on any of the maps, against a number."""

    kind: Literal["largest_gain"]
    suite: str
    gain: float
    """What the lead is compared with."""


Claim = Annotated[PerMap | PerSuite | LargestGain, Field(discriminator="kind")]


class Shown(_Model):
    """The comparison that has a picture of its own."""

    claim: str
    right: str


class Claims(_Model):
    """The file ``config/claims.yaml``."""

    version: Literal[1]
    paper: str
    window: int = Field(gt=0)
    """Env steps at the end that a score averages."""
    alpha: float = Field(gt=0, lt=1)
    """Error rate of the family of comparisons on one map."""
    margins: dict[Metric, float]
    """Differences up to this count as none."""
    reproduction: dict[Metric, float]
    """Ours within this of the published mean counts as reproduced."""
    claims: list[Claim] = Field(min_length=1)
    shown: Shown | None = None

    @field_validator("margins", "reproduction")
    @classmethod
    def _every_metric(cls, value: dict[str, float]) -> dict[str, float]:
        for metric in labels.METRICS:
            if value.get(metric, 0) <= 0:
                raise ValueError(f"needs a margin above 0 for {metric}")
        return value

    @field_validator("claims")
    @classmethod
    def _unique(cls, value: list) -> list:
        ids = [claim.id for claim in value]
        for twice in {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"the id {twice!r} stands twice")
        return value


def load(path: str | Path) -> Claims:
    """Reads a file of claims.

    Raises:
        BenchmarkError: names the file, the key and what is wrong.
    """
    values = load_yaml(path)
    with one_line_errors(str(path)):
        return Claims.model_validate(values)
