"""The data set of shards, ``.tar`` files of webdataset, unpacked once into arrays of the cache.

A user means them by a folder, a file or a pattern; which of them are which split is said by their names.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path

import torch
from torch import Tensor

from flowprior.data.arrays import MappedRows
from flowprior.data.base import DATA, Split
from flowprior.data.captions import DEFAULT_ENCODER
from flowprior.data.folder import TEST_FOLDERS, own_split
from flowprior.data.records import UNKNOWN, Classes, ConditionedRecords, EventDecoder, RecordConditions
from flowprior.errors import DataNotFoundError, InputError, OptionError, import_extra
from flowprior.extensions.shards.unpacking import (
    AUTO,
    Contents,
    UnpackedShard,
    contents_of,
    printable,
    unpacked_shard,
)
from flowprior.progress.stages import stage
from flowprior.registry.options import is_whole
from flowprior.storage.user_paths import is_there, user_path

ENDING = ".tar"
MOST_CORRUPT = 0.001
"""The share of its records that a data set may lack by default."""
NAMED = 3
"""The number of records that one message names; it counts all."""


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

    Shards lie on this machine or a file system that it shares (extra ``shards``). Each is read once from its
    beginning to its end, and its events are kept in the library's cache (``$FLOWPRIOR_CACHE``), decoded and
    not packed: a byte for each number of an image, four for one of an array. From then on order, resuming,
    several processes and the fit of a prior are those of any other data set. Nothing is unpickled.

    Args:
        split: ``"train"`` or ``"test"``. Shards bring their own splits by sub-folders ``train`` and ``test``
            (or ``val``, ``validation``) or by these words in their names, as in ``train-0001.tar``; others
            are divided by ``test_fraction``, each label on its own, captions by caption.
        path: a folder of ``.tar`` files, one of them, or a pattern such as ``train-{0000..0127}.tar``.
        event: suffix of the events, ``jpg;png`` or ``npy``; ``"auto"`` takes what the first records have.
        label: suffix of labels, or ``json.FIELD`` of a ``.json``: whole numbers, or names of classes;
            ``"auto"`` takes ``cls`` where it is there, ``"none"`` none.
        text: the same of captions, in place of labels; ``"auto"`` takes ``txt`` where there is no ``cls``.
        encoder: the text encoder of captions; None leaves such records without a condition.
        size: side of every image; see :class:`FolderData`. None expects all of the first one's size.
        channels: the channels of images, 1 or 3.
        max_corrupt: the number, or the fraction, of corrupt records that may be left out.
        test_fraction: share of the records held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no shards there, or webdataset is not installed.
        InputError: a file that cannot be read to its end as ``.tar``; more corrupt records than may be.
        OptionError: impossible options.
        CheckpointError: the cache cannot be written.
    """
    files, training = shard_files(path, split)
    contents = contents_of((training or files)[0], event, label, text)
    name = str(path)
    decoder = EventDecoder(contents.is_image, size, channels)
    unpacked = _unpacked(files, contents, decoder)
    held = [shard for shard in unpacked if len(shard.events)]
    count = sum(len(shard.events) for shard in held)
    wrong = {f"{shard.path.name}: {record}": why for shard in unpacked for record, why in shard.wrong.items()}
    total = count + len(wrong)
    if not held:
        check_corrupt(name, wrong, total, max_corrupt)
        raise InputError(f"{name}: expected records, got none in {len(files)} shards")
    known = held if training is None or training == files else _unpacked(training, contents, decoder)
    conditions, unlabelled = _conditions(held, known, contents, name)
    check_corrupt(name, wrong | unlabelled, total, max_corrupt)
    own = None if training is not None else split
    rows = conditions.rows(count, own, name, test_fraction=test_fraction, seed=seed)
    data = ShardData(held, rows, conditions, encoder, contents.is_image, name)
    data.corrupt = wrong | unlabelled
    return data


class ShardData(ConditionedRecords):
    """The records of ``.tar`` shards, of whose unpacked arrays only a batch is in memory.

    Args:
        shards: the unpacked shards.
        rows: the numbers of the records to take, counted over all shards, int64 ``[N]``.
        conditions: the labels or captions of all records.
        encoder: the text encoder of captions; None leaves captioned records without a condition.
        is_image: True for images, False for arrays.
        name: the name for messages and tables.

    Raises:
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    def __init__(
        self,
        shards: Sequence[UnpackedShard],
        rows: Tensor,
        conditions: RecordConditions,
        encoder: str | None,
        is_image: bool,
        name: str,
    ) -> None:
        super().__init__(name, rows, conditions, encoder)
        self._shards, self.is_image = shards, is_image
        self._events = MappedRows([shard.events for shard in shards])
        self.event_shape = torch.Size(shards[0].events.shape[1:])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the data samples ``[B, *event]`` and conditions of these indices."""
        events = self._events.gather(self.rows[indices])
        return events / 127.5 - 1 if self.is_image else events, self.conditions(indices)

    def fingerprint(self) -> str:
        """Return the sha256 over the digests of the unpacked shards, and the rows."""
        digests = "".join(shard.digest for shard in self._shards)
        return hashlib.sha256(self.rows.numpy().tobytes() + digests.encode()).hexdigest()


