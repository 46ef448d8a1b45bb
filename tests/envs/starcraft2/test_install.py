"""``install.sh`` on small archives; no byte of the game and no network is needed."""

import hashlib
import os
import pty
import select
import shutil
import subprocess
import time
import zipfile

import pytest

from benchmark.commands import main
from benchmark.envs.starcraft2.installation import EXECUTABLE, INSTALL_SCRIPT, MAP_FOLDER

SENTENCE = "words that open it"
PROGRAM = b"\x7fELF" + bytes(range(256)) * 50
FILES = {EXECUTABLE: PROGRAM, "SC2Data/text": b"terran zerg protoss " * 4000, "Libs/empty": b""}
MAPS = {"3m.SC2Map": b"three marines", "32x32_flat.SC2Map": b"flat"}
TYPING_SECONDS = 20.0

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("zip", "unzip", "curl", "sha256sum"))),
    reason="zip, unzip, curl and sha256sum are needed",
)


def make_archive(path, files=FILES):
    """A zip archive whose files are locked, as the game's is."""
    for name, content in files.items():
        file = path.parent / "packing" / "StarCraftII" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    command = ["zip", "-q", "-r", "-P", SENTENCE, path, "StarCraftII"]
    subprocess.run(command, cwd=path.parent / "packing", check=True)
    shutil.rmtree(path.parent / "packing")
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_archive(tmp_path_factory.mktemp("game") / "SC2.zip")


@pytest.fixture
def maps(tmp_path):
    """SMAC_Maps.zip with the two known maps and another one."""
    with zipfile.ZipFile(tmp_path / "SMAC_Maps.zip", "w") as zipped:
        for name, content in {**MAPS, "other.SC2Map": b"not needed"}.items():
            zipped.writestr(f"SMAC_Maps/{name}", content)
    return tmp_path / "SMAC_Maps.zip"


@pytest.fixture
def script(tmp_path):
    """The script in a folder where its list of maps has the two of these tests."""
    (tmp_path / "script").mkdir()
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in MAPS.items()]
    (tmp_path / "script" / "maps.sha256").write_text("".join(lines))
    return shutil.copy(INSTALL_SCRIPT, tmp_path / "script")


def run(script, *arguments, typed="", **environment):
    """Runs the script on a terminal where a user types; gives its exit code and what it shows."""
    command = ["bash", str(script), *map(str, arguments)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, os.environ | environment)
    output, answered, deadline = b"", 0, time.monotonic() + TYPING_SECONDS
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            output += os.read(terminal, 4096)
        except OSError:  # the script has ended
            break
        if output.count(b"password: ") + output.count(b"reenter: ") > answered:
            time.sleep(0.2)  # unzip drops what is typed before it listens
            os.write(terminal, f"{typed}\n".encode())
            answered += 1
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.decode().replace("\r", "")


def check_installed(folder):
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content
    assert os.access(folder / EXECUTABLE, os.X_OK)
    assert {file.name for file in (folder / MAP_FOLDER).iterdir()} == set(MAPS)
    for name, content in MAPS.items():
        assert (folder / MAP_FOLDER / name).read_bytes() == content


def errors(output):
    return [line for line in output.splitlines() if line.startswith("error: ")]


def test_from_files_that_are_there(script, tmp_path, archive, maps):
    folder = tmp_path / "game"
    code, shown = run(script, folder, "--zip", archive, "--maps", maps, typed=SENTENCE)
    assert code == 0, shown
    check_installed(folder)
    assert "AI_AND_MACHINE_LEARNING_LICENSE.html" in shown
    assert f"export SC2PATH={folder}" in shown
    assert archive.exists()


