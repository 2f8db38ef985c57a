"""What a model card says of the data that a flow was trained on: plain values, which are saved along."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from flowprior.data.base import Data

MOST_NAMES = 1000
"""Classes whose names are kept."""


def data_facts(data: Data) -> dict[str, Any]:
    """Name, split, size, shape and condition; captions by their number and digest; names of classes,
    names and units of numbers.

    Of data with corrupt records how many were left out, and the first of them.

    Args:
        data: as it was trained on; of encoded data the shape is that of the latents.

    Returns:
        Plain JSON values; a key whose value is not known is left out.
    """
    names = data.class_names
    facts: dict[str, Any] = {
        "name": data.name,
        "split": data.split,
        "examples": len(data),
        "event_shape": list(data.event_shape),
        "is_image": data.is_image,
        "condition": data.condition.describe(),
        "captions": caption_facts(data),
        "class_names": list(names) if names is not None and len(names) <= MOST_NAMES else None,
        "annotation": None if data.annotation is None else data.annotation.as_dict(),
        "licences": sorted(data.licences),
        "corrupt_records": data.corrupt.facts() if data.corrupt is not None and data.corrupt.count else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, [])}


def caption_facts(data: Data) -> dict[str, Any] | None:
    """How many different captions there are, and the digest of their ids; None for data without captions.

    The ids are :attr:`Data.caption_ids`, or the captions themselves where they have none.
    """
    ids = data.captions if data.caption_ids is None else data.caption_ids
    if ids is None:
        return None
    different = set(ids)
    kind = "texts" if data.caption_ids is None else data.caption_id_kind
    return {"count": len(different), "ids": kind, "sha256": lines_digest(different)}


def lines_digest(lines: Iterable[str]) -> str:
    """sha256 of the lines in UTF-8, sorted by code points, as ``LC_ALL=C sort lines.txt | sha256sum``."""
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(f"{line}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
