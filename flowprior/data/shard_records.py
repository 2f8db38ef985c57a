"""The records of several shards as one list, with labels or captions, and the count of what some lack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median_high

import torch
from torch import Tensor

from flowprior.data.corrupt import CorruptRecords, printable
from flowprior.data.label_texts import UNKNOWN, Classes
from flowprior.data.record_conditions import RecordConditions
from flowprior.data.shard_contents import Contents
from flowprior.data.shard_index import ShardIndex, shard_index
from flowprior.errors import InputError


@dataclass(frozen=True)
class ShardRecords:
    """Records, counted over all shards in their order.

    Attributes:
        shards: their indices.
        conditions: labels or captions of all records.
    """

    shards: list[ShardIndex]
    conditions: RecordConditions

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def place(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the shard, and record in it, of records ``[B]``."""
        lengths = torch.tensor([len(shard) for shard in self.shards])
        ends = lengths.cumsum(0)
        owners = torch.searchsorted(ends, rows, right=True)
        return owners, rows - (ends - lengths)[owners]


def read_shards(
    files: list[Path], training: list[Path] | None, contents: Contents, max_corrupt: float, name: str
) -> tuple[ShardRecords, CorruptRecords]:
    """The records of ``files`` that have all that is wanted, and the count of those that have not.

    Args:
        files: the shards.
        training: shards whose labels say which classes there are; None takes ``files``.
        contents: what is read of a record.
        max_corrupt: number or share of the records that may lack something.
        name: of the data set, for messages.

    Raises:
        InputError: more than that, or no record at all.
    """
    shards = [shard_index(file, contents.wanted) for file in files]
    lost = _lost(shards)
    total = sum(len(shard) + len(shard.reasons) for shard in shards) + sum(lost.values())
    corrupt = CorruptRecords(name, total, max_corrupt)
    wrong = _incomplete(shards)
    if any(map(len, shards)):
        records = ShardRecords(shards, _conditions(shards, files, training, contents, name))
        _add_unlabelled(wrong, records)
    else:
        corrupt.add(wrong, "they are left out")
        raise InputError(f"{name}: expected records, got none in {len(files)} shards")
    corrupt.add(wrong, "they are left out")
    for place, count in lost.items():
        about = f"about {count:,} at the end of {shards[place].path.name}"
        corrupt.add({about: shards[place].cut}, "what lies behind is left out", lost=count)
    return records, corrupt


def _incomplete(shards: list[ShardIndex]) -> dict[str, str]:
    """What is wrong with records that lack something, by their names."""
    wrong: dict[str, str] = {}
    for shard in shards:
        for key, reason in zip(shard.wrong_keys.list(), shard.reasons.list(), strict=True):
            wrong[_new(f"{shard.path.name}: {printable(key)}", wrong)] = reason
    return wrong


def _add_unlabelled(wrong: dict[str, str], records: ShardRecords) -> None:
    """Add the records whose text is no label."""
    labels = records.conditions.labels
    if labels is None:
        return
    owners, rows = records.place((labels == UNKNOWN).nonzero().flatten())
    for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
        shard = records.shards[owner]
        name = _new(f"{shard.path.name}: {printable(shard.keys[row])}", wrong)
        wrong[name] = f"its label is '{printable(shard.conditions[row])}'"


def _lost(shards: list[ShardIndex]) -> dict[int, int]:
    """How many records damaged shards lack, judged by the middle one of the whole ones; at least 1 each."""
    whole = [len(shard) + len(shard.reasons) for shard in shards if not shard.cut]
    usual = median_high(whole) if whole else 0
    return {
        place: max(1, usual - len(shard) - len(shard.reasons))
        for place, shard in enumerate(shards)
        if shard.cut
    }


def _conditions(
    shards: list[ShardIndex], files: list[Path], training: list[Path] | None, contents: Contents, name: str
) -> RecordConditions:
    if contents.wanted.condition is None:
        return RecordConditions()
    texts = [text for shard in shards for text in shard.conditions.list()]
    if contents.label is None:
        return RecordConditions(texts=texts)
    known = texts
    if training is not None and training != files:
        known = [text for file in training for text in shard_index(file, contents.wanted).conditions.list()]
    classes = Classes.of(known, name)
    return RecordConditions(classes.labels(texts), classes)


def _new(name: str, taken: dict[str, str]) -> str:
    """The name, told apart from an equal one that another record has."""
    while name in taken:
        name = f"{name} (again)"
    return name
