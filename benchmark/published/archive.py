"""The files of a release: a folder, a clone (with or without its work tree) or a zip."""

import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from benchmark.errors import BenchmarkError


class Entry(NamedTuple):
    """One file of a release."""

    path: str  #: inside the release, with forward slashes
    size: int  #: bytes
    read: Callable[[], bytes]


def entries(release: Path) -> Iterator[Entry]:
    """Lists the files of a release, sorted by path; hidden folders are passed over.

    Raises:
        BenchmarkError: there is no folder, clone or zip of that name, or it cannot be read.
    """
    release = Path(release)
    if release.is_dir():
        found = _of_git(release) if _is_bare(release) else _of_folder(release)
    elif release.is_file() and zipfile.is_zipfile(release):
        found = _of_zip(release)
    else:
        kind = "is neither a folder nor a zip" if release.exists() else "does not exist"
        raise BenchmarkError(
            f"{release} {kind}; give the folder, clone or zip that holds the released files"
        )
    yield from sorted(
        entry
        for entry in found
        if not any(part.startswith(".") for part in PurePosixPath(entry.path).parts)
    )


def commit(release: Path) -> str | None:
    """The commit of a clone; None for anything else."""
    release = Path(release)
    if not (release / ".git").exists() and not _is_bare(release):
        return None
    return _git(release, "rev-parse", "HEAD").decode().strip()


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir()


def _of_folder(folder: Path) -> Iterator[Entry]:
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield Entry(name, path.stat().st_size, path.read_bytes)


def _of_zip(file: Path) -> Iterator[Entry]:
    archive = zipfile.ZipFile(file)
    for info in archive.infolist():
        if not info.is_dir():
            yield Entry(info.filename, info.file_size, lambda info=info: archive.read(info))


def _of_git(folder: Path) -> Iterator[Entry]:
    listed = _git(folder, "ls-tree", "-r", "-l", "-z", "HEAD").decode(errors="replace")
    for line in filter(None, listed.split("\0")):
        about, path = line.split("\t", 1)
        _, kind, blob, size = about.split()
        if kind == "blob":
            yield Entry(path, int(size), lambda blob=blob: _git(folder, "cat-file", "blob", blob))


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        lines = (getattr(error, "stderr", b"") or b"").decode(errors="replace").splitlines()
        reason = lines[0] if lines else str(error)
        raise BenchmarkError(f"cannot read the clone {folder}: {reason}") from error
