"""A finite data set of data samples and conditions: its interface, its batches, and one held in memory.

Records that cannot be used are counted, named, left out, and refused beyond a stated number of them.
"""

from __future__ import annotations

import abc
import hashlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions, Parts
from flowprior.conditions.rows import embeddings_in, moved, rows
from flowprior.errors import InputError, OptionError
from flowprior.registry.options import is_whole
from flowprior.storage.digests import tensor_bytes

CAPTION = "caption"
"""The part of a condition that is a caption's, by its name."""
MOST_NUMBERS = 1 << 26
"""Numbers in a batch of :meth:`Data.batches`: 256 MiB of float32."""
MOST_CORRUPT = 0.001
"""Share of its records that a data set may lack where nobody says otherwise."""
NAMED = 3
"""Records that one message names; it counts all."""


@dataclass(frozen=True)
class Annotation:
    """The names and units of the D numbers of an event: those of the file are ``scale * x + shift``.

    Attributes:
        key: what the numbers are called together, such as ``"X_pca"``.
        names: of the numbers, in the order of the file, such as ``"PC1"``.
        scale: one for each number, or one for all.
        shift: likewise.
        label: what the labels are called together, such as ``"cell_type"``; None without labels.
    """

    key: str
    names: tuple[str, ...]
    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)
    label: str | None = None

    def stored(self, x: Tensor) -> Tensor:
        """Return events ``[N, D]`` in the units of the file, float32."""
        scale, shift = (torch.tensor(values, dtype=torch.float64) for values in (self.scale, self.shift))
        return (x.detach().cpu().double() * scale + shift).float()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def of_facts(cls, facts: Any, size: int) -> Annotation | None:
        """Read the annotation in a flow's metadata; None where there is none that fits ``size`` numbers.

        Args:
            facts: of :func:`flowprior.data.base.data_facts`, or anything else that was read from a file.
            size: D.
        """
        found = facts.get("annotation", {}) if isinstance(facts, Mapping) else {}
        try:
            scale, shift = (tuple(map(float, found[name])) for name in ("scale", "shift"))
            annotation = cls(found["key"], tuple(found["names"]), scale, shift, found["label"])
        except (KeyError, TypeError, ValueError):
            return None
        return annotation if len(annotation.names) == size else None


