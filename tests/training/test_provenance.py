"""Which code a run's ``source_hash`` covers."""

import shutil
import subprocess

import pytest

from algorithms import source_file
from benchmark.files import ROOT
from benchmark.training import provenance


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the program, which may be changed."""
    for package in ("algorithms", "benchmark"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "source_file", lambda name: tmp_path / f"algorithms/{name}.py")
    return tmp_path


def changed(copy, path, algorithm="qmix", backend="simulator", line="\nCHANGED = 1\n") -> bool:
    """Whether a line at the end of a file changes the hash."""
    before = provenance.source_hash(algorithm, backend)
    file = copy / path
    file.write_text(file.read_text() + line)
    return provenance.source_hash(algorithm, backend) != before


def test_a_hash_does_not_depend_on_the_version_of_python():
    # Newer ones have further fields of classes and functions, and write f-strings otherwise.
    code = b'''"""A module."""
from a import b

class Run(b.C, key=1e-9):
    @staticmethod
    def show(x: int = 3, *, name="it\\'s") -> str:
        """Text."""
        with open(name) as file, b.lock():
            return f"{x!r:>{x}} of \\"{name}\\" " f"{', '.join([y for y in (1, 2.5) if y])}"
'''
    found, imported = provenance._code(code)
    assert imported == ["a", "a.b"]
    assert found.startswith("e2d7410e2b200c60c5f7")


def test_half_saved_code_has_a_hash_too():
    (half, imported), (other, _) = provenance._code(b"class A("), provenance._code(b"class B(")
    assert half != other
    assert not imported


def test_the_code_of_a_commit(copy):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(copy)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "All"]):
        subprocess.run([*git, *command], check=True)
    head, _ = provenance.commit()
    today = provenance.source_hash("r3dm", "starcraft2")
    assert provenance.source_hash("r3dm", "starcraft2", head) == today
    assert changed(copy, "algorithms/learner.py", "r3dm", "starcraft2")
    assert provenance.source_hash("r3dm", "starcraft2", head) == today
    assert provenance.source_hash("r3dm", "starcraft2", "0" * 40) != today


def test_a_copy_has_the_same_hash(copy, monkeypatch):
    there = provenance.source_hash("r3dm", "simulator")
    monkeypatch.setattr(provenance, "ROOT", ROOT)
    monkeypatch.setattr(provenance, "source_file", source_file)
    assert provenance.source_hash("r3dm", "simulator") == there


@pytest.mark.parametrize(
    "path",
    [
        *("algorithms/qmix.py", "algorithms/learner.py", "algorithms/mixers.py"),
        *(f"benchmark/training/{n}.py" for n in ("train", "protocol", "replay", "rollout")),
        "benchmark/training/seeding.py",
        *("benchmark/envs/__init__.py", "benchmark/envs/maps.py", "benchmark/envs/options.py"),
        *("benchmark/envs/simulator/kernel.py", "benchmark/envs/simulator/units.py"),
    ],
)
def test_code_that_decides_numbers_counts(copy, path):
    assert changed(copy, path)


@pytest.mark.parametrize(
    "path",
    [
        *("algorithms/__init__.py", "algorithms/cia.py", "benchmark/training/progress.py"),
        *("benchmark/analysis/tables.py", "benchmark/envs/starcraft2/client.py"),
    ],
)
def test_other_code_does_not(copy, path):
    assert not changed(copy, path)


def test_the_client_of_the_game_counts_for_runs_on_the_game(copy):
    assert changed(copy, "benchmark/envs/starcraft2/client.py", backend="starcraft2")


def test_a_method_counts_for_those_that_build_on_it(copy):
    assert changed(copy, "algorithms/acorm.py", "r3dm")


@pytest.mark.parametrize(
    "line", ["\n# a comment\n", '\n"""A text."""\n', "\n\n"], ids=["comment", "text", "space"]
)
def test_comments_and_docstrings_do_not_count(copy, line):
    assert not changed(copy, "algorithms/qmix.py", line=line)
