"""Shards: ``.tar`` files of records as webdataset writes them, read at any place by an index."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.captioned import DEFAULT_ENCODER
from flowprior.data.corrupt import MOST_CORRUPT, CorruptRecords, printable
from flowprior.data.folder import check_shape
from flowprior.data.picture_files import NamedBytes
from flowprior.data.record_conditions import DecodedRecords
from flowprior.data.record_decoding import EventDecoder
from flowprior.data.shard_contents import AUTO, contents_of
from flowprior.data.shard_files import shard_files
from flowprior.data.shard_index import ShardIndex
from flowprior.data.shard_records import ShardRecords, read_shards
from flowprior.data.splits import check_split
from flowprior.errors import InputError
from flowprior.storage.writing import one_line


class ShardData(DecodedRecords):
    """Records of ``.tar`` shards, decoded when a batch asks for them.

    Args:
        records: the index of all shards, and what the conditions are.
        rows: which of its records, int64 ``[N]``.
        decoder: from the bytes of a member to an event.
        encoder: of captions; None leaves captioned records without a condition.
        corrupt: counts what cannot be read.
        name: for messages and tables.

    Raises:
        InputError: more records than may be cannot be read, or a shard changed after it was indexed.
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    def __init__(
        self,
        records: ShardRecords,
        rows: Tensor,
        decoder: EventDecoder,
        encoder: str | None,
        corrupt: CorruptRecords,
        name: str,
    ) -> None:
        super().__init__(name, rows, records.conditions, decoder, encoder, corrupt)
        self.records = records
        self.find_shape()

    def read_events(self, numbers: list[int]) -> list[Tensor | InputError]:
        owners, places = self.records.place(self.rows[torch.tensor(numbers, dtype=torch.long)])
        found: list[Tensor | InputError] = [InputError("it was not read")] * len(numbers)
        for owner in owners.unique().tolist():
            index = self.records.shards[owner]
            mine = (owners == owner).nonzero().flatten()
            with _opened(index) as shard:
                for place in mine[places[mine].argsort()].tolist():
                    found[place] = self._event(shard, index, int(places[place]))
        return found

    def _event(self, shard: BinaryIO, index: ShardIndex, row: int) -> Tensor | InputError:
        offset, size = index.places[row].tolist()
        content = os.pread(shard.fileno(), size, offset)
        if len(content) != size:
            raise _changed(index)
        try:
            return self.decoder(NamedBytes(content, _name(index, row)), self.known_shape)
        except InputError as error:
            return error

    def record_name(self, number: int) -> str:
        owner, row = (int(part) for part in self.records.place(self.rows[number][None]))
        return _name(self.records.shards[owner], row)

    def fingerprint(self) -> str:
        """sha256 over names, sizes and times of change of the shards, the records and the shape of events."""
        digest = hashlib.sha256(f"{list(self.event_shape)} {self.decoder.sides}".encode())
        digest.update(self.rows.numpy().tobytes())
        for index in self.records.shards:
            digest.update(f"{index.size} {index.path.stat().st_mtime_ns}\0".encode())
            digest.update(os.fsencode(index.path.name) + b"\0")
        return digest.hexdigest()


def _name(index: ShardIndex, row: int) -> str:
    return f"{index.path.name}: {printable(index.keys[row])} at byte {int(index.places[row, 0])}"


def _opened(index: ShardIndex) -> BinaryIO:
    try:
        shard = index.path.open("rb")
    except OSError as error:
        raise InputError(f"{index.path}: cannot be opened ({one_line(error)}); put it back") from error
    if os.fstat(shard.fileno()).st_size != index.size:
        shard.close()
        raise _changed(index)
    return shard


def _changed(index: ShardIndex) -> InputError:
    return InputError(f"{index.path}: has changed since this process indexed it; put it back, or start anew")


@DATA.register("shards", aliases=("webdataset",))
def shards(
    split: Split = "train",
    path: str | None = None,
    event: str = AUTO,
    label: str = AUTO,
    text: str = AUTO,
    encoder: str | None = DEFAULT_ENCODER,
    size: int | None = None,
    channels: int = 3,
    max_corrupt: float = MOST_CORRUPT,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> ShardData:
    """Records in .tar shards as webdataset writes them: KEY.jpg or KEY.npy with KEY.cls or KEY.txt.

    Shards lie on this machine or a file system that it shares. Their headers are read once, and the index is
    kept in the cache; from then on any record is read where it lies, so that order, resuming, several
    processes and the fit of a prior are those of any other data set. Nothing is unpacked or unpickled.

    Args:
        split: ``"train"`` or ``"test"``. Shards bring their own splits by sub-folders ``train`` and ``test``
            (or ``val``, ``validation``) or by these words in their names, as in ``train-0001.tar``; others
            are divided by ``test_fraction``, each label on its own, captions by caption.
        path: a folder of ``.tar`` files, one of them, or a pattern such as ``train-{0000..0127}.tar``.
        event: suffix of the events, ``jpg;png`` or ``npy``; ``"auto"`` takes what the first records have.
        label: suffix of labels, or ``json.FIELD`` of a ``.json``: whole numbers, or names of classes;
            ``"auto"`` takes ``cls`` where it is there, ``"none"`` none.
        text: the same of captions, in place of labels; ``"auto"`` takes ``txt`` where there is no ``cls``.
        encoder: of captions; None leaves such records without a condition.
        size: side of every picture; see :class:`FolderData`. None expects all of the first one's size.
        channels: of pictures, 1 or 3.
        max_corrupt: how many records may be corrupt: a number, or a share of all.
        test_fraction: share of the records held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no shards there.
        InputError: a file that is no uncompressed ``.tar``; more corrupt records than may be.
        OptionError: impossible options.
    """
    check_split(split)
    check_shape("shards", size, channels)
    files, training = shard_files(path, split)
    contents = contents_of((training or files)[0], event, label, text)
    name = str(path)
    records, corrupt = read_shards(files, training, contents, max_corrupt, name)
    divided = {"divided": training is None, "test_fraction": test_fraction, "seed": seed}
    rows = records.conditions.rows(len(records), split, name, **divided)
    decoder = EventDecoder(contents.is_image, size, channels)
    return ShardData(records, rows, decoder, encoder, corrupt, name)
