"""Reading a file that comes back from the disk: its size first, then its bytes, then what they say."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import one_line

MIB = 1 << 20
TEXT_LIMIT = 16 * MIB
"""Longest text or JSON file that is read, in bytes."""


def read_bytes(path: Path | str, limit: int | None = None) -> bytes:
    """The bytes of a file of at most ``limit`` bytes; a longer one is refused before it is read.

    Raises:
        CheckpointError: it is missing, no regular file, too long, or cannot be read.
    """
    path = expanded(path)
    try:
        with path.open("rb") if path.is_file() else _no_file(path) as file:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{path} is no regular file; pass the directory of a saved flow or run")
            if limit is not None and status.st_size > limit:
                raise CheckpointError(
                    f"{path} is corrupted: expected at most {limit} bytes, got {status.st_size}; "
                    "use another checkpoint"
                )
            # One byte more than there may be, in case that the file grows meanwhile.
            data = file.read(-1 if limit is None else limit + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"cannot read {path}: {one_line(error)}; check the path") from error
    if limit is not None and len(data) > limit:
        raise CheckpointError(f"{path} is corrupted: expected at most {limit} bytes; use another checkpoint")
    return data


def read_text(path: Path | str, limit: int = TEXT_LIMIT) -> str:
    """The text of a UTF-8 file of at most ``limit`` bytes.

    Raises:
        CheckpointError: it is missing, too long, or no UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(Path(path), error) from error


def read_json(path: Path | str, limit: int = TEXT_LIMIT) -> dict[str, Any]:
    """The object in a JSON file of at most ``limit`` bytes.

    Raises:
        CheckpointError: it is missing, too long, no JSON, nested too deeply, or no object.
    """
    path = Path(path)
    try:
        value = json.loads(read_text(path, limit))
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise unreadable(path, error) from error
    if not isinstance(value, dict):
        raise unreadable(path, ValueError(f"expected a JSON object, got {type(value).__name__}"))
    return value


def unreadable(path: Path, error: BaseException) -> CheckpointError:
    """The error of a file whose bytes make no sense."""
    return CheckpointError(f"{path} is truncated or corrupted ({one_line(error)}); use another checkpoint")


def _no_file(path: Path) -> Any:
    if path.exists():
        raise CheckpointError(f"{path} is no regular file; pass the directory of a saved flow or run")
    raise CheckpointError(f"{path} is missing; pass the directory of a saved flow or run")
