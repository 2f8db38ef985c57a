"""Latents in a folder: one memory-mapped array, and the manifest that says what it was made from.

``latents.npy`` is read by ``numpy.load`` as well. While it is made it has a temporary name, and beside it
lies the sha256 of every finished block, from which the next process goes on. ``encoded.json`` is renamed into
place last: until then the folder holds no latents.
"""

from __future__ import annotations

import hashlib
import io
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flowprior.errors import CheckpointError, InputError
from flowprior.storage import (
    Binding,
    FolderLock,
    bind,
    is_leftover,
    leftover_of,
    read_json,
    remove_files,
    remove_leftovers,
    signed,
    unsigned,
    write_json,
)
from flowprior.storage.digests import file_sha256, settings_digest
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.writing import explaining, sync

MANIFEST, ARRAY, BLOCKS = "encoded.json", "latents.npy", "blocks"
FORMAT = 1
PATIENCE = 600.0
"""Seconds that a process waits for another one that encodes into the same folder."""
TOLD_EVERY = 60.0
"""Seconds between two lines about how far it is."""
Rows = Callable[[int, int], np.ndarray]
"""Encodes the events from one number up to another: float32 ``[stop - start, c, h, w]``."""
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """What latents are made from.

    Attributes:
        name: of the data, for messages.
        data: fingerprint of the events.
        encoder: identity of the encoder.
        shape: [N, c, h, w] of all latents.
        block: events that are encoded at once.
    """

    name: str
    data: str
    encoder: str
    shape: tuple[int, ...]
    block: int

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the latents, as plain values."""
        return {
            "format": FORMAT,
            "data": self.data,
            "encoder": self.encoder,
            "shape": list(self.shape),
            "block": self.block,
        }

    @property
    def size(self) -> int:
        """Bytes of all latents."""
        return 4 * math.prod(self.shape)

    def bounds(self) -> Iterator[tuple[int, int]]:
        """First event of every block, and the one after its last."""
        for start in range(0, self.shape[0], self.block):
            yield start, min(start + self.block, self.shape[0])

    def describe(self) -> str:
        """Number, shape and size, as in ``7,000 latents [4, 8, 8] of emoji, 7.2 MB``."""
        count, *shape = self.shape
        return f"{count:,} latents {shape} of {self.name}, {self.size / 1e6:,.1f} MB"


def cached_latents(folder: Path, source: Source, encode: Rows, notify: Notify | None = None) -> np.ndarray:
    """The latents of ``source``, memory-mapped from ``folder``; encoded into it where they are not there yet.

    Args:
        folder: absent, empty, or what this wrote for the same source, finished or not.
        source: what they are made from.
        encode: gives them.
        notify: is told in one line what is made, how large it is and where, before it starts.

    Raises:
        CheckpointError: the folder holds latents of other data or weights, damaged ones or other files; there
            is too little room, or it cannot be written.
        OptionError: another process is encoding there.
    """
    if not (folder / MANIFEST).is_file():
        _check_target(folder)
        with FolderLock(folder, PATIENCE, quiet=True):
            if not (folder / MANIFEST).is_file():
                _Making(folder, source).run(encode, notify)
    return _open(folder, source)


def remove_latents(folder: Path) -> None:
    """Remove the latents in ``folder``, finished or not, and the folder where nothing else is in it.

    Raises:
        OptionError: another process is encoding there.
        CheckpointError: it is a link to another place, whose files are not removed.
    """
    if folder.is_symlink():
        raise CheckpointError(
            f"{folder} is a link to another place, whose files are not removed; remove the link, or choose "
            "another directory"
        )
    if folder.is_dir():
        with FolderLock(folder, quiet=True):
            remove_files([folder / MANIFEST, folder / ARRAY])
            remove_leftovers(folder, MANIFEST, ARRAY, BLOCKS)
        with suppress(OSError):
            folder.rmdir()


def _open(folder: Path, source: Source) -> np.ndarray:
    """The finished latents in ``folder``, where they are those of ``source``.

    Raises:
        CheckpointError: they are others, or damaged.
    """
    path = folder / MANIFEST
    try:
        values = unsigned(read_json(path), path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is damaged or was changed after it was written; {_anew(folder)}"
        ) from error
    _compare(folder, values, source)
    try:
        binding = Binding.of(values["file"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is incomplete or damaged: {error!r}; {_anew(folder)}") from error
    array = folder / binding.name
    if not array.is_file() or array.stat().st_size != binding.size or file_sha256(array) != binding.sha256:
        raise CheckpointError(
            f"{array} is missing, truncated or was changed after it was written; {_anew(folder)}"
        )
    return np.load(array, mmap_mode="r", allow_pickle=False)


def _compare(folder: Path, values: dict[str, Any], source: Source) -> None:
    """Refuse latents of something else, and say of what."""
    for key, what in (("data", "data"), ("encoder", "weights"), ("shape", "shape"), ("format", "format")):
        found, expected = values.get(key), source.settings[key]
        if found != expected:
            raise CheckpointError(
                f"{folder} holds latents of other {what} ({_short(found)}, expected {_short(expected)} for "
                f"{source.name}); {_anew(folder)}"
            )


def _check_target(folder: Path) -> None:
    """Refuse a folder that holds something else than unfinished latents."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"cannot encode into {folder}, which is a file; choose a directory")
    begun = any(leftover_of(path) == BLOCKS for path in folder.glob(f".{BLOCKS}.*"))
    others = [path.name for path in folder.glob("*") if path.name != LOCK and not is_leftover(path)]
    if others and not (begun and others == [ARRAY]):
        raise CheckpointError(
            f"cannot encode into {folder}, which holds {min(others)!r} and no {MANIFEST}; choose a new or "
            "empty directory"
        )


