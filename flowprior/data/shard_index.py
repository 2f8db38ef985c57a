"""The index of a ``.tar`` shard: where its events lie and what their conditions say, kept in the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.data.corrupt import printable
from flowprior.data.tar_index import Members, ShardCut, shard_records
from flowprior.errors import InputError
from flowprior.storage.cache import cached_tensors
from flowprior.storage.digests import settings_digest

FORMAT = 1
MOST_EVENT_BYTES = 256 << 20
"""Bytes of one event's member; a batch holds many."""
MOST_CONDITION_BYTES = 1 << 20
"""Bytes of the member of a label or a caption."""
JSON = "json."
"""What precedes the name of a field where a condition is one of a ``.json``."""


class Texts:
    """Many short texts in two tensors, as bytes; a list of them would take ten times the memory.

    Args:
        letters: uint8 ``[L]``, all of them one after the other.
        ends: int64 ``[N]``, where each one ends.
    """

    def __init__(self, letters: Tensor, ends: Tensor) -> None:
        self.letters, self.ends = letters, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """The texts in UTF-8; the odd bytes of names as they are."""
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        letters = torch.frombuffer(bytearray(b"".join(encoded)) or bytearray(1), dtype=torch.uint8)
        ends = torch.tensor([len(text) for text in encoded], dtype=torch.long).cumsum(0)
        return cls(letters[: int(ends[-1]) if len(ends) else 0], ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        letters = self.letters[start : int(self.ends[number])]
        return bytes(letters.numpy()).decode("utf-8", "surrogateescape")

    def list(self) -> list[str]:
        """All of them."""
        letters, ends = bytes(self.letters.numpy()), [0, *self.ends.tolist()]
        parts = (letters[start:end] for start, end in pairwise(ends))
        return [part.decode("utf-8", "surrogateescape") for part in parts]


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a record.

    Attributes:
        events: suffixes of the event's member, the first that is there counts.
        condition: suffix of the condition's member, or ``"json.FIELD"``; None for none.
    """

    events: tuple[str, ...]
    condition: str | None


@dataclass(frozen=True)
class ShardIndex:
    """The records of a shard that have all that is wanted.

    Attributes:
        path: of the shard.
        places: int64 ``[R, 2]``, offset and size of each event's member.
        keys: name of each record.
        conditions: the text of each condition; of no records where none is wanted.
        wrong_keys: names of the records that lack something, and ``reasons`` what it is.
        cut: why the shard ends before its end; empty where it is whole.
        size: bytes of the shard when it was read.
    """

    path: Path
    places: Tensor
    keys: Texts
    conditions: Texts
    wrong_keys: Texts
    reasons: Texts
    cut: str
    size: int

    def __len__(self) -> int:
        return len(self.places)


def shard_index(path: Path, wanted: Wanted) -> ShardIndex:
    """The index of a shard, from the cache where it was made before.

    It lies in ``$FLOWPRIOR_CACHE`` under a digest of the shard's path, size and time of change and of what is
    wanted. Making it reads the headers of all members, and the contents of those of conditions.

    Raises:
        InputError: no uncompressed ``.tar``, or one that cannot be read.
    """
    status = path.stat()
    key = {
        "format": FORMAT,
        "path": os.fsencode(path.resolve()).hex(),
        "size": status.st_size,
        "time": status.st_mtime_ns,
        "wanted": [list(wanted.events), wanted.condition],
    }
    name = f"shard-{settings_digest(key)[:24]}"
    stored = cached_tensors(name, {"format": str(FORMAT)}, lambda: _tensors(path, wanted))
    texts = {part: Texts(stored[part], stored[f"{part}.ends"]) for part in _TEXTS}
    return ShardIndex(
        path,
        stored["places"],
        texts["keys"],
        texts["conditions"],
        texts["wrong_keys"],
        texts["reasons"],
        next(iter(texts["cut"].list()), ""),
        status.st_size,
    )


_TEXTS = ("keys", "conditions", "wrong_keys", "reasons", "cut")


def _tensors(path: Path, wanted: Wanted) -> dict[str, Tensor]:
    """The index as tensors."""
    places: list[tuple[int, int]] = []
    texts: dict[str, list[str]] = {part: [] for part in _TEXTS}
    with path.open("rb") as shard:
        try:
            for record in shard_records(path):
                try:
                    place, condition = _event(record, wanted), _condition(record, wanted, shard.fileno())
                except InputError as error:
                    texts["wrong_keys"].append(record.key)
                    texts["reasons"].append(str(error))
                    continue
                places.append(place)
                texts["keys"].append(record.key)
                texts["conditions"] += [] if condition is None else [condition]
        except ShardCut as error:
            last = f" after record {printable(texts['keys'][-1])}" if texts["keys"] else ""
            texts["cut"] = [f"{printable(str(error))}{last}"]
    found = {"places": torch.tensor(places, dtype=torch.long).reshape(-1, 2)}
    for part, values in texts.items():
        held = Texts.of(values)
        found |= {part: held.letters, f"{part}.ends": held.ends}
    return found


def _event(record: Members, wanted: Wanted) -> tuple[int, int]:
    """Offset and size of the event's member."""
    suffix = next((suffix for suffix in wanted.events if suffix in record.places), None)
    if suffix is None:
        raise InputError(f"it has no {' or '.join(wanted.events)}, only {_members_of(record)}")
    if record.repeated is not None:
        raise InputError(f"it has two members {printable(record.repeated)}")
    offset, size = record.places[suffix]
    if size > MOST_EVENT_BYTES:
        raise InputError(f"its {suffix} has {size:,} bytes, at most {MOST_EVENT_BYTES:,} are read")
    return offset, size


def _condition(record: Members, wanted: Wanted, shard: int) -> str | None:
    """The text of the condition; None where none is wanted."""
    if wanted.condition is None:
        return None
    is_field = wanted.condition.startswith(JSON)
    suffix = "json" if is_field else wanted.condition
    if suffix not in record.places:
        raise InputError(f"it has no {suffix}, only {_members_of(record)}")
    offset, size = record.places[suffix]
    if size > MOST_CONDITION_BYTES:
        raise InputError(f"its {suffix} has {size:,} bytes, at most {MOST_CONDITION_BYTES:,} are read")
    try:
        text = os.pread(shard, size, offset).decode("utf-8")
        return _field(text, wanted.condition.removeprefix(JSON)) if is_field else text.strip()
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {suffix} cannot be read: {printable(str(error))}") from error


def _field(text: str, name: str) -> str:
    """The text or whole number of a field of a JSON object, as a text."""
    held: Any = json.loads(text)
    value = held.get(name) if isinstance(held, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a text or a whole number as '{name}', got {type(value).__name__}")
    return str(value).strip().encode("utf-8", "replace").decode()


def _members_of(record: Members) -> str:
    return printable(", ".join(sorted(record.places)))
