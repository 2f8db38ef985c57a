"""Records of shards and of Hugging Face's data sets: their events decoded, their labels or captions.

Labels that are stored as texts are whole numbers, or names of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.conditions import MOST_LABELS, Condition
from flowprior.data.arrays import array_of_bytes
from flowprior.data.base import Split
from flowprior.data.captions import CaptionedData, split_by_caption
from flowprior.data.picture_files import MOST_EVENT_PIXELS, SUFFIXES, NamedBytes, picture_size, read_picture
from flowprior.data.splits import split_indices
from flowprior.errors import InputError
from flowprior.streams.data import CorruptRecords

PICTURES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
ARRAYS = ("npy",)
UNKNOWN = -1
"""Stands for a text that is no label."""


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

    def rows(
        self, count: int, split: Split, owner: str, *, divided: bool, test_fraction: float, seed: int
    ) -> Tensor:
        """Numbers int64 of those of ``count`` records that can be used; where ``divided``, those of a split.

        Each label is divided on its own, captions by caption.

        Raises:
            OptionError: ``split``, ``test_fraction`` or ``seed`` is not possible.
            InputError: there are none, or the part would be empty.
        """
        known = torch.arange(count) if self.labels is None else (self.labels != UNKNOWN).nonzero().flatten()
        if not len(known):
            raise InputError(f"{owner}: expected records with a known label, got none of {count:,}")
        if not divided:
            return known
        if self.texts is not None:
            captions = [[self.texts[row]] for row in known.tolist()]
            return known[split_by_caption(captions, split, test_fraction=test_fraction, seed=seed)]
        labels = None if self.labels is None else self.labels[known]
        return known[split_indices(len(known), split, test_fraction=test_fraction, seed=seed, labels=labels)]


class ConditionedRecords(CaptionedData):
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
        if conditions.classes is not None:
            self.condition = Condition("labels", conditions.classes.count)
            self.class_names = conditions.classes.names
        if conditions.texts is not None:
            self.take_captions([[conditions.texts[row]] for row in rows.tolist()], encoder)

    def __len__(self) -> int:
        return len(self.rows)

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Labels ``[B]`` or embeddings ``[B, E]``; no event is read."""
        return super().conditions(indices) if self.labels is None else self.labels[indices]


@dataclass(frozen=True)
class Classes:
    """Which labels there are.

    Attributes:
        count: of labels.
        names: one for each label; None where the texts are the numbers of the labels.
    """

    count: int
    names: list[str] | None = None

    @classmethod
    def of(cls, texts: Sequence[str], owner: str) -> Classes:
        """The classes of N texts: numbers where most of them are whole numbers, else names by the alphabet.

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
                f"{len(texts):,} records; take captions as text= in place of label="
            )
        return cls(len(names), names)

    def labels(self, texts: Sequence[str]) -> Tensor:
        """Labels int64 ``[N]`` of texts, -1 for what is none of these classes."""
        if self.names is None:
            numbers = (_number(text) for text in texts)
            found = [UNKNOWN if number is None or number >= self.count else number for number in numbers]
        else:
            places = {name: place for place, name in enumerate(self.names)}
            found = [places.get(text, UNKNOWN) for text in texts]
        return torch.tensor(found, dtype=torch.long)


class EventDecoder:
    """Decodes the events of a data set, which all have one shape.

    Args:
        is_image: whether they are pictures; else arrays.
        size: height and width that pictures are scaled to on their shorter side and cropped to; None takes
            them as they are.
        channels: of pictures, 1 or 3.
    """

    def __init__(self, is_image: bool, size: int | None, channels: int) -> None:
        self.is_image, self.channels = is_image, channels
        self.sides = None if size is None else (size, size)

    def __call__(self, content: NamedBytes, expected: torch.Size | None) -> Tensor:
        """The event float32 ``[*event]``, pictures in [-1, 1].

        Args:
            content: the bytes of its member.
            expected: shape of an event; None where this is the first.

        Raises:
            InputError: it cannot be decoded, or has another shape.
        """
        if not self.is_image:
            return array_of_bytes(content, expected)
        if self.sides is None:
            found = picture_size(content)
            if expected is None and found[0] * found[1] > MOST_EVENT_PIXELS:
                raise InputError(
                    f"{content}: {found[1]} x {found[0]} pixels are too large for an event; pass size="
                )
            if expected is not None and found != tuple(expected[1:]):
                raise InputError(
                    f"{content}: expected {expected[2]} x {expected[1]} pixels as in the first record, got "
                    f"{found[1]} x {found[0]}; pass size= to scale all pictures"
                )
        return read_picture(content, self.sides, self.channels)


def _number(text: str) -> int | None:
    """The label that a text is the number of; None for any other text."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text) if int(text) < MOST_LABELS else None
