"""Crash-safe checkpoints of a run.

A run folder holds ``checkpoint.pt`` (weights, counters, random streams, evaluations so far), the
one before it as ``checkpoint.previous.pt``, and the replay buffer as segments
``replay/<first>-<last>.pt`` that are written once and never changed: a checkpoint writes only the
episodes that are new, and segments whose episodes have all been overwritten in the ring are
deleted. Every file is a zip with checksums, so damage is noticed; a damaged checkpoint falls back
to the previous one. Bytes are read first, then checked and parsed in memory, so that an error of
the disk, which may pass, is never taken for damage, nor damage for an error of the disk.
"""

import io
import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from benchmark import files
from benchmark.errors import BenchmarkError, first_line
from benchmark.training.replay import Packed, ReplayBuffer

log = logging.getLogger("benchmark")


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.current = folder / "checkpoint.pt"
        self.previous = folder / "checkpoint.previous.pt"
        self._replay = folder / "replay"
        self._segments: list[tuple[int, int]] = []  # [first, last) of the newest checkpoint
        self._previous_segments: list[tuple[int, int]] = []

    def save(self, state: dict, replay: ReplayBuffer) -> None:
        """Writes a checkpoint; after a crash at any moment one whole checkpoint remains.

        Args:
            state: tensors, plain values, and lists and dicts of them.
            replay: its new episodes are written as one more segment.

        Raises:
            BenchmarkError: the folder cannot be written or the disk is full.
        """
        oldest = replay.added - len(replay)
        segments = [segment for segment in self._segments if segment[1] > oldest]
        start = segments[-1][1] if segments else oldest
        if start < replay.added:
            stored = replay.packed(start, replay.added)
            write(_as_tensors(stored), self._file(start, replay.added))
            segments.append((start, replay.added))
        state = state | {"segments": [list(segment) for segment in segments], "added": replay.added}
        if self.current.exists():
            _rename(self.current, self.previous)
        write(state, self.current)
        self._previous_segments, self._segments = self._segments, segments
        self._delete_unused()

    def load(self, replay: ReplayBuffer) -> dict | None:
        """Restores the newest whole checkpoint into ``replay`` and returns its state.

        Returns:
            None when there is none; damaged ones are named in a warning.

        Raises:
            BenchmarkError: a file is there, but the disk or the network fails to give it.
        """
        for path in (self.current, self.previous):
            if not path.exists():
                continue
            try:
                state, segments, episodes = self._load(path)
            except (FileNotFoundError, ValueError) as error:
                log.warning("%s is damaged (%s) and set aside", path, first_line(error))
                _rename(path, path.with_suffix(".damaged"))  # never over the good one
                continue
            replay.added = segments[0][0] if segments else 0
            replay.restore(episodes)
            self._segments = self._previous_segments = segments
            return state
        return None

    def delete(self) -> None:
        """Removes everything that only an unfinished run needs."""
        own = (self.current, self.previous)
        damaged = (path.with_suffix(".damaged") for path in own)
        for path in (*own, *damaged, *self._stored()):
            _remove(path)
        with suppress(OSError):  # not there, or a network's file system still keeps something in it
            self._replay.rmdir()

    def _load(self, path: Path) -> tuple[dict, list[tuple[int, int]], list[Packed]]:
        """A checkpoint's state, the segments of its replay, and the episodes in them.

        Raises:
            FileNotFoundError, ValueError: a file is missing or damaged.
            BenchmarkError: a file is there, but the disk or the network fails to give it.
        """
        state = _parse(files.read(path))
        try:
            segments = [(int(first), int(last)) for first, last in state["segments"]]
            stored = [files.read(self._file(*segment)) for segment in segments]
            return state, segments, [one for data in stored for one in _as_packed(_parse(data))]
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {first_line(error)}") from error

    def _file(self, first: int, last: int) -> Path:
        return self._replay / f"{first:08d}-{last:08d}.pt"

    def _stored(self) -> Iterator[Path]:
        """The files of all segments."""
        return self._replay.glob("[0-9]*-[0-9]*.pt")

    def _delete_unused(self) -> None:
        used = {self._file(*segment) for segment in self._segments + self._previous_segments}
        for path in self._stored():
            if path not in used:
                _remove(path)


def _rename(path: Path, new: Path) -> None:
    try:
        os.replace(path, new)
    except OSError as error:
        raise BenchmarkError(
            f"cannot rename {path} to {new.name}: {files.reason(error)}; run the same command again"
            " once that is possible"
        ) from error


def _remove(path: Path) -> None:
    """Deletes a file that is not needed any more; what cannot be deleted only takes space."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot delete %s: %s", path, files.reason(error))


def read_state(path: Path) -> dict:
    """Reads a checkpoint's state without its replay.

    Raises:
        BenchmarkError: the file is missing or damaged.
    """
    try:
        return _parse(files.read(path))
    except FileNotFoundError as error:
        raise BenchmarkError(f"cannot read {path}: there is no such file") from error
    except ValueError as error:
        raise BenchmarkError(f"{path} is damaged, or no file of a run: {error}") from error


def write(value: object, path: Path) -> None:
    """Saves tensors and plain values atomically; the bytes do not depend on the file's name."""
    data = io.BytesIO()
    torch.save(value, data)
    files.write(data.getbuffer(), path)


def _parse(data: bytes) -> dict:
    """The value that ``write`` saved, if the checksums hold.

    Raises:
        ValueError: it is damaged, or holds something else than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            # Nothing is compressed, so what the file holds is never larger than the file.
            if sum(member.file_size for member in members) > len(data):
                raise ValueError("it is not of its own size")
            damaged = archive.testzip()
    except Exception as error:  # of many types, depending on which byte is damaged
        raise ValueError(first_line(error)) from error
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} differs")
    try:
        return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # its text may advise to switch the safety off
        raise ValueError("it holds something else than tensors and plain values") from error


def _as_tensors(stored: list[Packed]) -> dict[str, torch.Tensor]:
    """Packed episodes as tensors: their bytes in one, and how many each has."""
    data, length, terminated, kept = zip(*stored, strict=True)
    return {
        "data": torch.frombuffer(bytearray().join(data), dtype=torch.uint8),
        "bytes": torch.tensor([len(part) for part in data]),
        "length": torch.tensor(length),
        "terminated": torch.tensor(terminated),
        "kept": torch.tensor(kept),
    }


def _as_packed(tensors: dict[str, torch.Tensor]) -> list[Packed]:
    """The inverse of ``_as_tensors``."""
    parts = tensors["data"].split(tensors["bytes"].tolist())
    data = (part.numpy().tobytes() for part in parts)
    plain = (tensors[name].tolist() for name in ("length", "terminated", "kept"))
    return list(map(Packed, data, *plain))
