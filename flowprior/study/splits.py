"""The data of a study: training and test split, a validation part to choose on, and what identifies them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from flowprior.conditions.rows import named_tensors
from flowprior.data import Data, load_data
from flowprior.data.splits import split_validation
from flowprior.errors import UnknownComponentError
from flowprior.evaluation.comparable import check_events
from flowprior.storage.digests import tensor_bytes
from flowprior.study.grid import Grid


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
        """Return the splits of a data set, with about ``validation`` events held out of the training split.

        Raises:
            FlowpriorError: there is none of this name, or its files are missing or corrupt.
            OptionError: more are to be held out than there are.
        """
        train, test = load_data(spec, "train"), load_data(spec, "test")
        kept, held = split_validation(train, validation) if validation else (train, None)
        return cls(kept, test, held)

    @classmethod
    def of(cls, grid: Grid) -> Splits:
        """Return the splits of a grid, none of whose functions is imported.

        Raises:
            FlowpriorError: as :meth:`load`.
            InputError: a further reference has other events or conditions than the flows to be trained.
        """
        try:
            own = cls.load(grid.data, grid.validation)
        except UnknownComponentError as error:
            unloaded = [text for text in grid.hooks if text.partition(":")[0] not in sys.modules]
            if not unloaded:
                raise
            raise UnknownComponentError(
                f"{error}; '{unloaded[0]}' of the grid may register it, which is not imported here: a run "
                "imports it, and so does --report-only with --allow-hooks"
            ) from error
        others = {name: load_data(spec, "test") for name, spec in grid.references.items()}
        for data in others.values():
            check_events("compare", own.train.event_shape, own.train.condition, data)
        return replace(own, references=others)

    def identity(self) -> dict[str, Any]:
        """Return size, shape and a checksum of each split, over 4,096 examples spread evenly."""
        parts = {"train": self.train, "test": self.test, "validation": self.validation, **self.references}
        return {name: _identity(data) for name, data in parts.items() if data is not None}


def _identity(data: Data) -> list[Any]:
    indices = torch.arange(0, len(data), max(1, len(data) // 4096))
    digest = hashlib.sha256()
    for part in indices.split(512):
        x, cond = data.batch(part)
        for tensor in (x, *named_tensors(cond).values()):
            digest.update(tensor_bytes(tensor))
    return [len(data), list(data.event_shape), data.condition.describe(), digest.hexdigest()]
