"""The files of flows and runs: renamed into place when complete, read within bounds, never unpickled.

Tensors go to safetensors files with a checksum; training states (optimiser, running means, step) go to
``torch.save`` files that are only read with ``weights_only=True``. Files that belong together are bound by
their digests. A damaged file raises a :class:`flowprior.errors.CheckpointError` of one line.

The functions that need torch are imported on first use, so that texts are read and written without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import bounded_bytes, read_bytes, read_json, read_text, unreadable
from flowprior.storage.user_paths import (
    cache_folder,
    existing_file,
    existing_folder,
    expanded,
    is_there,
    user_path,
)
from flowprior.storage.writing import (
    check_place,
    is_leftover,
    leftover_of,
    one_line,
    remove_files,
    remove_leftovers,
    replacing,
    sync,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from flowprior.storage.digests import (
        DIGEST,
        PATIENCE,
        Binding,
        bind,
        save_by_digest,
        settings_digest,
        signed,
        tensor_bytes,
        unsigned,
    )
    from flowprior.storage.tensor_files import (
        SizedBy,
        load_tensors,
        parse_state,
        parse_tensors,
        part_of,
        save_state,
        save_tensors,
        sizes_of,
    )

__all__ = [
    "DIGEST",
    "PATIENCE",
    "Binding",
    "FolderLock",
    "SizedBy",
    "bind",
    "bounded_bytes",
    "cache_folder",
    "check_place",
    "existing_file",
    "existing_folder",
    "expanded",
    "is_leftover",
    "is_there",
    "leftover_of",
    "load_tensors",
    "one_line",
    "parse_state",
    "parse_tensors",
    "part_of",
    "read_bytes",
    "read_json",
    "read_text",
    "remove_files",
    "remove_leftovers",
    "replacing",
    "save_by_digest",
    "save_state",
    "save_tensors",
    "settings_digest",
    "signed",
    "sizes_of",
    "sync",
    "tensor_bytes",
    "unreadable",
    "unsigned",
    "user_path",
    "write_json",
    "write_text",
]

_DIGESTS = (
    "DIGEST",
    "PATIENCE",
    "Binding",
    "bind",
    "save_by_digest",
    "settings_digest",
    "signed",
    "tensor_bytes",
    "unsigned",
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'flowprior.storage' has no attribute '{name}'")
    home = "digests" if name in _DIGESTS else "tensor_files"
    value = getattr(import_module(f"flowprior.storage.{home}"), name)
    globals()[name] = value
    return value
