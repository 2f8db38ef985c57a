"""The digest that says which data a value belongs to."""

from __future__ import annotations

import hashlib

from flowprior.data.base import Data
from flowprior.storage.digests import tensor_bytes


def data_digest(data: Data) -> str:
    """sha256 over every event and condition of a data set; one pass over it."""
    digest = hashlib.sha256(f"{data.condition} {list(data.event_shape)} {len(data)}".encode())
    for x, cond in data.batches():
        digest.update(tensor_bytes(x.float()))
        if cond is not None:
            digest.update(tensor_bytes(cond))
    return digest.hexdigest()
