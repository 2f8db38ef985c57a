"""A training state in a ``torch.save`` file, read with ``weights_only=True`` alone."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from flowprior.errors import CheckpointError
from flowprior.storage.reading import read_bytes, unreadable
from flowprior.storage.writing import replacing


def save_state(path: Path | str, state: dict[str, Any]) -> None:
    """Write a training state of tensors and plain Python values; the previous file survives a failure.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def load_state(path: Path | str) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, with ``weights_only=True``.

    Raises:
        CheckpointError: the file is missing, truncated, corrupted, or holds pickled objects.
    """
    return parse_state(read_bytes(path), Path(path))


def parse_state(data: bytes, path: Path) -> dict[str, Any]:
    """The state in the bytes of a file of :func:`save_state`; ``path`` is named in messages.

    Raises:
        CheckpointError: they are truncated, corrupted, or hold pickled objects.
    """
    try:
        _check_archive(data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds pickled objects or is corrupted; flowprior only loads tensors and plain values, "
            "since unpickling runs code"
        ) from error
    except Exception as error:  # What a parser raises on bytes of any kind is its own affair.
        raise unreadable(path, error) from error
    if not isinstance(state, dict):
        raise unreadable(path, ValueError(f"expected a dictionary, got {type(state).__name__}"))
    return state


def _check_archive(data: bytes) -> None:
    """Refuse compressed entries, which torch.save writes none of and which know no bound; check the rest.

    torch does not verify the checksums of its own format.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed entries")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("entries longer than the file")
        if archive.testzip() is not None:
            raise ValueError("its checksum does not match")
