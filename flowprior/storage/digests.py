"""The sha256 digests of tensors, plain values and files, and manifests that bind files by their digests.

Tensors and the description that binds them are saved to a folder together. The description is renamed into
place last: until then the folder keeps its earlier contents. Afterwards the superseded tensors are removed,
and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import CheckpointError, DataNotFoundError, InputError
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_bytes, read_json
from flowprior.storage.tensor_files import packed, parse_tensors
from flowprior.storage.writing import is_leftover, remove_files, replacing, write_json

DIGEST = "digest"
"""The key of a manifest under which the digest of all its other keys stands."""
PATIENCE = 60.0
"""The seconds that a save waits for another save into the same folder."""
FILE = "file"
"""The key of a description under which the file of its tensors stands."""
FILES = "files"
"""The key of a description under which several files stand by their roles."""


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 over the names, types, shapes and bytes of tensors, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def module_description(module: nn.Module) -> list[list[Any]]:
    """Return the name, class and plain attributes of each part of a module, beside which its tensors count.

    Attributes other than numbers, texts and booleans are left out, and so is the training mode.
    """
    return [
        [name, type(part).__qualname__, {k: v for k, v in sorted(vars(part).items()) if _is_plain(k, v)}]
        for name, part in module.named_modules()
    ]


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the sha256 over plain values, whatever the order of their names."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def checked_file(path: Path | str, sha256: str | int, owner: str) -> Path:
    """Return the file of weights at ``path`` after a check of its digest.

    Args:
        path: a file on this machine; nothing is ever downloaded.
        sha256: the expected digest, or its first 8 or more digits.
        owner: the component that needs the weights, for messages.

    Raises:
        DataNotFoundError: no such file.
        InputError: a file of another digest, or fewer than 8 digits.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataNotFoundError(f"{owner}: no file {path}; put the weights there, flowprior downloads none")
    expected = str(sha256).strip().lower()
    if not re.fullmatch("[0-9a-f]{8,64}", expected):
        raise InputError(
            f"{owner}: sha256={sha256!r} is no digest; give the first 8 or more digits that "
            f"`sha256sum {path}` prints, in quotes if they are all decimal"
        )
    found = file_sha256(path)
    if not found.startswith(expected):
        raise InputError(
            f"{owner}: {path} has sha256 {found[:12]}…, expected {expected[:12]}…; get the right file, or "
            "give its digest where there is an option for it, if you trust it"
        )
    return path


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, row by row."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


@dataclass(frozen=True)
class Binding:
    """The entry of one file in a manifest, by which the file is checked when it is read.

    Attributes:
        name: the file's name in the manifest's folder.
        sha256: the digest of its bytes, in hexadecimal.
        size: the number of its bytes.
    """

    name: str
    sha256: str
    size: int

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain JSON values."""
        return asdict(self)

    def read(self, manifest: Path) -> bytes:
        """Read the file's bytes and check that they have the size and digest of this entry.

        Args:
            manifest: the manifest that holds the entry.

        Raises:
            CheckpointError: the file is missing, truncated, changed or that of another manifest.
        """
        path = manifest.parent / self.name
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing, which {manifest} names; pass the directory of a complete flow or run"
            )
        size = path.stat().st_size
        if size == self.size:
            data = read_bytes(path, self.size)
            if hashlib.sha256(data).hexdigest() == self.sha256:
                return data
        raise CheckpointError(
            f"{path} does not belong to {manifest}: it is truncated, corrupted or from another run ({size} "
            f"bytes, expected {self.size} with sha256 {self.sha256[:16]}…); use another checkpoint"
        )

    @classmethod
    def of(cls, value: Any) -> Binding:
        """Read the entry of a manifest.

        Raises:
            ValueError: ``value`` is no such entry, or names a file outside the manifest's folder.
        """
        binding = cls(**value)
        kinds = (type(binding.name), type(binding.sha256), type(binding.size))
        if kinds != (str, str, int) or Path(binding.name).name != binding.name or binding.size < 0:
            raise ValueError(f"expected name, sha256 and size of a file, got {value!r}")
        return binding


def bind(path: Path, name: str | None = None) -> Binding:
    """Return the manifest's entry for a file as it is now; ``name`` is the name that it will have."""
    return Binding(name or path.name, file_sha256(path), path.stat().st_size)


def signed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with their digest as the last key."""
    return {**values, DIGEST: _digest(values)}


def unsigned(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Check the digest that :func:`signed` added and return ``values`` without it.

    Raises:
        CheckpointError: the digest is missing or belongs to other values; the message names ``path``.
    """
    rest = {key: value for key, value in values.items() if key != DIGEST}
    if values.get(DIGEST) != _digest(rest):
        raise CheckpointError(
            f"{path} is corrupted or was changed after it was written: its digest does not match; "
            "use another checkpoint"
        )
    return rest


def save_by_digest(folder: Path, stem: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Binding:
    """Write ``tensors`` to ``STEM-DIGEST.safetensors`` in an existing folder and return the file's entry.

    Raises:
        CheckpointError: the file cannot be written.
    """
    data = packed(tensors, metadata)
    sha256 = hashlib.sha256(data).hexdigest()
    binding = Binding(f"{stem}-{sha256[:16]}.safetensors", sha256, len(data))
    with replacing(folder / binding.name) as temporary:
        temporary.write_bytes(data)
    return binding


def save_bound(
    folder: Path,
    description: str,
    stem: str,
    values: Mapping[str, Any],
    tensors: dict[str, Tensor],
    *,
    role: str = "",
    metadata: Mapping[str, str] | None = None,
    then: Callable[[], object] = lambda: None,
) -> None:
    """Save ``tensors`` and the ``values`` that describe them to ``folder``, in place of an earlier save.

    Args:
        folder: a new or empty folder, or one of an earlier save, where files of others stay.
        description: the name of the file of ``values``, such as ``prior.json``.
        stem: the beginning of the name of the tensors' file.
        values: plain JSON values.
        tensors: the tensors by name.
        role: the key of the tensors' file among the :data:`FILES` of the description; empty for the only one.
        metadata: texts in the tensors' file.
        then: called after the save, before another process may save there.

    Raises:
        CheckpointError: the folder holds other files, or cannot be written; it is as it was then.
        OptionError: another process is saving there.
    """
    named = re.compile(rf"{re.escape(stem)}-[0-9a-f]{{16}}\.safetensors")
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"cannot save to {folder}, which is a file; choose a directory")
    own = (description, f"{stem}*.safetensors", "*.md")
    with FolderLock(folder, PATIENCE, quiet=True, own=own):
        present = [path for path in folder.iterdir() if path.name != LOCK and not is_leftover(path)]
        old = [path for path in present if named.fullmatch(path.name)]
        if len(present) > len(old) and not (folder / description).is_file():
            raise CheckpointError(
                f"cannot save to {folder}, which holds other files and no {description}; choose a new or "
                "empty directory"
            )
        binding = save_by_digest(folder, stem, tensors, dict(metadata or {}))
        entry = binding.as_dict()
        bound = {FILES: {role: entry}} if role else {FILE: entry}
        superseded = [path for path in old if path.name != binding.name]
        try:
            write_json(folder / description, signed({**values, **bound}))
        except CheckpointError:
            remove_files([folder / binding.name] if len(superseded) == len(old) else [])
            raise
        remove_files(superseded)
        then()


def read_bound(folder: Path, description: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the values and tensors that :func:`save_bound` wrote.

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
