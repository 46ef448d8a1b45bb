"""Files that are written whole or not at all; JSON and Parquet whose damage is noticed."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

#: The repository.
ROOT = Path(__file__).resolve().parent.parent

_TEMPORARY = ".tmp"  #: ends the names of files that are being written
_CHECKSUM = "checksum"  #: the key of a sealed JSON file: SHA-256 of all its other keys


def cache_folder() -> Path:
    """The user's folder for what can be made again at any time."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder, "r3dm-benchmark")


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Deletes what ``atomic`` left of files in a folder when its process was killed.

    Args:
        folder: that holds the files.
        names: of the files, relative to it; patterns such as ``replay/[0-9]*.pt`` too.
    """
    for path in (Path(folder, name) for name in names):
        for left in path.parent.glob(f".{path.name}.????????{_TEMPORARY}"):
            with suppress(OSError):  # it takes space and does no other harm
                left.unlink()


@contextmanager
def atomic(path: Path):
    """Yields a temporary path in the same folder; renames it over ``path`` when the block succeeds.

    The bytes are on disk before the rename, so a crash leaves the old file or the new one whole.
    Files and folders get the rights that the umask leaves.

    Raises:
        BenchmarkError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise BenchmarkError(
                f"cannot write {path}: {reason(error)}; free the disk or choose another folder,"
                " then run the same command again"
            ) from error
        raise


def write(data: bytes | memoryview | str, path: Path) -> None:
    """Writes a file, text as UTF-8, atomically.

    Raises:
        BenchmarkError: as ``atomic``.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def read(path: Path) -> bytes:
    """Reads a file.

    Raises:
        FileNotFoundError: there is none.
        BenchmarkError: it is there, but the disk or the network does not give it.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no path, it holds a NUL
        raise BenchmarkError(
            f"cannot read {path}: {reason(error)}; run the same command again once it can be read"
        ) from error


@contextmanager
def disk_errors(folder: Path):
    """Makes one line of any error of the disk in the block; ``folder`` is where it works."""
    try:
        yield
    except OSError as error:
        raise BenchmarkError(
            f"{error.filename or folder}: {reason(error)}; run the same command again once that is"
            " fixed"
        ) from error


def reason(error: Exception) -> str:
    """Why the system refused something, in a few words."""
    return getattr(error, "strerror", None) or first_line(error)


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


# JSON ---------------------------------------------------------------------------------------------


def write_json(value: object, path: Path) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    write(json.dumps(value, indent=2) + "\n", path)


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """Reads a JSON file, a table with at least these keys.

    Raises:
        BenchmarkError: the file is missing or damaged, or lacks a key.
    """
    try:
        table = json.loads(read(path))
    except FileNotFoundError as error:
        raise BenchmarkError(f"there is no {path}; run the step that makes it") from error
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(
            f"{path} is damaged ({first_line(error)}); delete it and make it again"
        ) from error
    missing = [key for key in keys if not isinstance(table, dict) or key not in table]
    if missing:
        raise BenchmarkError(
            f"{path} lacks {missing[0]!r}: it is not of this version of the program; delete it and"
            " make it again"
        )
    return table


def write_sealed(table: dict, path: Path) -> None:
    """Writes a table as JSON together with its checksum, atomically."""
    write_json(table | {_CHECKSUM: _checksum(table)}, path)


def read_sealed(path: Path, keys: Iterable[str] = ()) -> dict:
    """Reads what ``write_sealed`` wrote, without the checksum.

    Raises:
        BenchmarkError: as ``read_json``; or a value has changed since.
    """
    table = read_json(path, [*keys, _CHECKSUM])
    if table.pop(_CHECKSUM) != _checksum(table):
        raise BenchmarkError(
            f"{path} is damaged or was edited (its values do not fit its checksum); delete it and"
            " make it again"
        )
    return table


def _checksum(table: dict) -> str:
    plain = json.loads(json.dumps(table))
    return sha256(json.dumps(plain, sort_keys=True).encode())


# Parquet ------------------------------------------------------------------------------------------


def as_parquet(parts: Iterable["pa.Table"], schema: "pa.Schema") -> bytes:
    """Tables of one schema as one Parquet file with a checksum of every page."""
    import io

    import pyarrow.parquet as pq

    data = io.BytesIO()
    with pq.ParquetWriter(data, schema, compression="zstd", write_page_checksum=True) as writer:
        for part in parts:
            writer.write_table(part.replace_schema_metadata(None))
    return data.getvalue()


def parse_parquet(data: bytes) -> "pa.Table":
    """The inverse of ``as_parquet``.

    Raises:
        ValueError: the bytes are no Parquet file, or a damaged one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(
            pa.BufferReader(data), partitioning=None, page_checksum_verification=True
        )
        table.validate(full=True)
    except Exception as error:  # of many types, depending on which byte is damaged
        raise ValueError(first_line(error)) from error
    return table
