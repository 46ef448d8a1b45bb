"""Fetching and unpacking the game and its maps; no byte of them is needed here."""

import hashlib
import http.server
import io
import os
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from benchmark.commands import main
from benchmark.envs.starcraft2 import install_starcraft2 as installer
from benchmark.envs.starcraft2 import locked_zip
from benchmark.envs.starcraft2.standin.install import EXECUTABLE, MAP_FOLDER
from benchmark.errors import BenchmarkError

SENTENCE = "words that open it"
PROGRAM = b"\x7fELF" + bytes(range(256)) * 50
FILES = {
    "StarCraftII/Versions/Base75689/SC2_x64": PROGRAM,
    "StarCraftII/SC2Data/data.000": os.urandom(1_300_000),
    "StarCraftII/SC2Data/text": b"terran zerg protoss " * 40_000,
    "StarCraftII/Libs/empty": b"",
}
MAPS = {"3m": b"three marines", "32x32_flat": b"flat"}


def lock(data: bytes, password: bytes, check: int) -> bytes:
    """PKWARE's cipher, the other way round and restated in plain Python."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0xEDB88320 if value & 1 else value >> 1
        table.append(value)
    keys = [0x12345678, 0x23456789, 0x34567890]

    def turn(byte):
        keys[0] = table[(keys[0] ^ byte) & 255] ^ keys[0] >> 8
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = table[(keys[2] ^ keys[1] >> 24) & 255] ^ keys[2] >> 8

    for byte in password:
        turn(byte)
    output = bytearray()
    for byte in bytes(11) + bytes([check]) + data:
        word = keys[2] & 0xFFFF | 2
        output.append(byte ^ (word * (word ^ 1) >> 8 & 255))
        turn(byte)
    return bytes(output)


def make_archive(path: Path, files=FILES, password=SENTENCE) -> None:
    """A zip archive whose files are locked, as the game's is."""
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16 if name.endswith("x64") else 0o644 << 16
            stored = zipfile.ZIP_STORED if len(content) < 10 else zipfile.ZIP_DEFLATED
            zipped.writestr(info, content, stored)
    with zipfile.ZipFile(plain) as zipped, open(path, "wb") as out:
        central, raw = b"", plain.getvalue()
        for info in zipped.infolist():
            begin = info.header_offset + 30 + len(info.filename)
            data = raw[begin : begin + info.compress_size]
            locked = lock(data, password.encode(), info.CRC >> 24)
            offset = out.tell()
            info.flag_bits |= 1
            info.compress_size, info.header_offset = len(locked), offset
            out.write(info.FileHeader(zip64=False) + locked)
            central += _central(info)
        start = out.tell()
        end = zipfile.struct.pack(
            zipfile.structEndArchive, b"PK\5\6", 0, 0, len(files), len(files), len(central),
            start, 0,
        )  # fmt: skip
        out.write(central + end)


