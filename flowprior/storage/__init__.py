"""Files that survive: written beside the old one and renamed into place, read within bounds, never unpickled.

Tensors go to safetensors with a checksum; training state (optimiser, running means, step) to
``torch.save`` files that are only ever read with ``weights_only=True``. What belongs together is bound by
a digest of each file, and whatever comes back from the disk is either right or a
:class:`flowprior.errors.CheckpointError` of one line.
"""

from flowprior.storage.digests import Binding, bind, signed, unsigned
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_bytes, read_json, read_text
from flowprior.storage.tensor_files import (
    load_state,
    load_tensors,
    parse_state,
    parse_tensors,
    save_state,
    save_tensors,
)
from flowprior.storage.writing import (
    check_place,
    is_leftover,
    leftover_of,
    remove_files,
    replacing,
    write_json,
    write_text,
)

__all__ = [
    "Binding",
    "FolderLock",
    "bind",
    "check_place",
    "is_leftover",
    "leftover_of",
    "load_state",
    "load_tensors",
    "parse_state",
    "parse_tensors",
    "read_bytes",
    "read_json",
    "read_text",
    "remove_files",
    "replacing",
    "save_state",
    "save_tensors",
    "signed",
    "unsigned",
    "write_json",
    "write_text",
]
