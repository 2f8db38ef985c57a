"""The unpacking of shards: records are read once through webdataset and kept as arrays in the cache."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.data.picture_files import NamedBytes
from flowprior.data.records import ARRAYS, PICTURES, EventDecoder
from flowprior.errors import InputError, OptionError, import_extra
from flowprior.storage.digests import settings_digest
from flowprior.storage.reading import read_json
from flowprior.storage.user_paths import cache_folder
from flowprior.storage.writing import replacing, write_json

Record = Mapping[str, Any]
"""The bytes of a record's members by their suffixes, and its key as ``__key__``."""
AUTO, NONE = "auto", "none"
JSON = "json."
"""The prefix of a field's name where the condition is a field of a ``.json`` member."""
LOOKED_AT = 16
"""The number of records of the first shard by which the members of all are found."""
MOST_TEXT_BYTES = 1 << 30
"""The largest number of bytes of the conditions of one shard."""


@dataclass(frozen=True)
class Contents:
    """The members of a record that are read.

    Attributes:
        events: suffixes of events, all of images or all of arrays; the first that is there counts.
        label: suffix or ``"json.FIELD"`` of labels; None for none.
        text: the same of captions.
    """

    events: tuple[str, ...]
    label: str | None
    text: str | None

    @property
    def is_image(self) -> bool:
        """True if the events are images."""
        return self.events[0].rpartition(".")[2] in PICTURES


@dataclass(frozen=True)
class UnpackedShard:
    """The unpacked records of a shard.

    Attributes:
        path: the shard.
        digest: the digest of the shard's path, size and modification time, and of the wanted members.
        events: ``[R, *event]``, memory-mapped: images uint8, arrays float32.
        texts: the text of each condition; of no records where none is wanted.
        wrong: the problems of the other records, by their names.
    """

    path: Path
    digest: str
    events: np.ndarray
    texts: list[str]
    wrong: dict[str, str]


def contents_of(shard: Path, event: str, label: str, text: str) -> Contents:
    """Return the members to read; ``"auto"`` becomes what the first records of ``shard`` have.

    Raises:
        OptionError: events of a kind that is not read, or both labels and captions.
        InputError: nothing among the first records that is an event.
    """
    if not {label, text} & {AUTO, NONE}:
        raise OptionError(
            f"shards: label={label} and text={text} exclude each other; set one of them to {NONE}"
        )
    first = islice(_records(shard), LOOKED_AT) if AUTO in (event, label, text) else ()
    there = {suffix for record in first for suffix in record}
    found = (kind for kind in (PICTURES, ARRAYS) if there & set(kind))
    events = next(found, ()) if event == AUTO else _given_events(event)
    if not events:
        raise InputError(
            f"{shard}: expected records KEY.jpg, KEY.png or KEY.npy that follow each other, got members "
            f"{_list_of(there)}; name the events' suffix with event="
        )
    if label == AUTO:
        label = "cls" if text in (AUTO, NONE) and "cls" in there else NONE
    if text == AUTO:
        text = "txt" if label == NONE and "txt" in there else NONE
    return Contents(events, None if label == NONE else label, None if text == NONE else text)


def unpacked_shard(shard: Path, contents: Contents, decoder: EventDecoder) -> UnpackedShard:
    """Return the records of a shard, from the cache if it was unpacked before.

    They lie in ``$FLOWPRIOR_CACHE`` in two files, the numbers of the events one after the other and a
    ``.json`` with the rest.

    Raises:
        DataNotFoundError: webdataset is not installed.
        InputError: no ``.tar``, or one that cannot be read to its end.
        CheckpointError: the cache cannot be written.
    """
    status = shard.stat()
    key = {"path": str(shard.resolve()), "size": status.st_size, "time": status.st_mtime_ns}
    wanted = asdict(contents) | {"sides": decoder.sides, "channels": decoder.channels}
    digest = settings_digest(key | wanted)[:24]
    numbers, about = (cache_folder() / f"shard-{digest}.{ending}" for ending in ("bin", "json"))
    if not (numbers.is_file() and about.is_file()):
        write_json(about, _unpack(shard, contents, decoder, numbers), indent=None)
    held = read_json(about, MOST_TEXT_BYTES)
    shape = tuple(held["shape"])
    dtype = np.uint8 if contents.is_image else np.float32
    events = np.memmap(numbers, dtype, "r", shape=shape) if shape[0] else np.empty(shape, dtype)
    return UnpackedShard(shard, digest, events, held["texts"], held["wrong"])


