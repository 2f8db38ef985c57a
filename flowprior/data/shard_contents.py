"""What lies in shards: which members are events and conditions, as options say or the first records show."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from flowprior.data.corrupt import printable
from flowprior.data.record_decoding import ARRAYS, PICTURES
from flowprior.data.shard_index import Wanted
from flowprior.data.tar_index import ShardCut, shard_records
from flowprior.errors import InputError, OptionError

AUTO, NONE = "auto", "none"
LOOKED_AT = 16
"""Records of the first shard that show what is in all."""


@dataclass(frozen=True)
class Contents:
    """Which members of a record are read.

    Attributes:
        events: suffixes of events, all of pictures or all of arrays.
        label: suffix or ``"json.FIELD"`` of labels; None for none.
        text: the same of captions.
    """

    events: tuple[str, ...]
    label: str | None
    text: str | None

    @property
    def is_image(self) -> bool:
        """Whether events are pictures."""
        return self.events[0].rpartition(".")[2] in PICTURES

    @property
    def wanted(self) -> Wanted:
        """What the index looks for."""
        return Wanted(self.events, self.label or self.text)


def contents_of(shard: Path, event: str, label: str, text: str) -> Contents:
    """What is read of shards, ``"auto"`` replaced by what the first records of ``shard`` have.

    Raises:
        OptionError: events of a kind that is not read, or both labels and captions.
        InputError: nothing among the first records that is an event.
    """
    if not {label, text} & {AUTO, NONE}:
        raise OptionError(
            f"shards: label={label} and text={text} exclude each other; set one of them to {NONE}"
        )
    there = _first_suffixes(shard) if AUTO in (event, label, text) else set()
    events = _events(shard, there) if event == AUTO else _given_events(event)
    if label == AUTO:
        label = "cls" if text in (AUTO, NONE) and "cls" in there else NONE
    if text == AUTO:
        text = "txt" if label == NONE and "txt" in there else NONE
    return Contents(events, None if label == NONE else label, None if text == NONE else text)


def _first_suffixes(shard: Path) -> set[str]:
    found: set[str] = set()
    try:
        for record in islice(shard_records(shard), LOOKED_AT):
            found |= record.places.keys()
    except ShardCut:  # It is told where all records are looked at.
        pass
    return found


def _events(shard: Path, there: set[str]) -> tuple[str, ...]:
    for kind in (PICTURES, ARRAYS):
        if there & set(kind):
            return kind
    found = printable(", ".join(sorted(there))) or "nothing"
    raise InputError(
        f"{shard}: expected records KEY.jpg, KEY.png or KEY.npy that follow each other, got members {found}; "
        "name the events' suffix with event="
    )


def _given_events(event: str) -> tuple[str, ...]:
    """Suffixes as webdataset writes them, ``jpg;png``; also longer ones such as ``image.jpg``."""
    events = tuple(part.strip().lower().removeprefix(".") for part in str(event).split(";") if part.strip())
    kinds = {_kind(suffix.rpartition(".")[2]) for suffix in events}
    if len(kinds) != 1 or None in kinds:
        raise OptionError(
            f"shards: event={event} is not possible; give suffixes of pictures, such as 'jpg;png', or npy: "
            "anything else would have to be unpickled"
        )
    return events


def _kind(suffix: str) -> str | None:
    return "picture" if suffix in PICTURES else "array" if suffix in ARRAYS else None
