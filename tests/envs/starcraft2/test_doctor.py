"""The doctor finds what is wrong and names the command that fixes it."""

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from benchmark.commands import main
from benchmark.envs import make
from benchmark.envs.starcraft2 import doctor, installation
from benchmark.envs.starcraft2.doctor import BAD, GOOD, NOTE
from benchmark.envs.starcraft2.installation import (
    EXECUTABLE,
    MAP_FOLDER,
    PACKAGES,
    package_problem,
)
from benchmark.errors import BenchmarkError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an executable that is none and maps that count as the known ones."""
    program = tmp_path / EXECUTABLE
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF" + bytes(500))
    program.chmod(0o755)
    maps = tmp_path / MAP_FOLDER
    maps.mkdir(parents=True)
    for name in installation.MAP_FILES:
        (maps / name).write_text("map")
    digest = installation.sha256(maps / "3m.SC2Map")
    monkeypatch.setattr(doctor, "MAP_FILES", dict.fromkeys(installation.MAP_FILES, digest))
    monkeypatch.setattr(doctor, "_shared_libraries", lambda *_: iter(()))
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    return tmp_path


def findings(subject):
    return [found for found in doctor.examine(start=False) if found.subject == subject]


def only(subject):
    (finding,) = findings(subject)
    return finding


def test_a_healthy_folder(folder):
    assert only("game").state == only("maps").state == GOOD
    assert "4.10" in only("game").text


def test_no_game(tmp_path, monkeypatch):
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    finding = only("game")
    assert finding.state == BAD
    assert "set SC2PATH" in finding.text
    assert finding.remedy == f"python -m benchmark install-starcraft2 {tmp_path / 'nowhere'}"
    assert findings("maps")[0].remedy.endswith("--maps-only")


def test_another_version(folder):
    (folder / "Versions" / "Base75689").rename(folder / "Versions" / "Base69232")
    finding = only("game")
    assert finding.state == BAD
    assert "Base69232" in finding.text
    assert finding.remedy.startswith("export STARCRAFT2_VERSION=4.6.2")


def test_a_version_that_the_installer_does_not_bring(folder, monkeypatch):
    monkeypatch.setenv("STARCRAFT2_VERSION", "4.6.2")
    shutil.rmtree(folder / "Versions" / "Base75689")
    finding = only("game")
    assert finding.text.startswith("4.6.2 is not in")
    assert "Linux package 4.6.2" in finding.remedy
    assert "install-starcraft2" not in finding.remedy


def test_a_version_folder_that_pysc2_cannot_read(folder):
    (folder / "Versions" / "Base75689.old").mkdir()
    finding = findings("game")[0]
    assert (finding.state, finding.remedy[:3]) == (BAD, "mv ")


def test_not_executable(folder):
    (folder / EXECUTABLE).chmod(0o644)
    if os.access(folder / EXECUTABLE, os.X_OK):
        pytest.skip("this user may execute anything")
    assert only("game").remedy == f"chmod +x {folder / EXECUTABLE}"


def test_missing_and_changed_maps(folder):
    maps = folder / MAP_FOLDER
    (maps / "MMM2.SC2Map").write_text("something else")
    assert only("maps").state == BAD
    assert "MMM2" in only("maps").text
    (maps / "3m.SC2Map").unlink()
    assert "3m.SC2Map" in only("maps").text
    assert only("maps").remedy == f"python -m benchmark install-starcraft2 {folder} --maps-only"


def test_libraries_that_the_loader_misses(folder, monkeypatch):
    monkeypatch.undo()
    fake = folder / "ldd"
    fake.write_text(
        "#!/bin/sh\necho '\tlibstrange.so.1 => not found'\n"
        'echo "$1: /lib/libc.so.6: version \\`GLIBC_2.99\' not found (required by $1)"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    (finding,) = doctor._shared_libraries(folder / EXECUTABLE, folder)
    assert finding.state == BAD
    assert "GLIBC_2.99, libstrange.so.1" in finding.text


def test_pypis_smac_is_told_from_oxwhirls(tmp_path, monkeypatch):
    """PyPI's SMAC3 has the same name and no env."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("smac", "smacv2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    wrong = tmp_path / "smac"
    wrong.mkdir()
    (wrong / "__init__.py").write_text("")
    assert "another package of the name smac" in package_problem("smac")
    finding = only("smac")
    assert finding.state == BAD
    assert finding.remedy == f"pip uninstall -y smac && {PACKAGES['smac'].command}"
    right = tmp_path / "smacv2" / "env" / "starcraft2"
    right.mkdir(parents=True)
    (tmp_path / "smacv2" / "__init__.py").write_text("")
    (right / "starcraft2.py").write_text("class StarCraft2Env: pass")
    assert not package_problem("smacv2")
    finding = only("smacv2")  # oxwhirl's, but changed
    assert finding.state == NOTE
    assert PACKAGES["smacv2"].commit in finding.remedy


@pytest.fixture
def without_libraries(monkeypatch):
    """Only two of the clients' libraries are installed, one of them in an old version."""
    installed = {"pysc2": "4.0.0", "websocket-client": "0.1"}
    monkeypatch.setattr(metadata, "distributions", lambda name: [name] if name in installed else [])
    monkeypatch.setattr(metadata, "version", installed.__getitem__)


def test_all_missing_libraries_at_once(without_libraries, folder):
    assert only("pysc2").text == "4.0.0"
    assert only("websocket-client").text == "0.1 (tested with 1.9.2)"
    missing = "s2clientprotocol, protobuf, absl-py, portpicker"
    assert only("libraries").text == f"not installed: {missing}"
    assert only("libraries").remedy == (
        "pip install --no-deps s2clientprotocol==5.0.17.98310.0 protobuf==7.36.2 absl-py==2.5.1"
        " portpicker==1.6.0"
    )
    with pytest.raises(BenchmarkError, match=f"not installed: {missing}; .* doctor"):
        make("3m", 1, "starcraft2")


def test_the_docs_install_what_the_doctor_asks_for():
    docs = Path("docs/starcraft2.md").read_text()
    pins = " ".join(f"{name}=={version}" for name, version in installation.LIBRARIES.items())
    assert f"pip install --no-deps {pins}\n" in docs
    assert all(package.command.split()[-1] in docs for package in PACKAGES.values())


def test_memory():
    assert "GB free" in only("memory").text


def test_command_without_the_game(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SC2PATH", str(tmp_path / "nowhere"))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "fix   game: there is no folder" in out
    assert f"      python -m benchmark install-starcraft2 {tmp_path / 'nowhere'}" in out
    assert out.splitlines()[-1] == "backend starcraft2 cannot be used yet; backend simulator can"


@pytest.mark.clients
def test_command_with_the_standin(game, capsys):
    game()
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "is the stand-in, not StarCraft II" in out
    assert "ok    3m: the game started and played a step; it calls itself 4.10.0 (stand-in)" in out
    assert "ok    protoss_5_vs_5: " in out


@pytest.mark.clients
def test_a_game_that_does_not_start(game, monkeypatch, capsys):
    game(faults="no_start=1")
    monkeypatch.setenv("STARCRAFT2_ATTEMPTS", "1")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "fix   3m: StarCraft II failed to begin a battle 1 times in a row" in out
    assert "ended before it could be played (stand-in for StarCraft II: no_start" in out
