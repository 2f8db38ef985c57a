"""The reading of files within bounds: the size is checked first, then the bytes are read and parsed."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError, InputError
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import one_line

GROWTH = 1 << 20
"""The number of bytes by which a file may grow while it is read."""
TEXT_LIMIT = 16 << 20
"""The size of the largest text or JSON file that is read, in bytes."""


def check_file(path: Path | str, limit: int | None = None) -> None:
    """Refuse a path that is no regular file of at most ``limit`` bytes, for a library that reads it whole.

    Raises:
        OSError: it is missing, or a directory.
        ValueError: it is a device or a pipe, which may never end, or too long.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"expected at most {limit:,} bytes, got {status.st_size:,}")


def bounded_bytes(path: Path | str, limit: int | None = None) -> bytes:
    """Read a regular file of at most ``limit`` bytes; a longer one is refused before it is read.

    Every file of a folder that others may have made is read by this function. Each caller turns the errors
    into messages of its own.

    Raises:
        OSError: it is missing, a directory, or cannot be read.
        ValueError: it is a device or a pipe, or too long.
    """
    check_file(path, limit)
    with open(path, "rb") as file:
        # read(n) takes n bytes of memory at once, so n is the file's size, and a little as it may grow.
        most = os.fstat(file.fileno()).st_size + GROWTH
        data = file.read(-1 if limit is None else min(limit + 1, most))
    if limit is not None and len(data) > limit:
        raise ValueError(f"expected at most {limit:,} bytes, got more")
    return data


def read_bytes(path: Path | str, limit: int | None = None) -> bytes:
    """Read a file of a flow or run by :func:`bounded_bytes`.

    Raises:
        CheckpointError: it is missing, no regular file, too long, or cannot be read.
    """
    path = expanded(path)
    advice = "pass the directory of a saved flow or run"
    try:
        return bounded_bytes(path, limit)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} is missing; {advice}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {one_line(error)}; {advice}") from error


def read_text(path: Path | str, limit: int = TEXT_LIMIT) -> str:
    """Read a UTF-8 text file of at most ``limit`` bytes.

    Raises:
        CheckpointError: it is missing, too long, or no UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(Path(path), error) from error


def read_json(path: Path | str, limit: int = TEXT_LIMIT) -> dict[str, Any]:
    """Read the JSON object in a file of at most ``limit`` bytes.

    Raises:
        CheckpointError: the file is missing, too long, no JSON, nested too deeply, or holds no object.
    """
    path, text = Path(path), read_text(path, limit)
    try:
        value = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(value, dict):
        raise unreadable(path, ValueError(f"expected a JSON object, got {type(value).__name__}"))
    return value


def unreadable(path: Path, error: BaseException) -> CheckpointError:
    """Return the error of a file whose bytes cannot be parsed."""
    return CheckpointError(f"{path} is truncated or corrupted ({one_line(error)}); use another checkpoint")


def read_lines(file: Path, limit: int | None = None) -> list[str]:
    """Read the lines of a UTF-8 text of a user, of at most ``limit`` bytes; a byte order mark is dropped.

    Raises:
        InputError: the file is no UTF-8, too long, or cannot be read.
    """
    try:
        text = bounded_bytes(file, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: expected text in UTF-8, got another encoding at byte {error.start}; save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({one_line(error)}); check or split the file") from error
    return text.replace("\r\n", "\n").split("\n")
