"""``python -m benchmark install-starcraft2``: the game and its maps into a folder.

Blizzard's archive is locked with a sentence by which whoever types it accepts a licence. This
program contains that sentence nowhere and never types it for anybody: it shows where the licence
is, asks, and uses what was typed as the archive's password. Everything is resumable: run the same
command again.
"""

import argparse
import hashlib
import logging
import os
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.envs.starcraft2.installation import (
    MAP_FILES,
    executable,
    game_folder,
    map_file_name,
    sha256,
)
from benchmark.envs.starcraft2.locked_zip import unpack
from benchmark.envs.starcraft2.standin.install import MAP_FOLDER, is_standin
from benchmark.errors import BenchmarkError
from benchmark.files import atomic

log = logging.getLogger("benchmark")

VERSION = "4.10"
GAME_URL = "https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip"
LICENCE_URL = "https://blzdistsc2-a.akamaihd.net/AI_AND_MACHINE_LEARNING_LICENSE.html"
MAPS_URL = "https://github.com/oxwhirl/smacv2/releases/download/maps/SMAC_Maps.zip"
#: Blizzard publishes no checksum. This one stands in a public script (Harimus/SpinningUpPySc2) and
#: was not confirmed; a different archive is reported, not refused. Its files have checksums of
#: their own, which are.
REPORTED_SHA256 = "1052f249f30a242bf5e17cc3315324919f9689307ca6dbcdb30bb41ea3004884"
ACCEPTANCE = "STARCRAFT2_LICENCE"  #: environment variable that may hold the sentence