class _Making:
    """Latents on their way into a folder; for the holder of its lock."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder, self.source = folder, source
        token = settings_digest(source.settings)[:8]
        self.array = folder / f".{ARRAY}.{token}.tmp"
        self.blocks = folder / f".{BLOCKS}.{token}.tmp"
        self.header = _header(source.shape)

    def run(self, encode: Rows, notify: Notify | None) -> None:
        """Encode what is missing and put the manifest into place."""
        self._refuse_others()
        with explaining(self.folder):
            digests = self._finished_blocks()
            self._check_room(len(digests))
            if notify is not None:
                there = f", {len(digests)} of {self._count} blocks are there" if digests else ""
                notify(f"encoding {self.source.describe()} into {self.folder}{there}")
            try:
                with self.array.open("ab") as array, self.blocks.open("a", encoding="ascii") as blocks:
                    self._encode(array, blocks, len(digests), encode, notify)
            except InputError:  # Mended pictures are other data, so that nothing could go on from these.
                remove_files([self.array, self.blocks])
                raise
            self._put_into_place()

    @property
    def _count(self) -> int:
        return len(list(self.source.bounds()))

    def _encode(
        self, array: BinaryIO, blocks: io.TextIOBase, done: int, encode: Rows, notify: Notify | None
    ) -> None:
        """Append the blocks from number ``done`` on; each is noted once it is whole."""
        said = time.monotonic()
        for number, (start, stop) in enumerate(self.source.bounds()):
            if number < done:
                continue
            data = np.ascontiguousarray(encode(start, stop), "<f4").tobytes()
            array.write(data)
            array.flush()
            blocks.write(hashlib.sha256(data).hexdigest() + "\n")
            blocks.flush()
            if notify is not None and time.monotonic() - said > TOLD_EVERY:
                said = time.monotonic()
                notify(f"encoded {stop:,} of {self.source.shape[0]:,}")

    def _finished_blocks(self) -> list[str]:
        """Digests of the blocks that an earlier process finished; what follows them is cut off."""
        final = self.folder / ARRAY
        if final.is_file() and not self.array.exists():  # Stopped after one rename and before the next.
            final.replace(self.array)
        noted = self.blocks.read_text(encoding="ascii").split() if self.blocks.is_file() else []
        whole = self._whole(noted) if self.array.is_file() else 0
        row = 4 * math.prod(self.source.shape[1:])
        with self.array.open("r+b" if self.array.exists() else "w+b") as array:
            if whole == 0:
                array.write(self.header)
            array.truncate(len(self.header) + row * min(whole * self.source.block, self.source.shape[0]))
        self.blocks.write_text("".join(f"{digest}\n" for digest in noted[:whole]), encoding="ascii")
        return noted[:whole]

    def _whole(self, noted: list[str]) -> int:
        """How many blocks in the file are those that were noted."""
        row, whole = 4 * math.prod(self.source.shape[1:]), 0
        with self.array.open("rb") as array:
            if array.read(len(self.header)) != self.header:
                return 0
            for (start, stop), digest in zip(self.source.bounds(), noted, strict=False):
                if hashlib.sha256(array.read(row * (stop - start))).hexdigest() != digest:
                    break
                whole += 1
        return whole

    def _check_room(self, done: int) -> None:
        lacking = self.source.size * (1 - done / self._count)
        free = shutil.disk_usage(self.folder).free
        if free < lacking:
            raise CheckpointError(
                f"{self.source.describe()}, do not fit into {self.folder}: {free / 1e6:,.1f} MB are free; "
                "make room, choose another cache or switch it off"
            )

    def _refuse_others(self) -> None:
        """Refuse what was begun for another source."""
        for path in self.folder.iterdir():
            if leftover_of(path) == BLOCKS and path != self.blocks:
                raise CheckpointError(
                    f"{self.folder} holds unfinished latents of other data or weights; {_anew(self.folder)}"
                )

    def _put_into_place(self) -> None:
        final = self.folder / ARRAY
        binding = bind(self.array, ARRAY)
        sync(self.array)
        self.array.replace(final)
        sync(self.folder)
        described = {"name": self.source.name, **self.source.settings, "file": binding.as_dict()}
        write_json(self.folder / MANIFEST, signed(described))
        remove_files([self.blocks])


def _header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of a .npy file of float32."""
    buffer = io.BytesIO()
    values = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, values)
    return buffer.getvalue()


def _anew(folder: Path) -> str:
    return f"choose another cache, or delete {folder} to encode anew"


def _short(value: Any) -> str:
    """A digest by its first digits, as far as it is one."""
    words = str(value).split()
    return " ".join(f"{word[:12]}…" if len(word) == 64 else word for word in words)
