"""Pictures in files with their captions, whose embeddings are the conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions
from flowprior.data.caption_embeddings import embed_captions
from flowprior.data.folder import FolderData
from flowprior.data.picture_files import check_headers

if TYPE_CHECKING:
    from flowprior.encoders import TextEncoder

DEFAULT_ENCODER = "minilm"


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
