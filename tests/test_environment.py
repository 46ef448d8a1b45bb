"""The three lists of packages agree: pyproject.toml, requirements.lock and environment.yml."""

import importlib.util
import os
import re
import shutil
import subprocess
import time
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmark.envs.starcraft2.installation import LIBRARIES, PACKAGES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["slurm"]]
LOGGERS = ("tensorboard", "wandb")  # `make setup` does not install them
LOCKED = [*NEEDED, *EXTRAS["docs"], *(EXTRAS[name][0] for name in LOGGERS)]


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
    assert not any(
        each.startswith("-e") or "/" in each for each in packages
    )  # a path means nothing there
    python = next(each for each in dependencies if str(each).startswith("python="))
    assert Version(python.removeprefix("python=")) in SpecifierSet(PROJECT["requires-python"])


def test_the_environment_for_starcraft2_adds_the_clients_at_their_pinned_commits():
    def listed(name):
        dependencies = yaml.safe_load((ROOT / name).read_text())["dependencies"]
        return next(each["pip"] for each in dependencies if isinstance(each, dict))

    plain, more = listed("environment.yml"), listed("environment-starcraft2.yml")
    assert more[: len(plain)] == plain
    added = [Requirement(each) for each in more[len(plain) :]]
    urls = {each.name.lower(): each.url for each in added if each.url}
    assert urls == {
        name: f"git+https://github.com/{package.repository}.git@{package.commit}"
        for name, package in PACKAGES.items()
    }
    pins = {each.name: str(each.specifier) for each in added if not each.url}
    tested = {name: f"=={version}" for name, version in LIBRARIES.items()}
    # Of protobuf the newest that smac and smacv2 accept; websockets is for the stand-in.
    assert pins == tested | {"protobuf": "==3.20.3", "websockets": ">=15"}
    extra = {each.name: each.specifier for each in map(Requirement, EXTRAS["standin"])}
    assert all(LIBRARIES.get(name, "15") in wanted for name, wanted in extra.items())


@pytest.mark.parametrize("requirement", LOCKED)
def test_lock_satisfies_the_project(requirement):
    wanted = Requirement(requirement)
    assert locked()[canonicalize_name(wanted.name)] in wanted.specifier


def test_lock_holds_everything_that_is_needed_in_turn():
    pins, pending, seen = locked(), [Requirement(each) for each in LOCKED], set()
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        assert name in pins
        assert pins[name] in wanted.specifier, f"{wanted} but {pins[name]} is locked"
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            assert name in LOGGERS
            continue
        for text in requires:
            if name == "torch" and re.match(r"(nvidia|cuda|triton)", text):
                continue  # torch's own pins, of its CUDA builds only
            inner = Requirement(text)
            if not inner.marker or any(inner.marker.evaluate({"extra": e}) for e in extras):
                pending.append(inner)
    found = {name for name, _ in seen}
    if all(importlib.util.find_spec(name) for name in LOGGERS):
        assert found == set(pins)
    else:
        assert found <= set(pins)


def test_an_installation_holds_every_file_of_the_packages():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    held = {
        path
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    command = ["git", "ls-files", "-co", "--exclude-standard", "algorithms", "benchmark"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {ROOT / file for file in files.split() if not file.endswith(".py")} == held


def test_torch_is_locked_without_a_build():
    """A CPU build satisfies the pin where one is offered, and PyPI's build elsewhere."""
    assert locked()["torch"].local is None


PYTHON = """#!/bin/sh
# Stands for python3.11, and for the one in .venv: notes its calls, fails when told to.
echo "$@" >> calls
[ "$1" = -c ] && exit "$(cat too_old 2>/dev/null || echo 0)"
if [ "$2" = venv ]; then
    rm -rf .venv && mkdir -p .venv/bin && cp python .venv/bin/python
elif [ -e interrupt ]; then
    exit 1
fi
"""


@pytest.fixture
def clone(tmp_path):
    """A fresh clone as far as the set-up is concerned, with a stand-in for Python."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def set_up(clone: Path) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Runs ``make setup``; also returns what it did: made a "venv", ran "pip"."""
    (clone / "calls").write_text("")
    command = ["make", "setup", f"PYTHON={clone}/python"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    calls = (clone / "calls").read_text().splitlines()
    return done, [call.split()[1] for call in calls if call.startswith("-m")]


def test_set_up_once(clone):
    done, calls = set_up(clone)
    assert done.returncode == 0, done.stderr
    assert calls == ["venv", "pip"]
    assert set_up(clone)[1] == []


def test_an_interrupted_set_up_begins_again(clone):
    (clone / "interrupt").touch()
    assert set_up(clone)[0].returncode != 0
    (clone / ".venv" / "half").touch()
    (clone / "interrupt").unlink()
    done, calls = set_up(clone)
    assert done.returncode == 0
    assert calls == ["venv", "pip"]
    assert not (clone / ".venv" / "half").exists()


def test_a_new_lock_is_installed(clone):
    set_up(clone)
    later = time.time() + 10
    os.utime(clone / "requirements.lock", (later, later))
    (clone / "interrupt").touch()
    assert set_up(clone)[0].returncode != 0
    (clone / "interrupt").unlink()
    assert set_up(clone)[1] == ["venv", "pip"]  # nobody knows what the interrupted one left


def test_an_old_python_is_one_clear_line(clone):
    (clone / "too_old").write_text("1")
    done, calls = set_up(clone)
    assert done.returncode != 0
    assert calls == []
    assert "error: Python 3.11 or newer is needed" in done.stderr
    assert not (clone / ".venv").exists()
