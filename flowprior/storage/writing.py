"""The writing of a file in one move: to a temporary file beside it, synced, renamed into place.

A process that is killed leaves at most temporary files, whose names nobody else gives: ``.NAME.TOKEN.tmp``
with eight hexadecimal digits, and the suffix of NAME again where the writer goes by the suffix.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from flowprior.errors import CheckpointError
from flowprior.storage.user_paths import expanded

_TEMPORARY_NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp(\.\w+)?", re.DOTALL)
"""The pattern of temporary names, which nobody else gives."""


def write_text(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8; the previous file survives a failure.

    What UTF-8 cannot hold, such as the odd bytes of a file name, is written as an escape.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def check_place(path: Path | str) -> None:
    """Refuse a file that cannot be written, before a long computation; missing folders are no obstacle.

    Raises:
        CheckpointError: its folder is a file, or a folder in which no file can be made.
    """
    folder = expanded(path).absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise CheckpointError(f"cannot write {path}: {folder} is a file, not a folder; choose another folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: no file can be made in {folder} ({error.strerror}); choose another folder"
        ) from error


def write_json(path: Path | str, value: Any, indent: int | None = 2, finite: bool = False) -> None:
    """Write ``value`` as JSON; the previous file survives a failure.

    Args:
        path: the file; its folder is made.
        value: plain dictionaries, lists, texts and numbers.
        indent: spaces a level; None writes one line.
        finite: write NaN and infinite numbers as null, which every JSON reader accepts.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    plain = only_finite(value) if finite else value
    write_text(path, json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=not finite) + "\n")


def only_finite(value: Any) -> Any:
    """Replace NaN and infinite numbers in nested dictionaries and lists by None."""
    if isinstance(value, dict):
        return {key: only_finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [only_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def replacing(path: Path | str, keep_suffix: bool = False) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``; sync it and rename it to ``path`` on success.

    Args:
        path: the file to write; its folder is made.
        keep_suffix: let the temporary name end as ``path`` does, for writers that go by it.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    path = expanded(path)
    temporary = beside(path, path.suffix if keep_suffix else "")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the error of a write to ``path`` into a CheckpointError of one line.

    Raises:
        CheckpointError: the block raised an error of the system or of safetensors.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch hides the system's error behind one of its own.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, (OSError, SafetensorError)):
            raise
        raise CheckpointError(
            f"cannot write {path}: {one_line(cause)}; earlier files are kept; free some space, allow writing "
            "there, or choose another folder"
        ) from error


def beside(path: Path, suffix: str = "") -> Path:
    """Return a new temporary name in the folder of ``path``."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp{suffix}"


def leftover_of(path: Path) -> str | None:
    """Return the final name of a temporary file or folder of :func:`beside`; None for any other path."""
    match = _TEMPORARY_NAME.fullmatch(path.name)
    return match["name"] if match else None


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` has a temporary name, which only this module gives."""
    return leftover_of(path) is not None


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove the temporary files in ``folder`` whose final names match ``names``, patterns of a shell.

    Only the holder of the folder's lock may call this: any such file is that of a killed process then.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    targets = ((path, leftover_of(path)) for path in found)
    remove_files(path for path, name in targets if name and any(fnmatchcase(name, own) for own in names))


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files; a missing file, a folder, or a file without permission is left alone."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def sync(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line of at most 120 characters."""
    return " ".join(str(error).split())[:120] or type(error).__name__
