"""Files that survive: written beside the old one and renamed into place, read within bounds, never unpickled.

Tensors go to safetensors with a checksum; training state (optimiser, running means, step) to
``torch.save`` files that are only ever read with ``weights_only=True``. What belongs together is bound by
a digest of each file, and whatever comes back from the disk is either right or a
:class:`flowprior.errors.CheckpointError` of one line.

What needs torch is imported on first use, so that reading and writing texts does without it.
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
    explaining,
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
    "explaining",
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
