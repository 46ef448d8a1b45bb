"""The three lists of packages agree: pyproject.toml, requirements.lock and environment.yml."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def normal(requirements: list[str]) -> set[tuple[str, SpecifierSet]]:
    parsed = map(Requirement, requirements)
    return {(canonicalize_name(each.name), each.specifier) for each in parsed}


def test_environment_lists_what_the_project_needs():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    packages = next(each["pip"] for each in dependencies if isinstance(each, dict))
    assert normal(packages) == normal(NEEDED)
    assert not any("-e" in each or "/" in each for each in packages)  # a path means nothing there
    python = next(each for each in dependencies if str(each).startswith("python="))
    assert Version(python.removeprefix("python=")) in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("requirement", NEEDED)
def test_lock_satisfies_the_project(requirement):
    wanted = Requirement(requirement)
    assert locked()[canonicalize_name(wanted.name)] in wanted.specifier


def test_lock_holds_everything_that_is_needed_in_turn():
    pins, pending, seen = locked(), [Requirement(each) for each in NEEDED], set()
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        assert name in pins
        assert pins[name] in wanted.specifier, f"{wanted} but {pins[name]} is locked"
        for text in metadata.requires(name) or []:
            if name == "torch" and re.match(r"(nvidia|cuda|triton)", text):
                continue  # torch's own pins, of its CUDA builds only
            inner = Requirement(text)
            if not inner.marker or any(inner.marker.evaluate({"extra": e}) for e in extras):
                pending.append(inner)
    assert {name for name, _ in seen} == set(pins)


def test_torch_is_locked_without_a_build():
    """A CPU build satisfies the pin where one is offered, and PyPI's build elsewhere."""
    assert locked()["torch"].local is None
