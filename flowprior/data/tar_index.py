"""Where the records of a ``.tar`` shard lie: its headers are read once, its contents stay where they are.

A record is what webdataset takes for one: members that follow each other and share their name up to the
first dot of its last part, the key; what follows the dot is the suffix, in lower case. Nothing is unpacked,
so names that are absolute or lead upwards are only keys, and links, devices and sparse members are passed
over.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flowprior.errors import InputError
from flowprior.storage.writing import one_line

MOST_HEADER_BYTES = 1 << 20
"""Bytes of one extended header; a damaged one may declare any number of them."""
_KEY = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)
_ABOUT = re.compile(r"__[^/]*__(?:$|/)")
"""Names that webdataset keeps for what is no record."""


@dataclass
class Members:
    """One record: the places of its members.

    Attributes:
        key: name of the record in its shard.
        places: offset and size in bytes of each member, by its suffix.
        repeated: a suffix that came twice; None where all differ.
    """

    key: str
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    repeated: str | None = None

    def add(self, suffix: str, offset: int, size: int) -> None:
        """Note a member."""
        if suffix in self.places:
            self.repeated = suffix
        self.places[suffix] = (offset, size)


class ShardCut(Exception):
    """A shard that ends, or is damaged, after its last whole member."""


def shard_records(shard: Path) -> Iterator[Members]:
    """The records of a shard, in its order.

    Raises:
        ShardCut: after the last record that is whole, where the shard is cut off or damaged there.
        InputError: no uncompressed ``.tar``, or one that cannot be opened.
    """
    record, cut = None, None
    members = _members(shard)
    while cut is None:
        try:
            name, offset, size = next(members)
        except StopIteration:
            break
        except ShardCut as error:
            cut = error
            continue
        match = None if _ABOUT.match(name) else _KEY.fullmatch(name)
        if match is None:
            continue
        if record is None or match[1] != record.key:
            if record is not None:
                yield record
            record = Members(match[1])
        record.add(match[2].lower(), offset, size)
    if record is not None:
        yield record
    if cut is not None:
        raise cut


def _members(shard: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of every regular member that lies in the file as a whole."""
    try:
        with _Headers(shard) as file, tarfile.TarFile(shard.name, "r", file) as archive:
            length = shard.stat().st_size
            while (member := _next(archive)) is not None:
                if member.offset_data + member.size > length:
                    raise ShardCut(f"member {member.name} is cut off")
                if member.isreg() and not member.issparse():
                    yield member.name, member.offset_data, member.size
            _check_end(file, archive)
    except OSError as error:
        raise InputError(f"{shard}: cannot be read ({one_line(error)}); check the file") from error
    except tarfile.TarError as error:
        raise InputError(
            f"{shard}: expected an uncompressed .tar ({one_line(error)}); unpack or download it again"
        ) from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next member; None at the end, or at what tarfile takes for one."""
    try:
        member = archive.next()
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise ShardCut(one_line(error)) from error
    vars(archive)["members"] = []  # which would otherwise hold every header of the shard
    if member is not None and (member.size < 0 or archive.offset < member.offset_data):
        raise ShardCut(f"member {member.name} has an impossible size")
    return member


def _check_end(file: io.FileIO, archive: tarfile.TarFile) -> None:
    """Refuse an end that no archive has: tarfile takes a damaged header in the middle for one."""
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise ShardCut("it ends without the mark of an archive's end")
    if any(block):
        raise ShardCut(f"the header at byte {archive.offset:,} is damaged")


class _Headers(io.FileIO):
    """A file of which headers are read; a single read of more is refused before memory is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size) or b""
