"""Files that are written whole or not at all, and JSON."""

import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import BenchmarkError

#: The repository.
ROOT = Path(__file__).resolve().parent.parent

_TEMPORARY = ".tmp"  #: ends the names of files that are being written


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Deletes what ``atomic`` left of files in a folder when its process was killed.

    Args:
        folder: that holds the files.
        names: of the files, relative to it; patterns such as ``replay/*.pt`` too.
    """
    for path in (Path(folder, name) for name in names):
        for left in path.parent.glob(f".{path.name}.????????{_TEMPORARY}"):  # mkstemp's 8 letters
            left.unlink(missing_ok=True)


@contextmanager
def atomic(path: Path):
    """Yields a temporary path in the same folder; renames it over ``path`` when the block succeeds.

    The bytes are on disk before the rename, so a crash leaves the old file or the new one whole.

    Raises:
        BenchmarkError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_TEMPORARY, f".{path.name}.", path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise BenchmarkError(
            f"cannot write {path}: {error.strerror or error}; free the disk or choose another"
            " folder, then run the same command again"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(value: object, path: Path) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """Reads a JSON file, a table with at least these keys.

    Raises:
        BenchmarkError: the file is missing or damaged, or lacks a key.
    """
    try:
        table = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise BenchmarkError(f"there is no {path}; run the step that makes it") from error
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"cannot read {path}: {error}; delete it and make it anew") from error
    missing = [key for key in keys if not isinstance(table, dict) or key not in table]
    if missing:
        raise BenchmarkError(
            f"{path} lacks {missing[0]!r}: it is not of this version of the program; delete it and"
            " make it anew"
        )
    return table
