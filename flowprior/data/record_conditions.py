"""The conditions of records: labels or captions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.base import Data, Split
from flowprior.data.captions import embed_captions, split_by_caption
from flowprior.data.corrupt import CorruptRecords
from flowprior.data.label_texts import UNKNOWN, Classes
from flowprior.data.splits import split_indices
from flowprior.errors import InputError


@dataclass(frozen=True)
class RecordConditions:
    """Labels or captions of N records, or neither.

    Attributes:
        labels: int64 ``[N]``, -1 where a record has none that is known; or None.
        classes: which labels there are, or None.
        texts: a caption of each record, or None.
    """

    labels: Tensor | None = None
    classes: Classes | None = None
    texts: list[str] | None = None

    def usable(self, count: int) -> Tensor:
        """Numbers int64 of those of ``count`` records whose label is known."""
        return torch.arange(count) if self.labels is None else (self.labels != UNKNOWN).nonzero().flatten()

    def rows(
        self, count: int, split: Split, owner: str, *, divided: bool, test_fraction: float, seed: int
    ) -> Tensor:
        """Numbers int64 of those of ``count`` records that can be used; where ``divided``, those of a split.

        Raises:
            OptionError: ``split``, ``test_fraction`` or ``seed`` is not possible.
            InputError: there are none, or the part would be empty.
        """
        found = self.usable(count)
        if not len(found):
            raise InputError(f"{owner}: expected records with a known label, got none of {count:,}")
        return self.part(found, split, test_fraction, seed) if divided else found

    def part(self, rows: Tensor, split: Split, test_fraction: float, seed: int) -> Tensor:
        """Those of the records ``rows`` that belong to a split: each label on its own, captions by caption.

        Raises:
            OptionError: ``split``, ``test_fraction`` or ``seed`` is not possible.
            InputError: the part would be empty.
        """
        if self.texts is not None:
            captions = [[self.texts[row]] for row in rows.tolist()]
            return rows[split_by_caption(captions, split, test_fraction=test_fraction, seed=seed)]
        labels = None if self.labels is None else self.labels[rows]
        return rows[split_indices(len(rows), split, test_fraction=test_fraction, seed=seed, labels=labels)]


class ConditionedRecords(Data):
    """Records with labels or captions, of all those that there are.

    Args:
        name: for messages and tables.
        rows: which records, int64 ``[N]``, of all that there are.
        conditions: of all that there are.
        encoder: of captions; None leaves captioned records without a condition.
        corrupt: counts what was left out.

    Attributes:
        rows: as given.

    Raises:
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    caption_id_kind = "texts"

    def __init__(
        self,
        name: str,
        rows: Tensor,
        conditions: RecordConditions,
        encoder: str | None,
        corrupt: CorruptRecords,
    ) -> None:
        self.name, self.rows, self.corrupt = name, rows, corrupt
        self.labels = None if conditions.labels is None else conditions.labels[rows]
        self.condition = Condition()
        self._table: Tensor | None = None
        if conditions.classes is not None:
            self.condition = Condition("labels", conditions.classes.count)
            self.class_names = conditions.classes.names
        if conditions.texts is not None:
            self.captions = [conditions.texts[row] for row in rows.tolist()]
            if encoder is not None:
                self._embed(self.captions, encoder)

    def _embed(self, captions: list[str], encoder: str) -> None:
        embedded = embed_captions(captions, encoder)
        self._table, self._table_rows = embedded.table, embedded.rows
        self.text_encoder, self.text_encoder_identity = embedded.encoder, embedded.identity
        self.condition = Condition("embeddings", embedded.table.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Labels ``[B]`` or embeddings ``[B, E]``; no event is read."""
        if self._table is None:
            return None if self.labels is None else self.labels[indices]
        return self._table[self._table_rows[indices]]