_CHUNK = 1 << 20
_TIMEOUT = 60  #: seconds without a byte
_LOCKED_FOLDER = "StarCraftII/"  #: in which everything lies in the archive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where to (default: $SC2PATH, else ~/StarCraftII)"
    )
    parser.add_argument(
        "--zip", type=Path, help="the game's archive, if you have it; not downloaded then"
    )
    parser.add_argument("--maps", type=Path, help="SMAC_Maps.zip or a folder of maps, likewise")
    parser.add_argument("--maps-only", action="store_true", help="leave the game as it is")
    parser.add_argument(
        "--accept-licence",
        metavar="SENTENCE",
        help="the sentence that accepts the AI and Machine Learning License, as its page gives it;"
        f" asked for when left out (or taken from ${ACCEPTANCE})",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    folder = (arguments.folder or game_folder()).expanduser()
    program = executable(folder, VERSION)
    if program.exists() and is_standin(program):
        raise BenchmarkError(f"{folder} holds the stand-in; choose another folder or delete it")
    if not arguments.maps_only:
        install_game(folder, arguments.zip, arguments.accept_licence)
    install_maps(folder, arguments.maps)
    print(f"export SC2PATH={folder.resolve()}")
    print("python -m benchmark doctor  # checks everything")


def install_game(folder: Path, archive: Path | None, sentence: str | None) -> None:
    """Fetches and unpacks the game, with its user's consent.

    Raises:
        BenchmarkError: no consent, no network, no space, or a damaged archive.
    """
    sentence = sentence or os.environ.get(ACCEPTANCE) or _ask_for_consent()
    downloaded = archive is None
    if archive is None:
        archive = folder.with_name(f"{folder.name}.{GAME_URL.rsplit('/', 1)[-1]}")
        download(GAME_URL, archive)
    if not archive.is_file():
        raise BenchmarkError(f"there is no archive {archive}")
    with _Show("checking"):
        found = sha256(archive)
    log.info("SHA-256 %s%s", found, "" if found == REPORTED_SHA256 else
             f", not the one that was reported elsewhere ({REPORTED_SHA256})")  # fmt: skip
    _check_space(archive, folder)
    with _Show("unpacking") as show:
        for done, total in unpack(archive, folder, sentence, _LOCKED_FOLDER):
            show(done, total)
    program = executable(folder, VERSION)
    if not program.is_file():
        raise BenchmarkError(
            f"{archive} does not hold StarCraft II {VERSION}: it has no {program.name} in"
            f" {program.parent.name}"
        )
    program.chmod(program.stat().st_mode | 0o111)
    if downloaded:
        archive.unlink()


def install_maps(folder: Path, source: Path | None) -> None:
    """Puts the maps of this benchmark into the game's folder.

    Args:
        source: SMAC_Maps.zip or a folder; downloaded when left out.

    Raises:
        BenchmarkError: a map is missing in the source, or is not the known one.
    """
    target = folder / MAP_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    missing = [
        name
        for name, digest in MAP_FILES.items()
        if not (file := target / map_file_name(name)).is_file() or sha256(file) != digest
    ]
    if not missing:
        return
    fetched = source is None
    if source is None:
        source = folder / "SMAC_Maps.zip"
        download(MAPS_URL, source)
    for name in missing:
        content = _read_map(source, map_file_name(name))
        if hashlib.sha256(content).hexdigest() != MAP_FILES[name]:
            raise BenchmarkError(
                f"{source}: {map_file_name(name)} is not the map that this benchmark knows; take"
                f" {MAPS_URL}"
            )
        with atomic(target / map_file_name(name)) as temporary:
            temporary.write_bytes(content)
    if fetched:
        source.unlink()
    log.info("%d maps in %s", len(missing), target)


def download(url: str, target: Path) -> None:
    """Fetches a file; goes on where an interrupted download stopped.

    Raises:
        BenchmarkError: the server cannot be reached, refuses, or the disk is full.
    """
    if target.exists():
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Show("downloading") as show, open(partial, "ab") as output:
            for chunk, done, total in _remaining(url, output.tell()):
                if done == len(chunk):  # from the beginning, whatever was there
                    output.truncate(0)
                output.write(chunk)
                show(done, total)
        os.replace(partial, target)
    except (OSError, urllib.error.URLError) as error:
        raise BenchmarkError(
            f"cannot fetch {url}: {getattr(error, 'reason', error)}; run the same command again to"
            " go on, or fetch it yourself and name it by --zip or --maps"
        ) from error


def _remaining(url: str, have: int) -> Iterator[tuple[bytes, int, int]]:
    """What is left of a file: chunks, bytes up to their end, and bytes in total."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it is there
        raise
    with response:
        done = have if response.status == 206 else 0
        total = done + int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            yield chunk, done, total
        if done < total:
            raise OSError(f"the connection ended after {done} of {total} bytes")


def _ask_for_consent() -> str:
    """Shows the licence and lets the user type the sentence that accepts it."""
    console = Console(stderr=True)
    console.print(_licence(), highlight=False, markup=False)
    console.print(
        "StarCraft II is Blizzard's. Using it here needs your agreement to their\n"
        f"  AI and Machine Learning License: {LICENCE_URL}\n"
        "Its archive opens with the sentence that the download page\n"
        "  https://github.com/Blizzard/s2client-proto#downloads\n"
        "gives for this purpose: by typing it you accept the licence.",
        highlight=False,
    )
    if not sys.stdin.isatty():
        raise BenchmarkError(
            "the licence needs your acceptance: give the sentence by --accept-licence, or in the"
            f" environment variable {ACCEPTANCE}"
        )
    sentence = input("The sentence, if you accept (nothing otherwise): ").strip()
    if not sentence:
        raise BenchmarkError("the licence was not accepted; nothing was installed")
    return sentence


def _licence() -> str:
    """The licence's text as far as it can be had."""
    try:
        with urllib.request.urlopen(LICENCE_URL, timeout=_TIMEOUT) as response:
            page = response.read().decode(errors="replace")
    except (OSError, urllib.error.URLError) as error:
        return f"(The licence could not be fetched: {getattr(error, 'reason', error)}.)"
    text = _Text()
    text.feed(page)
    return "".join(text.parts)


class _Text(HTMLParser):
    """Collects a page's text, a line per block."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag, attrs):
        self._hidden = tag in ("script", "style")
        if tag in ("p", "li", "br", "div", "h1", "h2", "h3"):
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden and data.strip():
            self.parts.append(" ".join(data.split()) + " ")


def _check_space(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as zipped:
            needed = sum(member.file_size for member in zipped.infolist())
    except zipfile.BadZipFile as error:
        raise BenchmarkError(f"{archive} is no zip archive ({error}); fetch it again") from error
    folder.mkdir(parents=True, exist_ok=True)
    present = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if needed - present > free:
        raise BenchmarkError(
            f"{folder}: the game takes {needed / 2**30:.1f} GB, only {free / 2**30:.1f} GB are"
            " free; choose another folder"
        )


def _read_map(source: Path, name: str) -> bytes:
    """A map out of a folder or a zip archive, wherever in it."""
    try:
        if source.is_dir():
            return next(source.rglob(name)).read_bytes()
        with zipfile.ZipFile(source) as zipped:
            return zipped.read(next(n for n in zipped.namelist() if Path(n).name == name))
    except StopIteration:
        raise BenchmarkError(f"{source} holds no {name}; take {MAPS_URL}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise BenchmarkError(f"cannot read {source}: {error}") from error


class _Show:
    """A progress bar on a terminal, nothing elsewhere; call it with what is done and the total."""

    def __init__(self, text: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(text, total=None)

    def __enter__(self) -> "_Show":
        self._bar.start()
        return self

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_) -> None:
        self._bar.stop()
