"""Captions to embeddings: every different caption once, and many of them from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.errors import CheckpointError, OptionError
from flowprior.registry import spec_of
from flowprior.storage.digests import settings_digest
from flowprior.storage.tensor_files import cached_tensors

if TYPE_CHECKING:
    from flowprior.encoders import TextEncoder

AT_ONCE = 1024
"""Captions that an encoder is given in one call."""
MANY = 5000
"""From so many different captions on, their embeddings are kept in the cache."""


@dataclass(frozen=True)
class Embedded:
    """Captions as embeddings.

    Attributes:
        rows: int64 ``[N]``, the row of each caption in the table.
        table: float32 ``[U, E]``, one embedding for each different caption.
        encoder: spec of the encoder; None where it is not registered.
        identity: which weights it has.
    """

    rows: Tensor
    table: Tensor
    encoder: str | None
    identity: str


def embed_captions(captions: Sequence[str], encoder: str | TextEncoder) -> Embedded:
    """Encode N captions, each different one once; empty and blank ones are the null condition, zeros.

    Fewer than 5,000 different captions are encoded anew each time. More are kept in a file of the library's
    cache (``$FLOWPRIOR_CACHE``), which is named by a digest of the captions and of the encoder's identity, so
    that it is never read for others.

    Args:
        captions: N texts; equal ones share a row.
        encoder: name, spec or instance.

    Raises:
        UnknownComponentError: no encoder of that name.
        OptionError: no encoder of texts, or one whose package is missing.
        DataNotFoundError: its weights are missing.
    """
    from flowprior.encoders import Encoder, TextEncoder
    from flowprior.encoders.text import is_empty

    built = Encoder.registry.resolve(encoder)
    if not isinstance(built, TextEncoder):
        raise OptionError(f"encoder '{built.name}' encodes no texts; choose another, such as minilm")
    places = {text: row for row, text in enumerate(dict.fromkeys(captions))}
    rows = torch.tensor([places[text] for text in captions], dtype=torch.long)
    identity, spec = built.identity(), None
    with suppress(CheckpointError):  # An instance of a class that is not registered is this process's alone.
        spec = spec_of(Encoder.registry, built)
    table = _table(list(places), built, identity)
    table[[row for text, row in places.items() if is_empty(text)]] = 0
    return Embedded(rows, table, spec, identity)


def _table(texts: list[str], encoder: TextEncoder, identity: str) -> Tensor:
    def compute() -> dict[str, Tensor]:
        parts = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        return {"pooled": torch.cat([encoder.encode(part).pooled for part in parts]).float().cpu()}

    if len(texts) < MANY:
        return compute()["pooled"]
    digest = settings_digest({"captions": texts, "encoder": identity})
    described = {"encoder": identity, "captions": str(len(texts))}
    return cached_tensors(f"captions-{digest[:24]}", described, compute)["pooled"]
