"""The data of a study: training and test split, a validation part to choose on, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions, named_tensors
from flowprior.data import Data, load_data, split_indices
from flowprior.errors import OptionError
from flowprior.evaluation.request import check_events
from flowprior.storage.digests import tensor_bytes
from flowprior.study.variants import HOOKS, load_hook


class Subset(Data):
    """Some of a data set's events, in the order of their indices.

    Args:
        data: the whole.
        indices: int64 ``[N]``, those that are kept.
        name: of the part.
    """

    def __init__(self, data: Data, indices: Tensor, name: str) -> None:
        self.data, self.indices, self.name = data, indices, name
        self.condition = data.condition
        self.event_shape = data.event_shape
        self.is_image = data.is_image
        self.class_names = data.class_names
        self.label_names = data.label_names
        self.text_encoder, self.text_encoder_identity = data.text_encoder, data.text_encoder_identity
        captions = data.captions
        self.captions = None if captions is None else [captions[int(index)] for index in indices]
        self.condition_counts = None if data.condition_counts is None else data.condition_counts[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """The events ``[B, *event]`` and conditions of these indices of the part."""
        return self.data.batch(self.indices[indices])

    def conditions(self, indices: Tensor) -> Conditions | None:
        """The conditions alone of these indices of the part."""
        return self.data.conditions(self.indices[indices])

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Embeddings ``[B, E]`` of the captions of these indices of the part."""
        return self.data.caption_embeddings(self.indices[indices])

    def scorer_split(self) -> Data | None:
        """That of the whole."""
        return self.data.scorer_split()

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        """The conditions that a training step gets for these indices of the part."""
        return self.data.training_condition(self.indices[indices], cond, chance)


@dataclass(frozen=True)
class Splits:
    """The data of a study.

    Attributes:
        train: what flows are trained on.
        test: what generated samples are compared with.
        validation: events of the training split that no flow is trained on, to choose a setting on; None
            where the grid holds none out.
        references: name -> test split of other data that flows are evaluated against.
    """

    train: Data
    test: Data
    validation: Data | None = None
    references: Mapping[str, Data] = field(default_factory=dict)

    @classmethod
    def load(cls, spec: str, validation: int = 0) -> Splits:
        """The splits of a data set, with about ``validation`` events held out of the training split.

        Raises:
            FlowpriorError: there is none of this name, or its files are missing or corrupt.
            OptionError: more are to be held out than there are.
        """
        train, test = load_data(spec, "train"), load_data(spec, "test")
        kept, held = split_validation(train, validation) if validation else (train, None)
        return cls(kept, test, held)

    @classmethod
    def of(cls, grid: Mapping[str, Any]) -> Splits:
        """The splits of a grid, given as plain values; its functions are loaded first.

        Their modules may register its data set.

        Raises:
            FlowpriorError: as :meth:`load`, or a function of the grid cannot be loaded.
            InputError: a further reference has other events or conditions than the flows to be trained.
        """
        for key in HOOKS:
            if grid[key]:
                load_hook(key, grid[key])
        own = cls.load(grid["data"], grid["validation"])
        others = {name: load_data(spec, "test") for name, spec in grid.get("references", {}).items()}
        for data in others.values():
            check_events("compare", own.train.event_shape, own.train.condition, data)
        return replace(own, references=others)

    def identity(self) -> dict[str, Any]:
        """Size, shape and a checksum of each split, over 4,096 examples spread evenly."""
        parts = {"train": self.train, "test": self.test, "validation": self.validation, **self.references}
        return {name: _identity(data) for name, data in parts.items() if data is not None}


def split_validation(data: Data, count: int, seed: int = 0) -> tuple[Subset, Subset]:
    """(training part, validation part of about ``count`` events); disjoint, the same for one ``seed``.

    Each class gives its share where the data set holds its labels in memory.

    Raises:
        OptionError: ``count`` is not below the number of events.
    """
    if not 0 < count < len(data):
        raise OptionError(
            f"compare: validation={count} is not possible; '{data.name}' has {len(data)} events"
        )
    labels = getattr(data, "cond", None)
    labels = labels if isinstance(labels, Tensor) and not labels.is_floating_point() else None
    options: dict[str, Any] = {"test_fraction": count / len(data), "seed": seed, "labels": labels}
    kept, held = (split_indices(len(data), split, **options) for split in ("train", "test"))
    train = Subset(data, kept, f"{data.name}-train{len(kept)}")
    return train, Subset(data, held, f"{data.name}-validation{len(held)}")


def _identity(data: Data) -> list[Any]:
    indices = torch.arange(0, len(data), max(1, len(data) // 4096))
    digest = hashlib.sha256()
    for part in indices.split(512):
        x, cond = data.batch(part)
        for tensor in (x, *named_tensors(cond).values()):
            digest.update(tensor_bytes(tensor))
    return [len(data), list(data.event_shape), data.condition.describe(), digest.hexdigest()]
