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
from flowprior.storage.reading import read_bytes, read_json, read_text
from flowprior.storage.writing import (
    check_place,
    is_leftover,
    leftover_of,
    remove_files,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from flowprior.storage.digests import Binding, bind, signed, unsigned
    from flowprior.storage.tensor_files import (
        load_tensors,
        parse_state,
        parse_tensors,
        save_state,
        save_tensors,
    )

__all__ = [
    "Binding",
    "FolderLock",
    "bind",
    "check_place",
    "is_leftover",
    "leftover_of",
    "load_tensors",
    "parse_state",
    "parse_tensors",
    "read_bytes",
    "read_json",
    "read_text",
    "remove_files",
    "remove_leftovers",
    "replacing",
    "save_state",
    "save_tensors",
    "signed",
    "unsigned",
    "write_json",
    "write_text",
]

_DIGESTS = ("Binding", "bind", "signed", "unsigned")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'flowprior.storage' has no attribute '{name}'")
    home = "digests" if name in _DIGESTS else "tensor_files"
    value = getattr(import_module(f"flowprior.storage.{home}"), name)
    globals()[name] = value
    return value
