"""The container recipes as far as it goes without an engine: paths, versions, extras, commands."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
HOME = "/opt/r3dm-benchmark"
DOCS = (ROOT / "docs" / "clusters.md").read_text()


class Recipe(NamedTuple):
    """What is read out of a recipe."""

    base: str  #: image
    copied: dict[str, str]  #: path here -> path there
    script: str  #: what the shell runs while it is built
    environment: dict[str, str]  #: variables of a container
    usage: list[str]  #: commands in its comments


def dockerfile() -> Recipe:
    lines = (ROOT / "containers" / "Dockerfile").read_text().splitlines()
    usage = [line.lstrip("# ") for line in lines if line.startswith("#   ")]
    steps = [line.split(" ", 1) for line in lines if not line.startswith("#")]
    assert [name for name, _ in steps] == [*("FROM", "ENV", "RUN"), *["COPY"] * 3, "RUN", "WORKDIR"]
    assert steps[-1] == ["WORKDIR", "/study"]  # where `docker run` mounts the study
    copied = {
        path: f"{to}{path}" if to.endswith("/") else to
        for name, step in steps
        if name == "COPY"
        for *paths, to in [step.split()]
        for path in paths
    }
    script = "\n".join(step for name, step in steps if name == "RUN")
    variables = dict(variable.split("=") for variable in steps[1][1].split())
    # Apptainer brings the caller's own.
    assert {variables.pop(name) for name in ("USER", "HOME")} == {"study", "/tmp"}
    return Recipe(steps[0][1], copied, script, variables, usage)


def apptainer() -> Recipe:
    head, *sections = (ROOT / "containers" / "apptainer.def").read_text().split("\n%")
    usage = [line.lstrip("# ") for line in head.splitlines() if line.startswith("#   ")]
    keys = dict(line.split(": ") for line in head.splitlines() if line and line[0] != "#")
    assert keys.keys() == {"Bootstrap", "From"}
    assert keys["Bootstrap"] == "docker"
    parts = {name: text for name, _, text in (part.partition("\n") for part in sections)}
    assert parts.keys() == {"files", "post", "environment"}
    copied = dict(line.split() for line in parts["files"].splitlines() if line)
    exported = [
        line.split()
        for line in (parts["post"] + parts["environment"]).splitlines()
        if "export" in line
    ]
    variables = dict(variable.split("=") for _, *line in exported for variable in line)
    script = "\n".join(line for line in parts["post"].splitlines() if "export" not in line)
    return Recipe(keys["From"], copied, script, variables, usage)


@pytest.mark.parametrize("recipe", [dockerfile(), apptainer()], ids=["docker", "apptainer"])
def test_what_a_recipe_names_exists(recipe):
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = (str(each) for each in dependencies if str(each).startswith("python="))
    assert recipe.base == f"python:{python.removeprefix('python=')}-slim-bookworm"
    for path, there in recipe.copied.items():
        assert (ROOT / path).exists(), path
        assert there == f"{HOME}/{path}"
    # What an installation reads: the project's metadata and all of its packages.
    packages = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    read = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}
    assert {*read, *(name.rstrip("*") for name in packages)} <= set(recipe.copied)
    assert subprocess.run(["bash", "-n"], input=recipe.script, text=True).returncode == 0
    assert re.findall(r"apt-get install (?:-\S+ )*(.*?) &&", recipe.script) == [
        "gcc git libc6-dev"  # Triton compiles C code
    ]


@pytest.mark.parametrize("recipe", [dockerfile(), apptainer()], ids=["docker", "apptainer"])
def test_what_a_recipe_installs_is_pinned(recipe):
    lock, source, extras = re.search(
        r"^ *pip install -c (\S+) '(\S+)\[(\S+)\]'$", recipe.script, re.MULTILINE
    ).groups()
    assert (lock, source) == (recipe.copied["requirements.lock"], HOME)
    pins = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {canonicalize_name(pin.split("==")[0]) for pin in pins}
    optional = [PROJECT["optional-dependencies"][name] for name in extras.split(",")]
    for requirement in sum(optional, PROJECT["dependencies"]):
        assert canonicalize_name(Requirement(requirement).name) in pinned, requirement


def test_recipes_agree_and_the_build_context_holds_their_files():
    docker, image = dockerfile(), apptainer()
    assert docker._replace(script="", usage=[]) == image._replace(script="", usage=[])
    assert docker.script.split() == image.script.split()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(docker.copied)


def test_the_documentation_has_the_recipes_commands():
    shown = " ".join(DOCS.split())
    for command in (*dockerfile().usage, *apptainer().usage):
        assert command in shown
        for path in re.findall(r"containers/\S+", command):
            assert (ROOT / path).exists(), path
    (image,) = re.findall(r'^container: "(\S+)"$', (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert f"apptainer build {image} " in shown
    assert f"apptainer exec --nv {image} " in shown
