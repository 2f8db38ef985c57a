"""The library's cache: tensors that are expensive to compute and cheap to check, one file each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flowprior.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder() -> Path:
    """``$FLOWPRIOR_CACHE``, or ``~/.cache/flowprior``."""
    named = os.environ.get("FLOWPRIOR_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "flowprior"


def cached_tensors(
    name: str, metadata: Mapping[str, str], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What ``compute`` gives, from the cache where it is there, else computed and left there.

    A file that cannot be read is replaced, and one that cannot be written is done without, with a warning.

    Args:
        name: of the file; it holds a digest of everything that decides the tensors.
        metadata: what else goes into the file.
        compute: gives the tensors.
    """
    from flowprior.storage.tensor_files import load_tensors, save_tensors

    path = cache_folder() / f"{name}.safetensors"
    if path.is_file():
        try:
            stored, described = load_tensors(path)
            if described.keys() == metadata.keys():
                return stored
            reason = f"expected to find {', '.join(metadata)} in it, got {', '.join(described) or 'nothing'}"
        except CheckpointError as error:
            reason = str(error)
        warnings.warn(f"{path} in the cache is computed anew: {reason}", RuntimeWarning, stacklevel=4)
    found = compute()
    try:
        save_tensors(path, found, dict(metadata))
    except CheckpointError as error:
        warnings.warn(f"{name} is not cached: {error}", RuntimeWarning, stacklevel=4)
    return found
