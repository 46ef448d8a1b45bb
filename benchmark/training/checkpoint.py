"""Crash-safe checkpoints of a run.

A run folder holds ``checkpoint.pt`` (weights, counters, random streams, evaluations so far), the
one before it as ``checkpoint.previous.pt``, and the replay buffer as segments
``replay/<first>-<last>.pt`` that are written once and never changed: a checkpoint writes only the
episodes that are new, and segments whose episodes have all been overwritten in the ring are
deleted. Every file is a zip with checksums, so damage is noticed; a damaged checkpoint falls back
to the previous one.
"""

import logging
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import torch

from benchmark.errors import BenchmarkError, first_line
from benchmark.files import atomic
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
            os.replace(self.current, self.previous)
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
                state = _read(path)
                segments = [tuple(segment) for segment in state["segments"]]
                episodes = [_as_packed(_read(self._file(*segment))) for segment in segments]
            except (FileNotFoundError, RuntimeError, KeyError, ValueError, EOFError) as error:
                reason = first_line(error)
                log.warning("%s is damaged (%s) and set aside", path, reason)
                os.replace(path, path.with_suffix(".damaged"))  # never over the good one
                continue
            except OSError as error:  # may pass, so nothing is given up for it
                raise BenchmarkError(
                    f"cannot read the checkpoint {path}: {error.strerror or error}; run the same"
                    " command again once the disk answers"
                ) from error
            replay.added = segments[0][0] if segments else 0
            for stored in episodes:
                replay.restore(stored)
            self._segments = self._previous_segments = segments
            return state
        return None

    def delete(self) -> None:
        """Removes everything that only an unfinished run needs."""
        damaged = self.current.parent.glob("checkpoint*.damaged")
        for path in (self.current, self.previous, *damaged, *self._replay.glob("*.pt")):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or a network's file system still keeps something in it
            self._replay.rmdir()

    def _file(self, first: int, last: int) -> Path:
        return self._replay / f"{first:08d}-{last:08d}.pt"

    def _delete_unused(self) -> None:
        used = {self._file(*segment) for segment in self._segments + self._previous_segments}
        for path in self._replay.glob("*.pt"):
            if path not in used:
                path.unlink(missing_ok=True)


def read_state(path: Path) -> dict:
    """Reads a checkpoint's state without its replay.

    Raises:
        BenchmarkError: the file is missing or damaged.
    """
    try:
        return _read(path)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        reason = first_line(error)
        raise BenchmarkError(f"cannot read the checkpoint {path}: {reason}") from error


def write(value: object, path: Path) -> None:
    """Saves tensors and plain values atomically; the bytes do not depend on the file's name."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            # Where the disk is full, torch's own clean-up may fail too and hide the reason.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _read(path: Path) -> dict:
    """Loads a file whose checksums hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    if damaged is not None:
        raise ValueError(f"checksum of {damaged} differs")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from error


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
