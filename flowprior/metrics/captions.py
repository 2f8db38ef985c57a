"""The different captions of a data set, and what each event's is found among."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.data.splits import labels_of
from flowprior.storage.digests import tensor_bytes

PROMPT = "a photo of a {}"
"""What stands for the caption of a picture that has the name of a class alone (Radford et al. 2021)."""
AT_ONCE = 4096


class DistinctCaptions:
    """The different captions of N events, in the order of their sha256, which no order of events changes.

    Args:
        captions: of each event, a text or the bytes of an embedding.

    Attributes:
        captions: as given.
        numbers: of each event's caption in that order, int64 ``[N]``.
        first: the first event of each different caption in that order, int64 ``[U]``.
        digest: sha256 over all of them.
    """

    def __init__(self, captions: Sequence[str] | Sequence[bytes]) -> None:
        self.captions = captions
        places: dict[bytes, int] = {}
        digests = [_digest(caption) for caption in captions]
        for place, digest in enumerate(digests):
            places.setdefault(digest, place)
        order = {digest: number for number, digest in enumerate(sorted(places))}
        self.numbers = torch.tensor([order[digest] for digest in digests])
        self.first = torch.tensor([places[digest] for digest in order])
        self.digest = hashlib.sha256(b"".join(digests)).hexdigest()

    def __len__(self) -> int:
        return len(self.first)


def texts_of(data: Data) -> list[str] | None:
    """The caption of each event, or a prompt with the name of its class; None where there is neither."""
    if data.captions is not None:
        return list(data.captions)
    labels, names = labels_of(data), data.class_names
    if labels is None or names is None:
        return None
    return [PROMPT.format(names[label]) for label in labels.tolist()]


def embedded_captions(data: Data, indices: Tensor) -> list[str] | list[bytes]:
    """What tells captions with embeddings apart: the texts, else the embeddings themselves."""
    if data.captions is not None:
        return [data.captions[int(index)] for index in indices.tolist()]
    parts = (data.caption_embeddings(some) for some in indices.split(AT_ONCE))
    return [tensor_bytes(row).tobytes() for part in parts if part is not None for row in part]


def _digest(caption: str | bytes) -> bytes:
    whole = caption if isinstance(caption, bytes) else caption.encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).digest()
