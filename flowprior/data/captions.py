"""The captions of data sets: their embeddings as conditions, and splits that share no caption."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
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
"""The text encoder of captions by default."""
AT_ONCE = 1024
"""The number of captions that an encoder is given in one call."""
MANY = 5000
"""The number of different captions from which on their embeddings are kept in the cache."""


class CaptionedData(Data):
    """The base class of data with one caption or more for each data sample; conditions are embeddings.

    The condition of a data sample is the embedding of its first caption. A training step gets the embedding
    of one of its captions, drawn anew at each visit (:meth:`training_condition`). The empty caption is the
    null condition, zeros.
    """

    _embedded: Embedded | None = None

    def take_captions(self, captions: Sequence[Sequence[str]], encoder: str | TextEncoder | None) -> None:
        """Encode every different caption once.

        Args:
            captions: one or more texts for each data sample.
            encoder: a text encoder by name, spec or instance; None leaves the data without a condition.

        Raises:
            OptionError: no encoder of that name, or one whose package or weights are missing.
        """
        self.captions = [texts[0] for texts in captions]
        counts = torch.tensor([len(texts) for texts in captions])
        self._counts, self._first = counts, counts.cumsum(0) - counts
        self.condition_counts = counts if int(counts.max()) > 1 else None
        if encoder is not None:
            self._embedded = embedded = embed_captions(list(chain.from_iterable(captions)), encoder)
            self.text_encoder, self.text_encoder_identity = embedded.encoder, embedded.identity
            self.condition = Condition("embeddings", embedded.table.shape[1])

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Return the embeddings ``[B, E]`` of the first captions, without a look at the data samples."""
        return None if self._embedded is None else self._embedded.of(self._first[indices])

    def training_condition(self, indices: Tensor, cond: Conditions | None, chance: Tensor) -> Any:
        """Return the embeddings ``[B, E]`` of one caption of each data sample, chosen by ``chance``."""
        if self._embedded is None:
            return cond
        counts = self._counts[indices]
        place = (chance.double() * counts).long().clamp_max(counts - 1)
        return self._embedded.of(self._first[indices] + place)


@dataclass(frozen=True)
class Embedded:
    """The embeddings of N captions, of which U are different.

    Attributes:
        rows: the row of each caption in the table, int64 ``[N]``.
        table: the embedding of each different caption, float32 ``[U, E]``.
        encoder: the spec of the encoder; None for an encoder that is not registered.
        identity: the name and the digest of the encoder's weights.
    """

    rows: Tensor
    table: Tensor
    encoder: str | None
    identity: str

    def of(self, places: Tensor) -> Tensor:
        """Return the embeddings ``[B, E]`` of the captions at ``places``, int64 ``[B]``."""
        return self.table[self.rows[places]]


def embed_captions(captions: Sequence[str], encoder: str | TextEncoder) -> Embedded:
    """Encode N captions, each different one once; empty and blank ones become the null condition, zeros.

    The embeddings of 5,000 different captions or more are kept in the library's cache
    (``$FLOWPRIOR_CACHE``), in a file named by a digest of the captions and of the encoder's identity.

    Args:
        captions: N texts; equal ones share a row.
        encoder: a text encoder by name, spec or instance.

    Raises:
        UnknownComponentError: no encoder of that name.
        OptionError: an encoder of images, or one whose package is missing.
        DataNotFoundError: the weights of the encoder are missing.
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
    """Return the sorted indices int64 of one split; data samples that share a caption are in the same split.

    Captions count as equal if they differ only in upper and lower case or in white space.

    Args:
        captions: one or more texts for each data sample.
        split: ``"train"`` or ``"test"``.
        test_fraction: the fraction of groups (:func:`caption_groups`) in the test split, in [0, 1); 0 puts
            everything into both splits.
        seed: the seed of the split.

    Raises:
        OptionError: ``split``, ``test_fraction`` or ``seed`` is not possible.
        InputError: the split would be empty.
    """
    groups = caption_groups(captions)
    chosen = split_indices(int(groups.max()) + 1, split, test_fraction=test_fraction, seed=seed)
    return torch.isin(groups, chosen).nonzero().flatten()


def caption_groups(captions: Sequence[Sequence[str]]) -> Tensor:
    """Return the group int64 ``[N]`` of each data sample; a shared caption puts two into one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known: dict[str, int] = {}
    pairs = [
        (row, len(captions) + known.setdefault(_as_compared(text), len(known)))
        for row, texts in enumerate(captions)
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
