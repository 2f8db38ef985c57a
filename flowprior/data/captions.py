"""Captions as conditions: embedded once each, and split so that none is on both sides."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions
from flowprior.data.base import Data, Split
from flowprior.data.splits import split_indices
from flowprior.storage.digests import settings_digest
from flowprior.storage.tensor_files import cached_tensors

if TYPE_CHECKING:
    from flowprior.models import TextEncoder

DEFAULT_ENCODER = "minilm"
AT_ONCE = 1024
"""Captions that an encoder is given in one call."""
MANY = 5000
"""From so many different captions on, their embeddings are kept in the cache."""


class CaptionedData(Data):
    """Base class of data with captions, one or more for each event; the conditions are their embeddings.

    The condition of an event is the embedding of its first caption. A training step gets that of one of its
    captions, drawn anew at each visit (:meth:`training_condition`); evaluation gets the first. The empty
    caption is the null condition, zeros.
    """

    caption_id_kind = "texts"
    _embedded: Embedded | None = None

    def take_captions(self, captions: Sequence[Sequence[str]], encoder: str | TextEncoder | None) -> None:
        """Encode every different caption once.

        Args:
            captions: one or more texts for each event, the first one first.
            encoder: name, spec or instance of a text encoder; None leaves the events without a condition.

        Raises:
            OptionError: no encoder of that name, or one whose package or weights are missing.
        """
        self.captions = [texts[0] for texts in captions]
        self.caption_ids = [text for texts in captions for text in texts]
        counts = torch.tensor([len(texts) for texts in captions])
        self._counts, self._first = counts, counts.cumsum(0) - counts
        self.condition_counts = counts if int(counts.max()) > 1 else None
        if encoder is not None:
            self._embedded = embedded = embed_captions(self.caption_ids, encoder)
            self.text_encoder, self.text_encoder_identity = embedded.encoder, embedded.identity
            self.condition = Condition("embeddings", embedded.table.shape[1])

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Return the embeddings ``[B, E]`` of the first captions; no event is read."""
        return None if self._embedded is None else self._embedded.of(self._first[indices])

    def training_condition(self, indices: Tensor, cond: Conditions | None, chance: Tensor) -> Any:
        """Return the embeddings ``[B, E]`` of one caption of each event, which ``chance`` stands for."""
        if self._embedded is None:
            return cond
        counts = self._counts[indices]
        place = (chance.double() * counts).long().clamp_max(counts - 1)
        return self._embedded.of(self._first[indices] + place)


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

    def of(self, places: Tensor) -> Tensor:
        """Return the embeddings ``[B, E]`` of the captions at ``places``, int64 ``[B]``."""
        return self.table[self.rows[places]]


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
    from flowprior.models.encoders import is_empty, text_encoder

    built = text_encoder(encoder)
    places = {text: row for row, text in enumerate(dict.fromkeys(captions))}
    rows = torch.tensor([places[text] for text in captions], dtype=torch.long)
    identity = built.identity()
    table = _table(list(places), built, identity)
    table[[row for text, row in places.items() if is_empty(text)]] = 0
    return Embedded(rows, table, built.spec, identity)


def split_by_caption(
    captions: Sequence[Sequence[str]], split: Split, *, test_fraction: float, seed: int = 0
) -> Tensor:
    """Sorted indices int64 of the pictures of one part; pictures that share a caption are in the same one.

    Captions that differ in upper and lower case or in white space alone are the same.

    Args:
        captions: one or more texts for each picture.
        split: ``"train"`` or ``"test"``.
        test_fraction: share of the groups of pictures (mostly: of the different captions) held out, in [0,
            1); 0 puts all pictures into both parts.
        seed: another seed gives another split.

    Raises:
        OptionError: ``split``, ``test_fraction`` or ``seed`` is not possible.
        InputError: the part would be empty.
    """
    groups = caption_groups(captions)
    chosen = split_indices(int(groups.max()) + 1, split, test_fraction=test_fraction, seed=seed)
    return torch.isin(groups, chosen).nonzero().flatten()


def caption_groups(captions: Sequence[Sequence[str]]) -> Tensor:
    """Group int64 ``[N]`` of each picture; pictures that a chain of shared captions joins have the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known: dict[str, int] = {}
    pairs = [
        (picture, len(captions) + known.setdefault(_as_compared(text), len(known)))
        for picture, texts in enumerate(captions)
        for text in texts
    ]
    size = len(captions) + len(known)
    rows, columns = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return torch.from_numpy(labels[: len(captions)]).long()


def _table(texts: list[str], encoder: TextEncoder, identity: str) -> Tensor:
    def compute() -> dict[str, Tensor]:
        parts = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        return {"pooled": torch.cat([encoder.encode(part).pooled for part in parts]).float().cpu()}

    if len(texts) < MANY:
        return compute()["pooled"]
    digest = settings_digest({"captions": texts, "encoder": identity})
    described = {"encoder": identity, "captions": str(len(texts))}
    return cached_tensors(f"captions-{digest[:24]}", described, compute)["pooled"]


def _as_compared(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
