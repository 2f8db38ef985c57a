"""The records of shards and of Hugging Face's data sets: decoding, labels and captions.

Labels that are stored as texts are whole numbers, or names of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.conditions.condition import MOST_LABELS
from flowprior.data.arrays import array_of_bytes
from flowprior.data.base import Split
from flowprior.data.captions import CaptionedData, split_by_caption
from flowprior.data.picture_files import SUFFIXES, NamedBytes, event_size, read_event
from flowprior.data.splits import split_indices
from flowprior.errors import InputError

PICTURES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
"""The suffixes of members that are images."""
ARRAYS = ("npy",)
"""The suffixes of members that are arrays."""
UNKNOWN = -1
"""The label of a record whose text is no known label."""


@dataclass(frozen=True)
class RecordConditions:
    """The labels or captions of N records, or neither.

    Attributes:
        labels: int64 ``[N]``, -1 for a record without a known label; None without labels.
        classes: the classes of the labels, or None.
        texts: a caption of each record, or None.
    """

    labels: Tensor | None = None
    classes: Classes | None = None
    texts: list[str] | None = None

    def rows(self, count: int, split: Split | None, owner: str, *, test_fraction: float, seed: int) -> Tensor:
        """Return the numbers int64 of the records with a known label, of one split or of all of them.

        Each label is divided separately, and captions so that the splits share none.

        Args:
            count: the number of all records.
            split: ``"train"`` or ``"test"``; None if the records are those of one split already.
            owner: the data set, for messages.
            test_fraction: the fraction of records in the test split, in [0, 1); 0 puts all into both.
            seed: the seed of the split.

        Raises:
            InputError: no record has a known label, or the split would be empty.
        """
        options: dict[str, Any] = {"test_fraction": test_fraction, "seed": seed}
        if split is not None and self.texts is not None:
            return split_by_caption([[text] for text in self.texts], split, **options)
        known = torch.arange(count) if self.labels is None else (self.labels != UNKNOWN).nonzero().flatten()
        if not len(known):
            raise InputError(
                f"{owner}: expected records with a known label, got none of {count:,}; choose other labels"
            )
        if split is None:
            return known
        labels = None if self.labels is None else self.labels[known]
        return known[split_indices(len(known), split, labels=labels, **options)]


class ConditionedRecords(CaptionedData):
    """The base class of data sets that take some of the stored records, with labels or captions.

    Args:
        name: the name for messages and tables.
        rows: the numbers of the records to take, int64 ``[N]``.
        conditions: the labels or captions of all stored records.
        encoder: the text encoder of captions; None leaves captioned records without a condition.

    Attributes:
        rows: as given.

    Raises:
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    def __init__(self, name: str, rows: Tensor, conditions: RecordConditions, encoder: str | None) -> None:
        self.name, self.rows = name, rows
        self.labels = None if conditions.labels is None else conditions.labels[rows]
        self.condition = Condition()
        if conditions.classes is not None:
            self.condition = Condition("labels", conditions.classes.count)
            self.class_names = conditions.classes.names
        if conditions.texts is not None:
            self.take_captions([[conditions.texts[row]] for row in rows.tolist()], encoder)

    def __len__(self) -> int:
        return len(self.rows)

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Return labels ``[B]`` or embeddings ``[B, E]``, without a look at the data samples."""
        return super().conditions(indices) if self.labels is None else self.labels[indices]


@dataclass(frozen=True)
class Classes:
    """The classes of a data set whose labels are stored as texts.

    Attributes:
        count: the number of classes.
        names: the name of each class; None if the texts are the numbers of the labels.
    """

    count: int
    names: list[str] | None = None

    @classmethod
    def of(cls, texts: Sequence[str], owner: str) -> Classes:
        """Return the classes of N texts: numbers if half of them are whole numbers, else names in order.

        Raises:
            InputError: no text is a label, or there are more than 100,000 different names.
        """
        numbers = [number for number in map(_number, texts) if number is not None]
        if 2 * len(numbers) >= len(texts) and numbers:
            return cls(max(numbers) + 1)
        names = sorted(set(texts) - {""})
        if not 0 < len(names) <= MOST_LABELS:
            raise InputError(
                f"{owner}: expected labels, 1 to {MOST_LABELS:,} different ones, got {len(names):,} in "
                f"{len(texts):,} records; pass captions as text= in place of label="
            )
        return cls(len(names), names)

    def labels(self, texts: Sequence[str]) -> Tensor:
        """Return the labels int64 ``[N]`` of texts, -1 for a text of no class."""
        if self.names is None:
            numbers = (_number(text) for text in texts)
            found = [UNKNOWN if number is None or number >= self.count else number for number in numbers]
        else:
            places = {name: place for place, name in enumerate(self.names)}
            found = [places.get(text, UNKNOWN) for text in texts]
        return torch.tensor(found, dtype=torch.long)


class EventDecoder:
    """The decoder of stored images or arrays, which all have one shape.

    Args:
        is_image: True for images, False for arrays.
        size: the height and width of decoded images, which are scaled on their shorter side and cropped;
            None keeps their size.
        channels: the channels of decoded images, 1 or 3.
    """

    def __init__(self, is_image: bool, size: int | None, channels: int) -> None:
        self.is_image, self.channels = is_image, channels
        self.sides = None if size is None else (size, size)

    def __call__(self, content: NamedBytes, expected: torch.Size | None) -> Tensor:
        """Decode one data sample to float32 ``[*event]``, an image to [-1, 1].

        Args:
            content: the stored bytes.
            expected: the shape of the first data sample; None for the first one itself.

        Raises:
            InputError: the bytes cannot be decoded, or give another shape.
        """
        if not self.is_image:
            return array_of_bytes(content, expected)
        size = self.sides or (event_size(content) if expected is None else (expected[1], expected[2]))
        return read_event(content, size, self.channels, scale=self.sides is not None)


def _number(text: str) -> int | None:
    """Return the label that a text of digits stands for; None for any other text."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text) if int(text) < MOST_LABELS else None