def _central(info) -> bytes:
    date = (info.date_time[0] - 1980) << 9 | info.date_time[1] << 5 | info.date_time[2]
    name = info.filename.encode()
    return (
        zipfile.struct.pack(
            zipfile.structCentralDir, b"PK\1\2", 20, 3, 20, 0, info.flag_bits, info.compress_type,
            0, date, info.CRC, info.compress_size, info.file_size, len(name), 0, 0, 0, 0,
            info.external_attr, info.header_offset,
        )
        + name
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("game") / "SC2.zip"
    make_archive(path)
    with zipfile.ZipFile(path) as zipped:  # Python's own unlocking agrees
        zipped.setpassword(SENTENCE.encode())
        assert zipped.read("StarCraftII/SC2Data/text") == FILES["StarCraftII/SC2Data/text"]
        assert zipped.read("StarCraftII/Versions/Base75689/SC2_x64") == PROGRAM
    return path


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """SMAC_Maps.zip with the maps of this test, which count as the known ones."""
    known = {name: hashlib.sha256(content).hexdigest() for name, content in MAPS.items()}
    monkeypatch.setattr(installer, "MAP_FILES", known)
    path = tmp_path / "SMAC_Maps.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in MAPS.items():
            zipped.writestr(f"SMAC_Maps/{name}.SC2Map", content)
        zipped.writestr("SMAC_Maps/other.SC2Map", b"not needed")
    return path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of files, with ranges; ``break_after`` lets it drop the connection."""
    files, log, state = {}, [], {"break_after": None, "ranges": True}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            log.append((self.path, self.headers.get("Range")))
            if self.path not in files:
                self.send_error(404)
                return
            content, begin = files[self.path], 0
            wanted = self.headers.get("Range")
            if wanted and state["ranges"]:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                if begin >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            part = content[begin:]
            self.wfile.write(part[: state["break_after"]] if state["break_after"] else part)

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{web.server_port}"
    monkeypatch.setattr(installer, "GAME_URL", f"{url}/SC2.4.10.zip")
    monkeypatch.setattr(installer, "MAPS_URL", f"{url}/maps.zip")
    monkeypatch.setattr(installer, "LICENCE_URL", f"{url}/licence")
    yield files, log, state
    web.shutdown()
    web.server_close()


def run(*arguments):
    return main(["install-starcraft2", *map(str, arguments)])


def check_installed(folder):
    for name, content in FILES.items():
        path = folder / name.removeprefix("StarCraftII/")
        assert path.read_bytes() == content
        assert bool(path.stat().st_mode & stat.S_IXUSR) == name.endswith("x64")
    for name, content in MAPS.items():
        assert (folder / MAP_FOLDER / f"{name}.SC2Map").read_bytes() == content
    assert not list(folder.rglob("*.partial"))
    assert not (folder / MAP_FOLDER / "other.SC2Map").exists()


def test_from_files_that_are_there(tmp_path, archive, maps, capsys):
    folder = tmp_path / "game"
    assert run(folder, "--zip", archive, "--maps", maps, "--accept-licence", SENTENCE) == 0
    check_installed(folder)
    assert f"export SC2PATH={folder}" in capsys.readouterr().out
    assert archive.exists()


def test_from_the_network(tmp_path, archive, maps, server, monkeypatch):
    files, _, _ = server
    files |= {"/SC2.4.10.zip": archive.read_bytes(), "/maps.zip": maps.read_bytes()}
    monkeypatch.setenv(installer.ACCEPTANCE, SENTENCE)
    folder = tmp_path / "game"
    assert run(folder) == 0
    check_installed(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"game", "SMAC_Maps.zip"}


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(tmp_path, server, capsys, ranges):
    files, log, state = server
    content = os.urandom(2_500_000)
    files["/file"] = content
    state["break_after"], state["ranges"] = 1_200_000, ranges
    url, target = installer.GAME_URL.replace("SC2.4.10.zip", "file"), tmp_path / "file"
    with pytest.raises(BenchmarkError, match="connection ended after 1200000 of 2500000 bytes"):
        installer.download(url, target)
    assert not target.exists()
    state["break_after"] = None
    installer.download(url, target)
    assert target.read_bytes() == content
    assert [range for _, range in log] == [None, "bytes=1200000-"]
    installer.download(url, target)  # it is there
    assert len(log) == 2


def test_a_download_that_was_complete_but_not_named_yet(tmp_path, server):
    files, _, _ = server
    files["/file"] = b"all of it"
    (tmp_path / "file.partial").write_bytes(b"all of it")
    installer.download(installer.GAME_URL.replace("SC2.4.10.zip", "file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"all of it"


def test_interrupted_unpacking_goes_on(tmp_path, archive):
    folder = tmp_path / "game"
    steps = locked_zip.unpack(archive, folder, SENTENCE, "StarCraftII/")
    for _ in range(4):
        next(steps)
    steps.close()
    (folder / "SC2Data" / "text").parent.mkdir(exist_ok=True, parents=True)
    (folder / "SC2Data" / "text").write_bytes(b"half")  # as another tool might leave it
    program = folder / "Versions" / "Base75689" / "SC2_x64"
    before = program.stat().st_mtime_ns
    done = list(locked_zip.unpack(archive, folder, SENTENCE, "StarCraftII/"))
    assert program.stat().st_mtime_ns == before
    total = sum(map(len, FILES.values()))
    assert done[-1] == (total, total)
    for name, content in FILES.items():
        assert (folder / name.removeprefix("StarCraftII/")).read_bytes() == content
    assert not list(folder.rglob("*.partial"))


def test_the_licence_is_shown_and_never_accepted_for_anybody(
    tmp_path, archive, maps, server, capsys, monkeypatch
):
    files, _, _ = server
    files["/licence"] = b"<html><style>p{}</style><h1>LICENSE</h1><p>You &amp; we agree.</p></html>"
    monkeypatch.delenv(installer.ACCEPTANCE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(SENTENCE))  # no terminal
    folder = tmp_path / "game"
    assert run(folder, "--zip", archive, "--maps", maps) == 2
    error = capsys.readouterr().err
    assert "LICENSE" in error
    assert "You & we agree." in error
    assert "p{}" not in error
    assert "needs your acceptance" in error
    assert not folder.exists()
    source = Path(installer.__file__).read_text() + Path(locked_zip.__file__).read_text()
    assert "iagree" not in source.lower().replace(" ", "")


@pytest.mark.parametrize("typed", ["", SENTENCE])
def test_the_user_types_the_sentence(tmp_path, archive, maps, server, capsys, monkeypatch, typed):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv(installer.ACCEPTANCE, raising=False)
    monkeypatch.setattr("sys.stdin", Terminal(f"{typed}\n"))
    folder = tmp_path / "game"
    assert run(folder, "--zip", archive, "--maps", maps) == (0 if typed else 2)
    error = capsys.readouterr().err
    assert "could not be fetched" in error  # the test's server has no licence
    if typed:
        check_installed(folder)
    else:
        assert "not accepted; nothing was installed" in error
        assert not folder.exists()


def damage(path: Path, target: Path) -> Path:
    data = bytearray(path.read_bytes())
    middle = data.index(b"SC2Data/data.000") + 900_000
    data[middle] ^= 1
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("wrong sentence", "do not open the archive"),
        ("damaged", "wrong checksum|damaged"),
        ("no zip", "no zip archive"),
        ("missing", "there is no archive"),
        ("other game", "does not hold StarCraft II 4.10"),
        ("escape", "outside of its folder"),
    ],
)
def test_bad_archives_are_one_clear_line(tmp_path, archive, maps, capsys, what, message):
    sentence, path = SENTENCE, tmp_path / "bad.zip"
    if what == "wrong sentence":
        sentence, path = "other words", archive
    elif what == "damaged":
        damage(archive, path)
    elif what == "no zip":
        path.write_bytes(b"<html>not found</html>")
    elif what == "other game":
        make_archive(path, {"StarCraftII/Versions/Base69232/SC2_x64": PROGRAM})
    elif what == "escape":
        make_archive(path, {"StarCraftII/../../evil": b"0123456789abcdef"})
    folder = tmp_path / "game"
    assert run(folder, "--zip", path, "--maps", maps, "--accept-licence", sentence) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert any(part in error[0] for part in message.split("|"))
    assert not (folder / EXECUTABLE).exists() or what == "damaged"
    assert not (tmp_path.parent / "evil").exists()


def test_maps_alone_from_a_folder(tmp_path, maps, capsys):
    source = tmp_path / "maps" / "deep"
    source.mkdir(parents=True)
    for name, content in MAPS.items():
        (source / f"{name}.SC2Map").write_bytes(content)
    folder = tmp_path / "game"
    assert run(folder, "--maps-only", "--maps", tmp_path / "maps") == 0
    (source / "3m.SC2Map").write_bytes(b"another map")
    assert run(folder, "--maps-only", "--maps", tmp_path / "maps") == 0  # they are there
    (folder / MAP_FOLDER / "3m.SC2Map").write_bytes(b"broken")
    assert run(folder, "--maps-only", "--maps", tmp_path / "maps") == 2
    assert "3m.SC2Map is not the map that this benchmark knows" in capsys.readouterr().err
    (source / "3m.SC2Map").unlink()
    assert run(folder, "--maps-only", "--maps", tmp_path / "maps") == 2
    assert "holds no 3m.SC2Map" in capsys.readouterr().err


@pytest.mark.protocol
def test_never_over_the_standin(game, capsys):
    assert run(game(), "--maps-only") == 2
    assert "holds the stand-in" in capsys.readouterr().err


def test_no_network_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(installer, "GAME_URL", "http://127.0.0.1:9/SC2.4.10.zip")
    assert run(tmp_path / "game", "--accept-licence", "x") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot fetch http://127.0.0.1:9/SC2.4.10.zip: " in error
