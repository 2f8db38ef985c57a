"""One line instead of a stack trace where the disk is full or may not be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowprior.errors import CheckpointError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the OSError of a write to ``path`` into a CheckpointError that says what to do.

    Raises:
        CheckpointError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; saved checkpoints are untouched, make room or "
            "allow writing there, then resume"
        ) from error
