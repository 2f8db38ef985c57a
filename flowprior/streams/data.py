"""A finite data set of data samples and conditions: its interface, its batches, and one held in memory."""

from __future__ import annotations

import abc
import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions, Parts
from flowprior.conditions.rows import embeddings_in, moved, rows
from flowprior.storage.digests import tensor_bytes

CAPTION = "caption"
"""The part of a condition that is a caption's, by its name."""
MOST_NUMBERS = 1 << 26
"""Numbers in a batch of :meth:`Data.batches`: 256 MiB of float32."""


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
        corrupt: the problems of the records that were left out, by the records' names.
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
    split: str | None = None
    spec: str | None = None
    licences: Sequence[str] = ()
    condition_counts: Tensor | None = None
    groups: Tensor | None = None
    look_alikes: Tensor | None = None
    corrupt: Mapping[str, str] = {}
    observation: Observation | None = None
    annotation: Annotation | None = None
    remarks: Sequence[str] = ()

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """Return x1 float32 ``[B, *event]`` and the conditions, or None, of ``indices`` int64 ``[B]``."""

    def conditions(self, indices: Tensor) -> Conditions | None:
        """Return the conditions alone; data sets that read files give them without reading the events."""
        return self.batch(indices)[1]

    def sources(self, indices: Tensor) -> Tensor | None:
        """Return the source samples x0 ``[B, *event]`` that the data set gives; None if it gives none."""
        return None

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Return the embeddings ``[B, E]`` of the captions of ``indices``; None without captions.

        Data sets that do not say otherwise have them in their condition: in the part ``caption`` where there
        is one, else in all of it (:func:`flowprior.conditions.rows.embeddings_in`).
        """
        cond = self.conditions(indices)
        return embeddings_in(cond[CAPTION] if isinstance(cond, Parts) and CAPTION in cond else cond)

    def scorer_split(self) -> Data | None:
        """Return events and captions of neither split, for learning an image-text score; None without any.

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
        """Return the conditions that a training step gets: ``cond``, unless events have several.

        Args:
            indices: int64 ``[B]``.
            cond: what :meth:`batch` gave for them.
            chance: floating point ``[B]`` in [0, 1): k of n equal parts stands for the k-th of n conditions.
        """
        return cond

    def batches(self, size: int = 4096, device: torch.device | None = None) -> DataBatches:
        """Return the whole data set in order, in batches, which can be iterated again and again."""
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
    """The base class of data that another data set's data samples or conditions are made into.

    Args:
        data: the other data set, all of whose attributes are taken over, except its spec.
    """

    def __init__(self, data: Data) -> None:
        for attribute in inspect.get_annotations(Data):
            setattr(self, attribute, getattr(data, attribute))
        self.data = data
        self.spec = None  # no name reads it

    def __len__(self) -> int:
        return len(self.data)

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        return self.data.caption_embeddings(indices)

    def scorer_split(self) -> Data | None:
        return self.data.scorer_split()


class Subset(DerivedData):
    """A part of a data set, by the indices of its data samples.

    Args:
        data: the whole data set.
        indices: int64 ``[N]``, the indices of the part.
        name: the name of the part.
    """

    def __init__(self, data: Data, indices: Tensor, name: str) -> None:
        super().__init__(data)
        self.indices, self.name = indices, name
        captions = data.captions
        self.captions = None if captions is None else [captions[int(index)] for index in indices]
        for attribute in ("condition_counts", "groups", "look_alikes"):
            of_all = getattr(data, attribute)
            setattr(self, attribute, None if of_all is None else of_all[indices])

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """Return the data samples ``[B, *event]`` and conditions of these indices of the part."""
        return self.data.batch(self.indices[indices])

    def conditions(self, indices: Tensor) -> Conditions | None:
        return self.data.conditions(self.indices[indices])

    def sources(self, indices: Tensor) -> Tensor | None:
        return self.data.sources(self.indices[indices])

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        return self.data.caption_embeddings(self.indices[indices])

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        return self.data.training_condition(self.indices[indices], cond, chance)

    def fingerprint(self) -> str:
        """Return the sha256 over the fingerprint of the whole data set and the indices."""
        return hashlib.sha256(self.data.fingerprint().encode() + tensor_bytes(self.indices)).hexdigest()


class TensorData(Data):
    """A data set held in memory.

    Args:
        x: events ``[N, *event]``, float32.
        cond: labels ``[N]``, embeddings ``[N, E]``, token states, parts or None.
        name: for messages and tables.
        classes: number of classes where the labels may not show them all.
        condition: kind and size, where ``cond`` may not show all of its labels.
        x0: source samples ``[N, *event]``, one for each event, or None.
    """

    def __init__(
        self,
        x: Tensor,
        cond: Conditions | None = None,
        x0: Tensor | None = None,
        *,
        name: str = "tensors",
        classes: int | None = None,
        class_names: list[str] | None = None,
        is_image: bool = False,
        condition: Condition | None = None,
    ) -> None:
        self.x, self.x0 = x, x0
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
        return self.x[indices], self.conditions(indices)

    def conditions(self, indices: Tensor) -> Any:
        return rows(self.cond, indices)

    def sources(self, indices: Tensor) -> Tensor | None:
        return None if self.x0 is None else self.x0[indices]


def every_condition(data: Data) -> Data:
    """Return ``data``; if its data samples have several conditions, with one sample for each of them.

    A prior is fitted to it, so that it knows all the conditions that training draws from.
    """
    return data if data.condition_counts is None else EveryCondition(data, data.condition_counts)


class EveryCondition(Subset):
    """A data set with each data sample of ``data`` as often as it has conditions, one after the other.

    Args:
        data: the whole data set.
        counts: int64 ``[N]``, the number of conditions of each data sample.
    """

    def __init__(self, data: Data, counts: Tensor) -> None:
        super().__init__(data, torch.arange(len(counts)).repeat_interleave(counts), data.name)
        self.condition_counts = None
        place = torch.arange(len(self)) - (counts.cumsum(0) - counts)[self.indices]
        self._chance = (place + 0.5) / counts[self.indices]

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """Return the data samples ``[B, *event]`` and the conditions that these indices stand for."""
        x, cond = super().batch(indices)
        return x, super().training_condition(indices, cond, self._chance[indices])

    def conditions(self, indices: Tensor) -> Conditions | None:
        cond = super().conditions(indices)
        return super().training_condition(indices, cond, self._chance[indices])

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        return cond
