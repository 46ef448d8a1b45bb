"""The container recipes, as far as that goes without an engine: paths, versions, extras."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = "/opt/r3dm-benchmark"


def recipe(name: str) -> tuple[str, str, dict[str, str]]:
    """Base image, whole text, and what is copied: path here to path there."""
    text = (ROOT / "containers" / name).read_text()
    base = re.search(r"^(?:FROM|From:) (\S+)$", text, re.MULTILINE)[1]
    if name == "Dockerfile":
        lines = [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]
        copied = {
            path: f"{to}{path}" if to.endswith("/") else to
            for *paths, to in lines
            for path in paths
        }
    else:
        section = text.split("%files\n")[1].split("\n\n")[0]
        copied = dict(line.split() for line in section.splitlines())
    return base, text, copied


@pytest.mark.parametrize("name", ["Dockerfile", "apptainer.def"])
def test_what_a_recipe_names_exists(name):
    base, text, copied = recipe(name)
    image, tag = base.split(":")
    assert image == "python"
    assert SpecifierSet(PROJECT["requires-python"]).contains(tag.split("-")[0] + ".0")
    assert copied == {path: f"{HOME}/{path}" for path in copied}
    for path in copied:
        assert (ROOT / path).exists(), path
    (install,) = re.findall(r"pip install -c (\S+) '(\S+)\[(\S+)\]'", text)
    assert install[:2] == (copied["requirements.lock"], HOME)
    assert set(install[2].split(",")) <= set(PROJECT["optional-dependencies"])
    # What an installation reads: the project's metadata and all of its packages.
    packages = {pattern.rstrip("*") for pattern in ("algorithms*", "benchmark*")}
    assert {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], *packages} <= set(
        copied
    )
    for command in re.findall(r"snakemake .*", text):
        assert command == "snakemake --cores 8 all"


def test_recipes_agree_and_the_build_context_holds_their_files():
    docker, apptainer = recipe("Dockerfile"), recipe("apptainer.def")
    assert (docker[0], docker[2]) == (apptainer[0], apptainer[2])
    variables = [dict(re.findall(r"(\w+)=(/tmp/\S+)", text)) for _, text, _ in (docker, apptainer)]
    assert variables[0] == variables[1]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(docker[2])
