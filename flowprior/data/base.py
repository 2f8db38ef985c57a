"""Data: what a data set must offer, what is said of it, and the registry of named ones."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions, Parts, embeddings_in, named_tensors, rows
from flowprior.data.corrupt import CorruptRecords
from flowprior.data.locations import data_set_of_path
from flowprior.errors import DataNotFoundError, OptionError
from flowprior.registry import Registry, Spec
from flowprior.storage.digests import tensor_bytes
from flowprior.storage.user_paths import is_there, user_path

DATA: Registry[Data] = Registry("data set", "flowprior.data")
Split = Literal["train", "test"]
CAPTION = "caption"
"""The part of a condition that is a caption's, by its name."""
MOST_NUMBERS = 1 << 26
"""Numbers in a batch of :meth:`Data.batches`: 256 MiB of float32."""
MOST_NAMES = 1000
"""Classes whose names are kept."""


@dataclass(frozen=True)
class Annotation:
    """Names and units of the D numbers of an event: those of the file are ``scale * x + shift``.

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
        """Events ``[N, D]`` in the units of the file, float32."""
        scale, shift = (torch.tensor(values, dtype=torch.float64) for values in (self.scale, self.shift))
        return (x.detach().cpu().double() * scale + shift).float()

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of_facts(cls, facts: Any, size: int) -> Annotation | None:
        """Of what a flow's metadata say of its data; None where they say nothing that fits ``size`` numbers.

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
    """How an event is seen through its condition, so that samples can be held against their conditions."""

    @abc.abstractmethod
    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """What would be observed of events x ``[B, *event]``, and what was: two tensors of one shape.

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
            of the events themselves (:class:`flowprior.data.Restoration`). None where none do.
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
        is one, else in all of it (:func:`flowprior.conditions.embeddings_in`).
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
        """Which events these are: sha256 over all of them, in one pass.

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

    def batches(self, size: int = 4096) -> DataBatches:
        """The whole data set in order, in batches; can be iterated again and again."""
        return DataBatches(self, size)


DATA.kind = Data


class DataBatches:
    """Re-iterable batches of a :class:`Data`, as ``Prior.fit`` takes them.

    Args:
        data: to go through.
        size: events in a batch; fewer where so many would take more than 256 MiB.
    """

    def __init__(self, data: Data, size: int) -> None:
        self.data = data
        self.size = max(1, min(size, MOST_NUMBERS // max(1, data.event_shape.numel())))

    def __len__(self) -> int:
        return -(-len(self.data) // self.size)

    @property
    def groups(self) -> Tensor | None:
        """The groups of the whole data set's events; None where each event stands for itself."""
        return self.data.groups

    def __iter__(self) -> Iterator[tuple[Tensor, Conditions | None]]:
        for start in range(0, len(self.data), self.size):
            yield self.data.batch(torch.arange(start, min(start + self.size, len(self.data))))


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


def load_data(spec: str, split: Split = "train", **options: Any) -> Data:
    """Load a data set by name, spec string or path.

    Args:
        spec: ``"digits"``, ``"fashion-mnist:root=/data"``; a path that ends in .npz, .pt, .npy, .tar or
            .h5ad; or an existing folder of pictures, shards, latents or a Hugging Face data set.
        split: ``"train"`` or ``"test"``.
        options: further options of the data set.

    Raises:
        UnknownComponentError: no such data set.
        DataNotFoundError: its files are missing; the message says which package or argument brings them.
        InputError: its files are corrupt or hold non-finite numbers.
    """
    parsed = _parse(spec)
    given: dict[str, Any] = {"split": split, **parsed.options, **options}
    data = DATA.create(parsed.name, **given)
    data.split = str(given["split"])
    data.spec = spec if data.split == "train" and not options else None
    return data


def _parse(spec: str) -> Spec:
    """A spec, where a bare path stands for the data set that reads it; registered names come first."""
    if not isinstance(spec, str):
        raise OptionError(f"data: expected a name, spec string or path, got {type(spec).__name__}")
    known = {name for record in DATA.records() for name in (record.name, *record.aliases)}
    reader = None if spec.partition(":")[0] in known else data_set_of_path(spec)
    if reader is not None:
        return Spec(reader, {"path": spec})
    if spec.partition(":")[0] not in known and is_there(user_path(spec, "data"), "is_file"):
        raise DataNotFoundError(
            f"data: {spec} is a file of no known kind; expected a folder, .npz, .pt, .npy, .tar or .h5ad"
        )
    if "/" in spec.partition(":")[0]:
        raise DataNotFoundError(f"data: no folder {spec}; expected a folder, .npz, .pt, .npy, .tar or .h5ad")
    return DATA.parse(spec)


def data_digest(data: Data) -> str:
    """Which data a value belongs to: sha256 over every event and condition, in one pass over the data."""
    digest = hashlib.sha256(f"{data.condition} {list(data.event_shape)} {len(data)}".encode())
    for x, cond in data.batches():
        digest.update(tensor_bytes(x.float()))
        for tensor in named_tensors(cond).values():
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def data_facts(data: Data) -> dict[str, Any]:
    """Name, split, size, shape and condition; captions by their number and digest; names of classes,
    names and units of numbers.

    Of data with corrupt records how many were left out, and the first of them.

    Args:
        data: as it was trained on; of encoded data the shape is that of the latents.

    Returns:
        Plain JSON values; a key whose value is not known is left out.
    """
    names = data.class_names
    facts: dict[str, Any] = {
        "name": data.name,
        "split": data.split,
        "examples": len(data),
        "event_shape": list(data.event_shape),
        "is_image": data.is_image,
        "condition": data.condition.describe(),
        "captions": caption_facts(data),
        "class_names": list(names) if names is not None and len(names) <= MOST_NAMES else None,
        "annotation": None if data.annotation is None else data.annotation.as_dict(),
        "licences": sorted(data.licences),
        "corrupt_records": data.corrupt.facts() if data.corrupt is not None and data.corrupt.count else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, [])}


def caption_facts(data: Data) -> dict[str, Any] | None:
    """How many different captions there are, and the digest of their ids; None for data without captions.

    The ids are :attr:`Data.caption_ids`, or the captions themselves where they have none.
    """
    ids = data.captions if data.caption_ids is None else data.caption_ids
    if ids is None:
        return None
    different = set(ids)
    kind = "texts" if data.caption_ids is None else data.caption_id_kind
    return {"count": len(different), "ids": kind, "sha256": lines_digest(different)}


def lines_digest(lines: Iterable[str]) -> str:
    """sha256 of the lines in UTF-8, sorted by code points, as ``LC_ALL=C sort lines.txt | sha256sum``."""
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(f"{line}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