class Observation(abc.ABC):
    """The observation of an event in its condition, so that samples can be compared with their conditions."""

    @abc.abstractmethod
    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return the observation of events x ``[B, *event]`` and the given one: two tensors of one shape.

        Args:
            x: events, such as restorations.
            cond: the observations that they are restorations of, ``[B, …]``.
        """


class Data(abc.ABC):
    """A finite data set of events x1 and conditions, addressed by index.

    Attributes:
        name: registered name or file, for messages and tables.
        condition: kind and size of the condition.
        event_shape: shape of one x1.
        is_image: events are pictures ``[channels, height, width]`` in [-1, 1].
        class_names: one name for each label, or None.
        label_names: of a condition of several parts, the names of each part's labels by the part's name, or
            None. A flow that is trained on the data remembers them, and takes them in place of labels.
        text_encoder: spec of the encoder that made embeddings of captions, such as ``"minilm"``, or None. A
            flow that is trained on the data remembers it, and samples from captions.
        text_encoder_identity: which weights they were, as its ``identity()`` says; None is not checked.
        captions: one text for each event, in the order of the events, or None.
        caption_ids: what tells captions apart, such as code points, in any order; all captions where events
            have several. None takes the texts themselves.
        caption_id_kind: what these ids are, for model cards.
        split: ``"train"`` or ``"test"`` where :func:`load_data` read it, else None.
        spec: what :func:`load_data` reads the training split by, a name, spec string or path; else None.
        licences: SPDX identifiers of what the data consist of, as far as they are known.
        condition_counts: int64 ``[N]``, how many conditions each event has, where any has more than the one
            of :meth:`batch`, such as five captions; else None.
        groups: int64 ``[N]``, a number for each event; events with the same one are nearly alike, such as
            overlapping windows of one series, and are held out together or not at all. None where each
            stands for itself.
        look_alikes: int64 ``[N]``, a number for each event; events with the same one look nearly alike, such
            as drawings of one thing in one style. They are the ``groups`` of data whose conditions are made
            of the events themselves, such as those of restoration. None where none do.
        corrupt: counts and names the records that were left out, of data that may have some; else None.
        annotation: names and units of the numbers of a vector, where the data come from a file of cells.
        remarks: what was done to the numbers of a file, a line each, for whoever trains on them.
        observation: what of an event its condition shows, where the condition is an observation of it, such
            as a low-resolution picture; else None.
    """

    name: str
    condition: Condition
    event_shape: torch.Size
    is_image: bool = False
    class_names: list[str] | None = None
    label_names: Mapping[str, Sequence[str]] | None = None
    text_encoder: str | None = None
    text_encoder_identity: str | None = None
    captions: Sequence[str] | None = None
    caption_ids: Sequence[str] | None = None
    caption_id_kind: str = "ids"
    split: str | None = None
    spec: str | None = None
    licences: Sequence[str] = ()
    condition_counts: Tensor | None = None
    groups: Tensor | None = None
    look_alikes: Tensor | None = None
    corrupt: CorruptRecords | None = None
    observation: Observation | None = None
    annotation: Annotation | None = None
    remarks: Sequence[str] = ()

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """(x1 float32 ``[B, *event]``, condition or None) of ``indices`` int64 ``[B]``, in their order."""

    def conditions(self, indices: Tensor) -> Conditions | None:
        """The conditions alone; data sets that read files give them without reading the events."""
        return self.batch(indices)[1]

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Embeddings ``[B, E]`` of the captions of ``indices``, whatever the condition is; None without any.

        Data sets that do not say otherwise have them in their condition: in the part ``caption`` where there
        is one, else in all of it (:func:`flowprior.conditions.rows.embeddings_in`).
        """
        cond = self.conditions(indices)
        if isinstance(cond, Parts) and CAPTION in cond:
            return embeddings_in(cond[CAPTION])
        return embeddings_in(cond)

    def scorer_split(self) -> Data | None:
        """Events and captions that are in neither split, for learning an image-text score; None without any.

        Where there are none, such a score is learned from a part of the training split.
        """
        return None

    def fingerprint(self) -> str:
        """Return the sha256 over all events, in one pass.

        Data sets of files that are read when they are asked for take names, sizes and times of change in
        place of the contents.
        """
        digest = hashlib.sha256(f"{list(self.event_shape)} {len(self)}".encode())
        for x, _ in self.batches():
            digest.update(tensor_bytes(x.float()))
        return digest.hexdigest()

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        """The conditions that a training step gets; ``cond``, but where events have several.

        Args:
            indices: int64 ``[B]``.
            cond: what :meth:`batch` gave for them.
            chance: floating point ``[B]`` in [0, 1): k of n equal parts stands for the k-th of n conditions.
        """
        return cond

    def batches(self, size: int = 4096, device: torch.device | None = None) -> DataBatches:
        """The whole data set in order, in batches; can be iterated again and again."""
        return DataBatches(self, size, device)


