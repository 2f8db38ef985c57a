"""Digests (sha256) of tensors, plain values and files, and the manifests that bind files together by them.

Tensors and the description that binds them are written to a folder at once and read checked. The description
is renamed into place last: until then the folder holds what it held before. What is superseded is removed
afterwards, and nothing else ever is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import CheckpointError, DataNotFoundError, InputError
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_bytes, read_json
from flowprior.storage.tensor_files import parse_tensors, save_tensors
from flowprior.storage.writing import beside, explaining, is_leftover, remove_files, sync, write_json

DIGEST = "digest"
"""Key of a manifest's digest of all its other keys."""
PATIENCE = 60.0
"""Seconds that a save waits for another one into the same folder."""
FILE = "file"
"""Key of the description that binds the tensors' file."""


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def module_description(module: nn.Module) -> list[list[Any]]:
    """What tells modules of equal tensors apart: each part's name, class and plain attributes.

    Buffers, parameters and whether it trains do not count; attributes that are no plain values do not either.
    """
    return [
        [name, type(part).__qualname__, {k: v for k, v in sorted(vars(part).items()) if _is_plain(k, v)}]
        for name, part in module.named_modules()
    ]


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


@dataclass(frozen=True)
class Binding:
    """One file as its manifest knows it.

    Attributes:
        name: inside the manifest's folder.
        sha256: of its bytes, in hexadecimal.
        size: in bytes.
    """

    name: str
    sha256: str
    size: int

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    def read(self, manifest: Path) -> bytes:
        """The file's bytes, where it is the one that ``manifest`` was written for.

        Raises:
            CheckpointError: it is missing, or another one.
        """
        path = manifest.parent / self.name
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing, to which {manifest} belongs; pass the directory of a saved flow or run"
            )
        size = path.stat().st_size
        if size == self.size:
            data = read_bytes(path, self.size)
            if hashlib.sha256(data).hexdigest() == self.sha256:
                return data
        raise CheckpointError(
            f"{path} does not belong to {manifest}: it is truncated, corrupted or another one's ({size} "
            f"bytes, expected {self.size} of sha256 {self.sha256[:16]}…); use another checkpoint"
        )

    @classmethod
    def of(cls, value: Any) -> Binding:
        """Read a manifest's entry.

        Raises:
            ValueError: it is none, or names a file outside the manifest's folder.
        """
        binding = cls(**value)
        kinds = (type(binding.name), type(binding.sha256), type(binding.size))
        if kinds != (str, str, int) or Path(binding.name).name != binding.name or binding.size < 0:
            raise ValueError(f"an impossible file {value!r}")
        return binding


def bind(path: Path, name: str | None = None) -> Binding:
    """The binding of a file as it is now; ``name`` is the one it will have."""
    return Binding(name or path.name, file_sha256(path), path.stat().st_size)


def signed(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with a digest of them as the last key."""
    return {**values, DIGEST: _digest(values)}


def unsigned(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``values`` of :func:`signed` without their digest, which has to be theirs.

    Raises:
        CheckpointError: it is missing or that of other values; ``path`` is named in the message.
    """
    rest = {key: value for key, value in values.items() if key != DIGEST}
    if values.get(DIGEST) != _digest(rest):
        raise CheckpointError(
            f"{path} is corrupted or was changed after it was written: its digest does not match; "
            "use another checkpoint"
        )
    return rest


def save_by_digest(folder: Path, stem: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Binding:
    """Write ``tensors`` to ``STEM-DIGEST.safetensors`` in ``folder``, which exists.

    Raises:
        CheckpointError: it cannot be written.
    """
    temporary = beside(folder / f"{stem}.safetensors")
    try:
        save_tensors(temporary, tensors, metadata)
        found = bind(temporary)
        binding = Binding(f"{stem}-{found.sha256[:16]}.safetensors", found.sha256, found.size)
        with explaining(folder):
            temporary.replace(folder / binding.name)
            sync(folder)
    finally:
        remove_files([temporary])
    return binding


def save_bound(
    folder: Path, description: str, stem: str, values: Mapping[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Put ``tensors``, described by ``values``, into ``folder``, in place of those that are there.

    Args:
        folder: absent, empty, or what this wrote before.
        description: name of the file of ``values``, such as ``prior.json``.
        stem: of the name of the tensors' file.
        values: plain JSON values.
        tensors: name -> value.

    Raises:
        CheckpointError: the folder holds something else, or cannot be written.
        OptionError: another process is saving there.
    """
    named = re.compile(rf"{re.escape(stem)}-[0-9a-f]{{16}}\.safetensors")
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"cannot save to {folder}, which is a file; choose a directory")
    with FolderLock(folder, PATIENCE, quiet=True, own=(description, f"{stem}*.safetensors")):
        present = [path for path in folder.iterdir() if path.name != LOCK and not is_leftover(path)]
        old = [path for path in present if named.fullmatch(path.name)]
        if len(present) > len(old) and not (folder / description).is_file():
            raise CheckpointError(
                f"cannot save to {folder}, which holds other files and no {description}; choose a new or "
                "empty directory"
            )
        binding = save_by_digest(folder, stem, tensors, {})
        write_json(folder / description, signed({**values, FILE: binding.as_dict()}))
        remove_files(path for path in old if path.name != binding.name)


def read_bound(folder: Path, description: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The values and tensors that :func:`save_bound` wrote.

    Raises:
        CheckpointError: a file is missing, truncated or changed, or they do not belong together.
    """
    path = folder / description
    values = unsigned(read_json(path), path)
    try:
        binding = Binding.of(values.pop(FILE))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is incomplete or damaged: {error!r}; use another one") from error
    return values, parse_tensors(binding.read(path), folder / binding.name)[0]


def _is_plain(name: str, value: Any) -> bool:
    return name != "training" and not name.startswith("_") and isinstance(value, bool | int | float | str)


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
