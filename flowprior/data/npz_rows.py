"""Rows of a large array in a ``.npz`` file, of which only those that are asked for are in memory."""

from __future__ import annotations

import math
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flowprior.data.npy_header import npy_header
from flowprior.errors import FlowpriorError, InputError
from flowprior.storage.cache import cache_folder
from flowprior.storage.digests import settings_digest
from flowprior.storage.writing import one_line, replacing

_LOCAL_HEADER = struct.Struct("<26xHH")
"""What a zip archive writes before a member's name: at its end the lengths of name and extra field."""
_BLOCK = 16 << 20
"""Bytes that are unpacked at once."""


def npz_shape(file: Path, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array ``name`` of a ``.npz`` file, by its header alone.

    Raises:
        InputError: no ``.npz``, no array of that name, or one of objects.
    """
    with (
        _reading(file),
        zipfile.ZipFile(file) as archive,
        archive.open(_member(archive, name, file)) as stream,
    ):
        shape, _, dtype = npy_header(stream, file)
    return shape, dtype


def npz_rows(file: Path, name: str) -> np.ndarray:
    """The array ``name`` of a ``.npz`` file as a read-only memory map; nothing is unpickled.

    A member that is stored as it is (``numpy.savez``) is mapped where it lies. A packed one
    (``numpy.savez_compressed``) is unpacked once, block by block, into a file of the library's cache
    (``$FLOWPRIOR_CACHE``), named by a digest of path, size and time of the ``.npz``, and mapped from there.

    Raises:
        InputError: as :func:`npz_shape`; or a truncated file, or no room in the cache.
        CheckpointError: the cache cannot be written.
    """
    with _reading(file), zipfile.ZipFile(file) as archive:
        member = _member(archive, name, file)
        if member.compress_type == zipfile.ZIP_STORED:
            return _mapped(file, _data_offset(file, member), member.file_size)
        unpacked = _unpacked(archive, member, file)
        return _mapped(unpacked, 0, member.file_size)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what the readers of damaged files raise into one line."""
    try:
        yield
    except FlowpriorError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        reason = one_line(error)
        raise InputError(f"{file}: cannot be read as .npz ({reason}); download it again") from error


def _member(archive: zipfile.ZipFile, name: str, file: Path) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(f"{name}.npy")
    except KeyError:
        known = ", ".join(member.removesuffix(".npy") for member in archive.namelist()) or "nothing"
        raise InputError(
            f"{file}: expected an array '{name}', got {known}; download the file again"
        ) from None


def _data_offset(file: Path, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin."""
    with file.open("rb") as stream:
        stream.seek(member.header_offset)
        lengths = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    return member.header_offset + _LOCAL_HEADER.size + sum(lengths)


def _mapped(file: Path, offset: int, size: int) -> np.ndarray:
    """The array whose ``.npy`` of ``size`` bytes begins at ``offset`` of a file."""
    with file.open("rb") as stream:
        stream.seek(offset)
        shape, fortran, dtype = npy_header(stream, file)
        start = stream.tell()
    expected = start - offset + math.prod(shape) * dtype.itemsize
    if expected != size:
        raise ValueError(f"expected {expected:,} bytes for an array of shape {list(shape)}, got {size:,}")
    order = "F" if fortran else "C"
    return np.memmap(file, dtype, "r", start, shape, order) if math.prod(shape) else np.empty(shape, dtype)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> Path:
    """The member as a file of the cache, written in one move where it is not there yet."""
    status = file.stat()
    key = {"path": str(file.resolve()), "size": status.st_size, "time": status.st_mtime_ns, "crc": member.CRC}
    folder = cache_folder()
    target = folder / f"unpacked-{settings_digest(key)[:24]}.npy"
    if target.is_file() and target.stat().st_size == member.file_size:
        return target
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if member.file_size > free:
        raise InputError(
            f"{file}: is packed, and {member.file_size:,} bytes of it do not fit in {folder}, which has "
            f"{free:,} left; set FLOWPRIOR_CACHE to a folder with more, or write it anew with numpy.savez"
        )
    with replacing(target) as temporary, archive.open(member) as packed, temporary.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, _BLOCK)
    return target
