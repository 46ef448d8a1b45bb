"""Unpacking a zip archive that is locked with a password, at the speed of the disk.

StarCraft II's archive is locked with PKWARE's original cipher (APPNOTE.TXT, 6.1). Python's zipfile
knows it, but takes most of an hour for gigabytes; here it is compiled. Interrupted unpacking goes
on with the file at which it stopped.
"""

import binascii
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numba import njit

from benchmark.errors import BenchmarkError

_CHUNK = 1 << 20
_LOCKED, _SIZE_LATER = 0x1, 0x8  #: bits of a file's flags
_HEADER = struct.Struct("<4s5H3L2H")  #: of a file, before its name and its extra field
_LOCK_BYTES = 12  #: before a locked file's data


def _crc_table() -> np.ndarray:
    """CRC-32's table, with which the cipher mixes its keys."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1)
    return table


_CRC_TABLE = _crc_table()


def unpack(
    archive: Path, folder: Path, password: str, strip: str = ""
) -> Iterator[tuple[int, int]]:
    """Unpacks an archive into a folder. Files that are there already, whole, are left alone.

    Args:
        password: of the locked files.
        strip: a leading folder that the files lose, e.g. ``"StarCraftII/"``.

    Yields:
        bytes done and bytes in total, now and then.

    Raises:
        BenchmarkError: the password is wrong, or the archive is damaged or no archive.
    """
    try:
        with zipfile.ZipFile(archive) as zipped, open(archive, "rb") as stream:
            members = [member for member in zipped.infolist() if not member.is_dir()]
            total = sum(member.file_size for member in members)
            done = 0
            for member in members:
                target = folder / _inside(member.filename.removeprefix(strip), archive)
                if not _is_whole(target, member):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    for size in _unpack_file(stream, member, target, password):
                        yield done + size, total
                done += member.file_size
                yield done, total
    except (zipfile.BadZipFile, struct.error, zlib.error) as error:
        raise BenchmarkError(
            f"{archive} is damaged or no zip archive ({error}); delete it and fetch it again"
        ) from error


def _inside(name: str, archive: Path) -> PurePosixPath:
    """A member's path, which must lead nowhere but below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BenchmarkError(f"{archive} holds a file {name!r} outside of its folder; not unpacked")
    return path


def _is_whole(path: Path, member: zipfile.ZipInfo) -> bool:
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    crc = 0
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            crc = binascii.crc32(chunk, crc)
    return crc == member.CRC


def _unpack_file(stream, member: zipfile.ZipInfo, target: Path, password: str) -> Iterator[int]:
    """Unpacks one file beside its place and moves it there once its checksum is right."""
    partial = target.with_name(f"{target.name}.partial")
    crc = size = 0
    with open(partial, "wb") as output:
        for chunk in _inflated(member, _raw(stream, member, password)):
            crc = binascii.crc32(chunk, crc)
            size += len(chunk)
            output.write(chunk)
            yield size
    if crc != member.CRC or size != member.file_size:
        partial.unlink()
        raise BenchmarkError(f"{member.filename}: wrong checksum; the archive is damaged")
    if mode := member.external_attr >> 16 & 0o777:
        partial.chmod(mode | 0o600)
    os.replace(partial, target)


def _inflated(member: zipfile.ZipInfo, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if member.compress_type == zipfile.ZIP_STORED:
        yield from chunks
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        for chunk in chunks:
            yield inflate.decompress(chunk)
        yield inflate.flush()
    else:
        raise BenchmarkError(
            f"{member.filename}: compressed by a method that this program does not know"
        )


def _raw(stream, member: zipfile.ZipInfo, password: str) -> Iterator[bytes]:
    """A file's compressed bytes, unlocked."""
    stream.seek(member.header_offset)
    header = _HEADER.unpack(stream.read(_HEADER.size))
    stream.seek(header[-2] + header[-1], os.SEEK_CUR)  # the lengths of the name and the extra field
    left = member.compress_size
    keys = None
    if member.flag_bits & _LOCKED:
        keys = _keys_of(password.encode())
        lock = _unlock(np.frombuffer(stream.read(_LOCK_BYTES), np.uint8), keys)
        left -= _LOCK_BYTES
        # With this flag the checksum was not known yet when the file was locked.
        last = member._raw_time >> 8 if member.flag_bits & _SIZE_LATER else member.CRC >> 24
        if lock[-1] != last & 0xFF:
            raise BenchmarkError("these words do not open the archive")
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise zipfile.BadZipFile("it ends too early")
        left -= len(chunk)
        if keys is not None:
            chunk = _unlock(np.frombuffer(chunk, np.uint8), keys).tobytes()
        yield chunk


def _keys_of(password: bytes) -> np.ndarray:
    keys = np.array([0x12345678, 0x23456789, 0x34567890], np.uint32)
    for byte in password:
        _turn(keys, np.uint8(byte), _CRC_TABLE)
    return keys


def _unlock(data: np.ndarray, keys: np.ndarray) -> np.ndarray:
    output = np.empty_like(data)
    _unlock_bytes(data, keys, _CRC_TABLE, output)
    return output


@njit
def _turn(keys, byte, table):
    """Turns the keys by one byte of plain text."""
    mask = np.uint32(0xFF)
    keys[0] = table[(keys[0] ^ byte) & mask] ^ (keys[0] >> np.uint32(8))
    keys[1] = np.uint32((np.uint64(keys[1]) + np.uint64(keys[0] & mask)) * np.uint64(134775813) + 1)
    keys[2] = table[(keys[2] ^ (keys[1] >> np.uint32(24))) & mask] ^ (keys[2] >> np.uint32(8))


@njit
def _unlock_bytes(data, keys, table, output):
    for i in range(data.shape[0]):
        word = np.uint32((keys[2] | np.uint32(2)) & np.uint32(0xFFFF))
        byte = data[i] ^ np.uint8((word * (word ^ np.uint32(1)) >> np.uint32(8)) & np.uint32(0xFF))
        output[i] = byte
        _turn(keys, byte, table)
