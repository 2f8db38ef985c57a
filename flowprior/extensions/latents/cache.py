"""The cache of latents in a folder: one memory-mapped array, and a manifest of its origin.

``latents.npy`` is read by ``numpy.load`` as well. While it is made it has a temporary name, and what a stop
leaves is made anew. ``encoded.json`` is renamed into place last: until then the folder holds no latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowprior.errors import CheckpointError
from flowprior.storage.digests import Binding, bind, file_sha256, signed, unsigned
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_json
from flowprior.storage.writing import is_leftover, remove_files, remove_leftovers, replacing, write_json

MANIFEST, ARRAY = "encoded.json", "latents.npy"
FORMAT = 1
"""The version of the cache's manifest."""
PATIENCE = 600.0
"""The seconds that a process waits for another one that encodes into the same folder."""
HELD_OUT = "validation"
"""The folder in a run's cache with the latents of the validation data."""
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """The origin of latents; the manifest has it beside the array's digest.

    Attributes:
        name: the name of the data, for messages.
        data: fingerprint of the images.
        encoder: identity of the encoder.
        shape: [N, c, h, w] of all latents.
        block: images that are encoded at once.
        format: the version of the cache.
    """

    name: str
    data: str
    encoder: str
    shape: list[int]
    block: int
    format: int = FORMAT

    def describe(self) -> str:
        """Return number, shape and size, as in ``7,000 latents [4, 8, 8] of emoji, 7.2 MB``."""
        count, *shape = self.shape
        return f"{count:,} latents {shape} of {self.name}, {4e-6 * math.prod(self.shape):,.1f} MB"


def cached_latents(
    folder: Path, source: Source, blocks: Iterable[np.ndarray], notify: Notify | None = None
) -> np.ndarray:
    """Return the latents of ``source``, memory-mapped from ``folder``; encode them if they are missing.

    Args:
        folder: absent, empty, or what this wrote for the same source.
        source: the origin of the latents.
        blocks: encodes them, one block of images after the other: float32 ``[B, c, h, w]``.
        notify: gets one line before anything is encoded: what is made, how large it is, and where.

    Raises:
        CheckpointError: the folder holds latents of other data or weights, damaged ones or other files, or
            cannot be written.
        OptionError: another process is encoding there.
    """
    if not (folder / MANIFEST).is_file():
        _check_target(folder)
        with FolderLock(folder, PATIENCE, quiet=True, own=(MANIFEST, ARRAY)):
            if not (folder / MANIFEST).is_file():
                _make(folder, source, blocks, notify)
    return _open(folder, source)


def remove_latents(folder: Path) -> None:
    """Remove all latents in ``folder``, finished or not, also of validation data, and an empty folder.

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
            remove_leftovers(folder, MANIFEST, ARRAY)
        remove_latents(folder / HELD_OUT)
        with suppress(OSError):
            folder.rmdir()


def _open(folder: Path, source: Source) -> np.ndarray:
    """Return the finished latents in ``folder`` if they are those of ``source``, else None.

    Raises:
        CheckpointError: they are others, or damaged.
    """
    path = folder / MANIFEST
    try:
        values = unsigned(read_json(path), path)
        binding = Binding.of(values["file"])
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or was changed after it was written; {_anew(folder)}"
        ) from error
    _compare(folder, values, source)
    array = folder / binding.name
    if not array.is_file() or array.stat().st_size != binding.size or file_sha256(array) != binding.sha256:
        raise CheckpointError(
            f"{array} is missing, truncated or was changed after it was written; {_anew(folder)}"
        )
    return np.load(array, mmap_mode="r", allow_pickle=False)


def _compare(folder: Path, values: dict[str, Any], source: Source) -> None:
    """Refuse latents of another source, and name that source."""
    for key, what in (("data", "data"), ("encoder", "weights"), ("shape", "shape"), ("format", "format")):
        found, expected = values.get(key), getattr(source, key)
        if found != expected:
            raise CheckpointError(
                f"{folder} holds latents of other {what} ({_short(found)}, expected {_short(expected)} for "
                f"{source.name}); {_anew(folder)}"
            )


def _check_target(folder: Path) -> None:
    """Refuse a folder that holds other files than those of an interrupted encoding."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"cannot encode into {folder}, which is a file; choose a directory")
    others = [path.name for path in folder.glob("*") if path.name != LOCK and not is_leftover(path)]
    if others:
        raise CheckpointError(
            f"cannot encode into {folder}, which holds {min(others)!r} and no {MANIFEST}; choose a new or "
            "empty directory"
        )


def _make(folder: Path, source: Source, blocks: Iterable[np.ndarray], notify: Notify | None) -> None:
    """Encode all of ``source`` into ``folder``; the caller holds the folder's lock."""
    if notify is not None:
        notify(f"encoding {source.describe()} into {folder}")
    with replacing(folder / ARRAY) as temporary:
        with temporary.open("wb") as array:
            header = {"descr": "<f4", "fortran_order": False, "shape": tuple(source.shape)}
            np.lib.format.write_array_header_1_0(array, header)
            for latents in blocks:
                array.write(np.ascontiguousarray(latents, "<f4").tobytes())
        binding = bind(temporary, ARRAY)
    write_json(folder / MANIFEST, signed({**asdict(source), "file": binding.as_dict()}))


def _anew(folder: Path) -> str:
    return f"choose another cache, or delete {folder} to encode anew"


def _short(value: Any) -> str:
    """Return the first digits of a digest, or the value if it is no digest."""
    words = str(value).split()
    return " ".join(f"{word[:12]}…" if len(word) == 64 else word for word in words)
