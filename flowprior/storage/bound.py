"""Tensors and the description that binds them by their digest, in a folder: written at once, read checked.

The description is renamed into place last: until then the folder holds what it held before. What is
superseded is removed afterwards, and nothing else ever is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from flowprior.errors import CheckpointError
from flowprior.storage.digests import Binding, bind, signed, unsigned
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_json
from flowprior.storage.tensor_files import parse_tensors, save_tensors
from flowprior.storage.writing import beside, explaining, is_leftover, remove_files, sync, write_json

PATIENCE = 60.0
"""Seconds that a save waits for another one into the same folder."""
FILE = "file"
"""Key of the description that binds the tensors' file."""


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