def check_corrupt(owner: str, wrong: Mapping[str, str], total: int, most: float) -> None:
    """Warn of the corrupt records that are left out.

    Args:
        owner: the data set, for messages.
        wrong: the problem of each corrupt record, by its name.
        total: the number of all records.
        most: the number of records that may be corrupt, or their share from 0 to 1.

    Raises:
        OptionError: ``most`` is neither.
        InputError: more records are corrupt than may be.
    """
    is_count = is_whole(most) and most >= 0
    if not is_count and not (isinstance(most, float) and 0 <= most <= 1):
        raise OptionError(
            f"{owner}: max_corrupt={most!r} is not possible; give a number of records, such as 5, or a "
            "share of them from 0 to 1, such as 0.001"
        )
    if not wrong:
        return
    named, first = ", ".join(list(wrong)[:NAMED]), next(iter(wrong.values()))
    problem = (
        f"{owner}: {len(wrong):,} of {total:,} records cannot be used, such as {named}; the first: {first}"
    )
    limit = int(most) if is_count else int(most * total)
    if len(wrong) > limit:
        raise InputError(
            f"{problem}; that is more than max_corrupt={most:g} allows ({limit:,}); repair or remove them, "
            "or allow more"
        )
    warnings.warn(f"{problem}; they are left out", RuntimeWarning, stacklevel=3)


def _unpacked(files: Sequence[Path], contents: Contents, decoder: EventDecoder) -> list[UnpackedShard]:
    """Return all unpacked shards after a check that their data samples have one shape."""
    shards: list[UnpackedShard] = []
    with stage("unpack shards", len(files)) as unpacking:
        for file in files:
            shards.append(unpacked_shard(file, contents, decoder))
            unpacking.advance()
    held = [shard for shard in shards if len(shard.events)]
    for shard in held:
        found, first = shard.events.shape[1:], held[0].events.shape[1:]
        if found != first:
            raise InputError(
                f"{shard.path}: expected events {list(first)} as in {held[0].path.name}, got {list(found)}; "
                "pass size= to scale all images"
            )
    return shards


def _conditions(
    shards: Sequence[UnpackedShard], known: Sequence[UnpackedShard], contents: Contents, name: str
) -> tuple[RecordConditions, dict[str, str]]:
    """Return the labels or captions of all records, and the problems of records without a known label.

    The classes are those of the shards ``known``.
    """
    texts = [text for shard in shards for text in shard.texts]
    if contents.label is None:
        return RecordConditions(texts=None if contents.text is None else texts), {}
    classes = Classes.of([text for shard in known for text in shard.texts], name)
    labels = classes.labels(texts)
    wrong = {
        f"{shard.path.name}: event {place}": f"its label is '{printable(shard.texts[place])}'"
        for shard, own in zip(shards, labels.split([len(shard.texts) for shard in shards]), strict=True)
        for place in (own == UNKNOWN).nonzero().flatten().tolist()
    }
    return RecordConditions(labels, classes), wrong


def shard_files(path: str | None, split: Split) -> tuple[list[Path], list[Path] | None]:
    """Return the shards of ``split``, and those of the training split if the folder has its own splits.

    Args:
        path: a folder of ``.tar`` files; one file; or a pattern with ``*`` or, as webdataset writes it,
            ``{0000..0127}``. A folder with sub-folders ``train`` and ``test`` (or ``val``, ``validation``)
            has own splits, and so have shards with these words in their names, as ``train-0001.tar``.
        split: ``"train"`` or ``"test"``.

    Raises:
        OptionError: no path, or one that is no place on this machine.
        DataNotFoundError: no shards there.
    """
    if path is None:
        raise OptionError("shards: path is missing; write shards:path=FOLDER or give the path itself")
    if "://" in str(path) or str(path).startswith("pipe:"):
        raise OptionError(
            f"shards: {path} is a stream; put the shards on this machine or a file system that it shares"
        )
    root = user_path(path, "shards")
    is_folder = is_there(root, "is_dir")
    if is_folder and (own := own_split(root, split)):
        train = _of_folder(root / "train")
        return (train if split == "train" else _of_folder(own)), train
    found = _of_folder(root) if is_folder else _of_pattern(root)
    words = {file: set(re.split(r"[-_.\d]+", file.stem.lower())) for file in found}
    train = [file for file in found if "train" in words[file]]
    test = [file for file in found if words[file] & set(TEST_FOLDERS)]
    if train and test:
        return (train if split == "train" else test), train
    return found, None


def _of_folder(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.glob(f"*{ENDING}") if is_there(file, "is_file"))
    if not found:
        raise DataNotFoundError(f"shards: no {ENDING} files in {folder}; put uncompressed shards there")
    return found


def _of_pattern(pattern: Path) -> list[Path]:
    """Return the file of a name, or the files of a pattern."""
    if is_there(pattern, "is_file"):
        return [pattern]
    webdataset = import_extra("webdataset", "shards", "shards: reading .tar files")
    try:
        names = webdataset.SimpleShardList(str(pattern)).urls
    except ValueError as error:
        raise OptionError(
            f"shards: {pattern} is no pattern ({error}); write one such as train-{{0000..0127}}.tar"
        ) from error
    found = []
    for name in names:
        files = [Path(match) for match in sorted(glob(name)) if is_there(Path(match), "is_file")]
        if not files:
            raise DataNotFoundError(
                f"shards: no file {name}; pass path= a folder of {ENDING} files, one of them, or a pattern "
                "such as train-*.tar or train-{0000..0127}.tar"
            )
        found += files
    return list(dict.fromkeys(found))
