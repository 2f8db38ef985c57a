"""Captions as conditions: embedded once each, split so that none is on both sides, and pictures with them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions
from flowprior.data.base import Split
from flowprior.data.folder import FolderData
from flowprior.data.picture_files import check_headers
from flowprior.data.splits import split_indices
from flowprior.errors import CheckpointError, OptionError
from flowprior.registry import spec_of
from flowprior.storage.digests import settings_digest
from flowprior.storage.tensor_files import cached_tensors

if TYPE_CHECKING:
    from flowprior.models import TextEncoder

DEFAULT_ENCODER = "minilm"
AT_ONCE = 1024
"""Captions that an encoder is given in one call."""
MANY = 5000
"""From so many different captions on, their embeddings are kept in the cache."""


class CaptionedPictures(FolderData):
    """Pictures in files, each with one caption or more; the conditions are the captions' embeddings.

    The condition of an event is the embedding of its first caption. A training step gets that of one of its
    captions, drawn anew at each visit (:meth:`training_condition`); evaluation gets the first.

    The headers of all pictures are read at once, pictures are decoded when a batch asks for them, and every
    different caption is encoded once. The empty caption is the null condition, zeros.

    Args:
        files: one picture each.
        captions: one or more texts for each picture, the first one first.
        encoder: name, spec or instance of a text encoder; None leaves the pictures without a condition.
        name: for messages and tables.
        size: as for :class:`FolderData`.
        channels: as for :class:`FolderData`.

    Raises:
        InputError: pictures that cannot be read, by number and name; or as :class:`FolderData`.
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    caption_id_kind = "texts"

    def __init__(
        self,
        files: list[Path],
        captions: Sequence[Sequence[str]],
        encoder: str | TextEncoder | None = DEFAULT_ENCODER,
        *,
        name: str = "captioned pictures",
        size: tuple[int, int] | None = None,
        channels: int = 3,
    ) -> None:
        check_headers(files, name)
        super().__init__(files, name=name, size=size, channels=channels)
        self.captions = [texts[0] for texts in captions]
        counts = torch.tensor([len(texts) for texts in captions])
        self._counts, self._first = counts, counts.cumsum(0) - counts
        self.condition_counts = counts if int(counts.max()) > 1 else None
        flat = [text for texts in captions for text in texts]
        self.caption_ids = flat
        self._table = None
        if encoder is not None:
            embedded = embed_captions(flat, encoder)
            self._rows, self._table = embedded.rows, embedded.table
            self.text_encoder, self.text_encoder_identity = embedded.encoder, embedded.identity
            self.condition = Condition("embeddings", embedded.table.shape[1])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pictures ``[B, *event]`` and the embeddings ``[B, E]`` of their first captions."""
        x, _ = super().batch(indices)
        return x, self.conditions(indices)

    def conditions(self, indices: Tensor) -> Tensor | None:
        """The embeddings ``[B, E]`` of the first captions alone; no picture is read."""
        return self._embeddings(self._first[indices])

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """The embeddings ``[B, E]`` of the first captions; None where they are not encoded."""
        return self._embeddings(self._first[indices])

    def training_condition(self, indices: Tensor, cond: Conditions | None, chance: Tensor) -> Tensor | None:
        """The embeddings ``[B, E]`` of one caption of each picture, the one that ``chance`` stands for."""
        counts = self._counts[indices]
        place = (chance.double() * counts).long().clamp_max(counts - 1)
        return self._embeddings(self._first[indices] + place)

    def _embeddings(self, places: Tensor) -> Tensor | None:
        return None if self._table is None else self._table[self._rows[places]]


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
    from flowprior.models import Encoder, TextEncoder
    from flowprior.models.encoders import is_empty

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