def _unpack(shard: Path, contents: Contents, decoder: EventDecoder, target: Path) -> dict[str, Any]:
    """Write the data samples of a shard to ``target`` and return their description."""
    expected: torch.Size | None = None
    wanted = contents.label or contents.text
    count, texts, wrong = 0, [], {}
    with replacing(target) as temporary, temporary.open("wb") as numbers:
        for place, record in enumerate(_records(shard)):
            key = record["__key__"]
            try:
                event = _event(record, contents, decoder, expected)
                text = _text(record, wanted) if wanted else None
            except InputError as error:
                reason = str(error).removeprefix(f"{key}: ")
                wrong[f"{printable(key)} (record {place})"] = printable(reason)
                continue
            expected, count = event.shape, count + 1
            texts += [] if text is None else [text]
            stored = ((event + 1) * 127.5).round().byte() if contents.is_image else event
            numbers.write(stored.numpy().tobytes())
    return {"shape": [count, *(expected or ())], "texts": texts, "wrong": wrong}


def _records(shard: Path) -> Iterator[Record]:
    """Yield the records of a shard in its order."""
    tar = import_extra("webdataset", "shards", "shards: reading .tar files").tariterators
    try:
        with shard.open("rb") as stream:
            yield from tar.group_by_keys(tar.tar_file_expander([{"url": shard.name, "stream": stream}]))
    except Exception as error:  # tarfile raises a dozen kinds, to whose arguments webdataset adds its own
        reason = str(error.args[0] if error.args else type(error).__name__).partition(" @ ")[0]
        raise InputError(
            f"{shard}: cannot be read to its end as .tar ({printable(reason)}); download it "
            "again, or take it away"
        ) from error


def _event(record: Record, contents: Contents, decoder: EventDecoder, expected: torch.Size | None) -> Tensor:
    suffix = next((suffix for suffix in contents.events if suffix in record), None)
    if suffix is None:
        raise InputError(f"it has no {' or '.join(contents.events)}, only {_list_of(record)}")
    event = decoder(NamedBytes(record[suffix], record["__key__"]), expected)
    if not torch.isfinite(event).all():
        raise InputError("it holds NaN or infinite numbers")
    return event


def _text(record: Record, wanted: str) -> str:
    """Return the text of the condition: a whole member, or a text or whole number in its JSON object."""
    is_json = wanted.startswith(JSON)
    suffix, name = ("json", wanted.removeprefix(JSON)) if is_json else (wanted, "")
    if suffix not in record:
        raise InputError(f"it has no {suffix}, only {_list_of(record)}")
    try:
        value: Any = record[suffix].decode("utf-8")
        if is_json:
            held = json.loads(value)
            value = held.get(name) if isinstance(held, dict) else None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"expected a text or a whole number as '{name}', got {type(value).__name__}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {suffix} cannot be read: {error}") from error
    return str(value).strip().encode("utf-8", "replace").decode()


def _list_of(record: Iterable[str]) -> str:
    """Return the suffixes of the members of records."""
    return printable(", ".join(sorted(name for name in record if not name.startswith("__")))) or "nothing"


def _given_events(event: str) -> tuple[str, ...]:
    """Return the suffixes in webdataset's notation ``jpg;png``; also longer ones such as ``image.jpg``."""
    events = tuple(part.strip().lower().removeprefix(".") for part in str(event).split(";") if part.strip())
    kinds = {suffix.rpartition(".")[2] for suffix in events}
    if not kinds or not (kinds <= set(PICTURES) or kinds <= set(ARRAYS)):
        raise OptionError(
            f"shards: event={event} is not possible; give suffixes of images, such as 'jpg;png', or npy: "
            "anything else would have to be unpickled"
        )
    return events


def printable(name: str) -> str:
    """Return a name from a file as one line of at most 120 characters, odd bytes as escapes."""
    if name.isprintable() and len(name) <= 120:
        return name
    escaped = name.encode("utf-8", "backslashreplace").decode()
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in escaped)
    return line if len(line) <= 120 else f"{line[:119]}…"