def test_downloads_continue(script, tmp_path, archive, maps):
    folder = tmp_path / "game"
    content = archive.read_bytes()
    (tmp_path / "game.SC2.zip.partial").write_bytes(content[: len(content) // 2])
    urls = {"STARCRAFT2_GAME_URL": archive.as_uri(), "STARCRAFT2_MAPS_URL": maps.as_uri()}
    code, shown = run(script, folder, typed=SENTENCE, **urls)
    assert code == 0, shown
    check_installed(folder)
    assert not list(tmp_path.glob("game.*"))  # neither the archive nor a part of it
    code, shown = run(script, folder, **urls)
    assert code == 0
    assert "already in" in shown


@pytest.mark.parametrize("typed", ["", "other words"])
def test_only_the_user_opens_the_archive(script, tmp_path, archive, maps, typed):
    folder = tmp_path / "game"
    code, shown = run(script, folder, "--zip", archive, "--maps", maps, typed=typed)
    assert code == 2
    assert "wrong sentence" in errors(shown)[0]
    assert not (folder / EXECUTABLE).exists()
    assert "iagree" not in INSTALL_SCRIPT.read_text().lower().replace(" ", "")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no zip", "not a whole zip archive"),
        ("cut", "not a whole zip archive"),
        ("missing", "there is no archive"),
        ("another version", "does not hold StarCraft II 4.10"),
    ],
)
def test_bad_archives_are_one_clear_line(script, tmp_path, archive, maps, what, message):
    path = tmp_path / "bad.zip"
    if what == "no zip":
        path.write_bytes(b"<html>not found</html>")
    elif what == "cut":
        path.write_bytes(archive.read_bytes()[:-500])
    elif what == "another version":
        make_archive(path, {"Versions/Base69232/SC2_x64": PROGRAM})
    code, shown = run(script, tmp_path / "game", "--zip", path, "--maps", maps, typed=SENTENCE)
    assert code == 2
    (error,) = errors(shown)
    assert message in error


def test_maps_alone_from_a_folder(script, tmp_path):
    folder, source = tmp_path / "game", tmp_path / "maps" / "deep"
    source.mkdir(parents=True)
    for name, content in MAPS.items():
        (source / name).write_bytes(content)
    arguments = (script, folder, "--maps-only", "--maps", tmp_path / "maps")
    assert run(*arguments)[0] == 0
    (source / "3m.SC2Map").write_bytes(b"another map")
    assert run(*arguments)[0] == 0  # the known ones are there
    (folder / MAP_FOLDER / "3m.SC2Map").write_bytes(b"broken")
    code, shown = run(*arguments)
    assert code == 2
    assert "3m.SC2Map is not the map that this benchmark knows" in shown
    (source / "3m.SC2Map").unlink()
    code, shown = run(*arguments)
    assert code == 2
    assert "holds no 3m.SC2Map" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the folder"),
        (("here", "there"), "one folder only"),
        (("here", "--zap"), "unknown option --zap"),
        (("here", "--zip"), "--zip needs a value"),
    ],
)
def test_mistakes_are_one_line(script, arguments, message):
    code, shown = run(script, *arguments)
    assert code == 2
    assert shown.startswith("error: ")
    assert message in shown
    assert shown.count("\n") == 1


def test_help(script):
    code, shown = run(script, "--help")
    assert code == 0
    assert "usage: install.sh" in shown


def test_a_download_that_fails_is_one_clear_line(script, tmp_path):
    url = (tmp_path / "nothing.zip").as_uri()
    code, shown = run(script, tmp_path / "game", STARCRAFT2_GAME_URL=url)
    assert code == 2
    assert f"cannot download {url}" in errors(shown)[0]


def test_the_command_runs_the_script(tmp_path, capfd):
    assert main(["install-starcraft2", str(tmp_path), "--maps-only", "--maps", "/nowhere"]) == 2
    assert capfd.readouterr().err == "error: there is no /nowhere\n"


@pytest.mark.protocol
def test_never_over_the_standin(game, capfd):
    assert main(["install-starcraft2", str(game()), "--maps-only"]) == 2
    assert "holds the stand-in" in capfd.readouterr().err