class DataBatches:
    """The batches of a :class:`Data`, which can be iterated again, as ``Prior.fit`` takes them.

    Args:
        data: to go through.
        size: events in a batch; fewer where so many would take more than 256 MiB.
        device: where they go; None leaves them where they are.
    """

    def __init__(self, data: Data, size: int, device: torch.device | None = None) -> None:
        self.data, self.device = data, device
        self.size = max(1, min(size, MOST_NUMBERS // max(1, data.event_shape.numel())))

    def __len__(self) -> int:
        return -(-len(self.data) // self.size)

    @property
    def groups(self) -> Tensor | None:
        """The groups of the whole data set's events; None where each event stands for itself."""
        return self.data.groups

    def __iter__(self) -> Iterator[tuple[Tensor, Conditions | None]]:
        for start in range(0, len(self.data), self.size):
            x, cond = self.data.batch(torch.arange(start, min(start + self.size, len(self.data))))
            yield (x, cond) if self.device is None else (x.to(self.device), moved(cond, self.device))


class DerivedData(Data):
    """Base class of data that another data set's events or conditions are made into.

    Args:
        data: the other data set, all of whose attributes are taken over, but for its spec.
    """

    def __init__(self, data: Data) -> None:
        for attribute in inspect.get_annotations(Data):
            setattr(self, attribute, getattr(data, attribute))
        self.data = data
        self.spec = None  # no name reads it

    def __len__(self) -> int:
        return len(self.data)

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Those of the other data set."""
        return self.data.caption_embeddings(indices)

    def scorer_split(self) -> Data | None:
        """That of the other data set."""
        return self.data.scorer_split()


class TensorData(Data):
    """A data set held in memory.

    Args:
        x: events ``[N, *event]``, float32.
        cond: labels ``[N]``, embeddings ``[N, E]``, token states, parts or None.
        name: for messages and tables.
        classes: number of classes where the labels may not show them all.
        condition: kind and size, where ``cond`` may not show all of its labels.
    """

    def __init__(
        self,
        x: Tensor,
        cond: Conditions | None = None,
        *,
        name: str = "tensors",
        classes: int | None = None,
        class_names: list[str] | None = None,
        is_image: bool = False,
        condition: Condition | None = None,
    ) -> None:
        self.x = x
        self.cond = cond
        self.name = name
        found = Condition("labels", classes) if classes is not None else Condition.of(cond)
        self.condition = condition or found
        self.event_shape = x.shape[1:]
        self.class_names = class_names
        self.is_image = is_image

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor) -> tuple[Tensor, Any]:
        return self.x[indices], rows(self.cond, indices)


def every_condition(data: Data) -> Data:
    """Return ``data``; if its events have several conditions, with one event for each of them.

    A prior is fitted to it, so that it knows all the conditions that training draws from.
    """
    return data if data.condition_counts is None else EveryCondition(data, data.condition_counts)


COPIED = (
    "name",
    "condition",
    "event_shape",
    "is_image",
    "class_names",
    "label_names",
    "text_encoder",
    "text_encoder_identity",
)
"""What stays as it is where each event comes as often as it has conditions."""


class EveryCondition(Data):
    """A data set with each event of ``data`` as often as it has conditions, one after the other.

    Args:
        data: the whole.
        counts: int64 ``[N]``, how many conditions each of its events has.
    """

    def __init__(self, data: Data, counts: Tensor) -> None:
        self.data = data
        for name in COPIED:
            setattr(self, name, getattr(data, name))
        self._events = torch.arange(len(counts)).repeat_interleave(counts)
        self.groups = None if data.groups is None else data.groups[self._events]
        first = (counts.cumsum(0) - counts)[self._events]
        place = torch.arange(len(self._events)) - first
        self._chance = (place + 0.5) / counts[self._events]

    def __len__(self) -> int:
        return len(self._events)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """The events ``[B, *event]`` and the conditions that these indices stand for."""
        events = self._events[indices]
        x, cond = self.data.batch(events)
        return x, self.data.training_condition(events, cond, self._chance[indices])

    def scorer_split(self) -> Data | None:
        return self.data.scorer_split()

    def conditions(self, indices: Tensor) -> Conditions | None:
        """The conditions alone that these indices stand for."""
        events = self._events[indices]
        return self.data.training_condition(events, self.data.conditions(events), self._chance[indices])


class CorruptRecords:
    """The corrupt records of one data set, which are left out of it.

    Args:
        owner: the data set, for messages.
        total: how many records it has, the corrupt ones included.
        most: how many may be corrupt: a whole number, or a share from 0 to 1 of ``total``.

    Attributes:
        found: what is wrong with each of them, by its name, in the order in which they were found.
        limit: how many may be corrupt.

    Raises:
        OptionError: ``most`` is neither.
    """

    def __init__(self, owner: str, total: int, most: float = MOST_CORRUPT) -> None:
        self.owner, self.total, self.most = owner, total, most
        is_number = is_whole(most) and most >= 0
        if not is_number and not (isinstance(most, float) and 0 <= most <= 1):
            raise OptionError(
                f"{owner}: max_corrupt={most!r} is not possible; give a number of records, such as 5, or a "
                "share of them from 0 to 1, such as 0.001"
            )
        self.limit = int(most) if is_number else int(most * total)
        self.found: dict[str, str] = {}

    @property
    def count(self) -> int:
        """The number of corrupt records."""
        return len(self.found)

    def add(self, wrong: dict[str, str]) -> None:
        """Count corrupt records and warn of them.

        Args:
            wrong: what is wrong, by the record's name.

        Raises:
            InputError: there are more than the limit allows.
        """
        if not wrong:
            return
        self.found.update(wrong)
        named, first = ", ".join(list(wrong)[:NAMED]), next(iter(wrong.values()))
        problem = (
            f"{self.owner}: {self.count:,} of {self.total:,} records cannot be used, such as {named}; the "
            f"first: {first}"
        )
        if self.count > self.limit:
            raise InputError(
                f"{problem}; that is more than max_corrupt={self.most:g} allows ({self.limit:,}); repair or "
                "remove them, or allow more"
            )
        warnings.warn(f"{problem}; they are left out", RuntimeWarning, 2)

    def facts(self) -> dict[str, Any]:
        """Return the number, limit and first names, as plain JSON values for a model card."""
        return {"count": self.count, "limit": self.limit, "first": list(self.found)[:NAMED]}


def printable(name: str) -> str:
    """A name from a file as one line of at most 120 characters, odd bytes as escapes."""
    if name.isprintable() and len(name) <= 120:
        return name
    escaped = name.encode("utf-8", "backslashreplace").decode()
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in escaped)
    return line if len(line) <= 120 else f"{line[:119]}…"
