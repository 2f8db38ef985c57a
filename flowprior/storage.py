"""Files that survive: written beside the old one, synced, renamed into place; read without unpickling.

Tensors go to safetensors with a checksum; training state (optimiser, random generators, step) to
``torch.save`` files that are only ever read with ``weights_only=True``.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flowprior.errors import CheckpointError

HEADER = "flowprior"
"""The one key of the file's own metadata, so that equal tensors give equal files, byte for byte."""


def save_tensors(
    path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write ``tensors`` and ``metadata`` to a safetensors file; the previous file survives a failure.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    path = Path(path)
    # safetensors refuses tensors that share memory (tied weights), so every one is a copy of its own.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = json.dumps({"crc32": _checksum(copies), "metadata": dict(metadata or {})}, sort_keys=True)
    with _replacing(path) as temporary:
        save_file(copies, temporary, metadata={HEADER: header})


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`save_tensors` wrote: (tensors on the CPU, metadata).

    Raises:
        CheckpointError: the file is missing, truncated or corrupted.
    """
    path = _existing(path)
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
            header = json.loads(found[HEADER]) if HEADER in found else {"metadata": found}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if "crc32" in header and header["crc32"] != _checksum(tensors):
        raise CheckpointError(f"{path} is corrupted: its checksum does not match; use another checkpoint")
    return tensors, dict(header["metadata"])


def save_state(path: Path | str, state: dict[str, Any]) -> None:
    """Write a training state of tensors and plain Python values; the previous file survives a failure.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    with _replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def load_state(path: Path | str) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, with ``weights_only=True``.

    Raises:
        CheckpointError: the file is missing, truncated, corrupted, or holds pickled objects.
    """
    path = _existing(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not verify the checksums of its own format
            if archive.testzip() is not None:
                raise CheckpointError(
                    f"{path} is corrupted: its checksum does not match; use another checkpoint"
                )
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds pickled objects or is corrupted; flowprior only loads tensors and plain values, "
            "since unpickling runs code"
        ) from error
    except (RuntimeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


@contextmanager
def write_directory(final: Path | str) -> Iterator[Path]:
    """Yield a new temporary directory beside ``final``; put it in the place of ``final`` on success.

    On any failure it is removed and ``final`` stays as it was.

    Raises:
        CheckpointError: the directory cannot be written (disk full, no permission).
    """
    final = Path(final)
    temporary = _beside(final)
    try:
        with _explaining(final):
            temporary.mkdir(parents=True)
            yield temporary
            for file in (path for path in temporary.rglob("*") if path.is_file()):
                _sync(file)
            _sync(temporary)
            _swap(temporary, final)
            _sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, final: Path) -> None:
    """Rename ``temporary`` to ``final``; a directory already there gives way, or comes back on failure."""
    if not final.exists():
        temporary.rename(final)
        return
    old = _beside(final)
    final.rename(old)
    try:
        temporary.rename(final)
    except OSError:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``; sync it and rename it to ``path`` on success."""
    temporary = _beside(path)
    try:
        with _explaining(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn a failed write into one line. torch hides the system's error behind one of its own."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, (OSError, SafetensorError)):
            raise
        raise CheckpointError(
            f"cannot write {path}: {_line(cause)}; what was there before is kept, "
            "free some space or write elsewhere"
        ) from error


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"


def _sync(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; pass the directory of a saved flow or run")
    return path


def _checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 over names, types, shapes and bytes, in the order of the names."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name}{tensor.dtype}{list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _unreadable(path: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{path} is truncated or corrupted ({_line(error)}); use another checkpoint")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
