"""Digests (sha256) of tensors, plain values and files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import DataNotFoundError, InputError


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def settings_digest(settings: Mapping[str, Any]) -> str:
    """sha256 over plain values, whatever the order of their names."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def checked_file(path: Path | str, sha256: str | int, owner: str) -> Path:
    """The file of weights at ``path``, if it is the one that ``sha256`` names.

    Args:
        path: on this machine; nothing is ever downloaded.
        sha256: the whole digest, or its first 8 or more digits.
        owner: for messages.

    Raises:
        DataNotFoundError: no such file.
        InputError: another file, or a digest that is too short.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataNotFoundError(f"{owner}: no file {path}; put the weights there, flowprior downloads none")
    expected = str(sha256).strip().lower()
    if not re.fullmatch("[0-9a-f]{8,64}", expected):
        raise InputError(
            f"{owner}: sha256={sha256!r} is no digest; give 8 or more digits of sha256sum {path}, in quotes "
            "where they read as a number"
        )
    found = file_sha256(path)
    if not found.startswith(expected):
        raise InputError(
            f"{owner}: {path} has sha256 {found[:12]}…, expected {expected[:12]}…; get the right file, or "
            "pass its digest if you trust it"
        )
    return path


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, row by row."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
