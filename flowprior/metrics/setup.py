"""The data of a metric: one seed of an evaluation, and the real data that samples are compared with.

Statistics of real data are kept in the cache. A file is keyed by the data's digest, their
number, the extractor's identity (which holds the sha256 of its weights) and the kind of statistic, so that
none is ever read for other data or weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import moved, rows
from flowprior.data.base import Data, data_digest
from flowprior.data.splits import draw_indices
from flowprior.features.base import FeatureExtractor
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.flow.conditioning import unseen_as_null
from flowprior.samplers.base import PLAIN, Solution, SourceOptions, draw_source
from flowprior.storage.digests import settings_digest
from flowprior.storage.tensor_files import cached_tensors

POOLED = 2000
"""The number of real samples that clouds are compared with if conditions are no labels."""
SMALL_EVENT = 16
"""The size of an event up to which metrics of the flow afford more trajectories and likelihoods."""
MANY_PATHS, FEW_PATHS = 2000, 128
"""The number of trajectories of small events and of others."""
RECIPE = 1
"""The version of the stored statistics; raise it with every change of theirs."""
SUBSET_SEED = 0
Generate = Callable[..., Solution]
"""A function like :meth:`flowprior.flow.Flow.solve`, without the argument ``trajectory``."""


class Drawn:
    """The samples, generated or real, whose features are computed once.

    Args:
        x: ``[N, *event]``.
        cond: their conditions, in the same order.
        dtype: type of x here.
    """

    def __init__(self, x: Tensor, cond: Conditions | None = None, dtype: torch.dtype = torch.float32) -> None:
        self.x = x.detach().to("cpu", dtype)
        self.cond = moved(cond, "cpu")
        self._features: dict[int, Tensor] = {}

    @property
    def is_labelled(self) -> bool:
        """Return whether the conditions are labels, so that clouds are compared within them."""
        return isinstance(self.cond, Tensor) and not self.cond.is_floating_point()

    @property
    def labels(self) -> Tensor:
        """Return the conditions, which are labels."""
        assert isinstance(self.cond, Tensor)
        return self.cond

    def features(self, extractor: FeatureExtractor) -> Tensor:
        """Return features ``[N, F]``."""
        key = id(extractor)
        if key not in self._features:
            self._features[key] = extractor.features(self.x)
        return self._features[key]


class Reference:
    """A split of a data set.

    Args:
        data: the split.
        split: its name, for descriptions and the cache's files.
    """

    def __init__(self, data: Data, split: str) -> None:
        self.data = data
        self.split = split

    def __len__(self) -> int:
        return len(self.data)

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the data."""
        return data_digest(self.data)

    def describe(self, count: int | None = None) -> str:
        """Return size, split and name, as in ``2000 of 10000 test examples of fashion-mnist``."""
        size = f"{len(self)}" if count is None or count >= len(self) else f"{count} of {len(self)}"
        return f"{size} {self.split} examples of {self.data.name}"

    def subset(self, count: int) -> tuple[Tensor, Conditions | None]:
        """Return ``count`` events and conditions, the same at every call; in the labels' proportions."""
        return self.data.batch(self.indices(count))

    def indices(self, count: int) -> Tensor:
        """Return the indices of the :meth:`subset` of ``count``, int64."""
        generator = torch.Generator().manual_seed(SUBSET_SEED)
        return draw_indices(self.data, min(count, len(self)), generator)

    def features(self, extractor: FeatureExtractor, count: int) -> Tensor:
        """Return features ``[count, F]`` of the :meth:`subset`."""

        def compute() -> dict[str, Tensor]:
            return {"features": extractor.features(self.subset(count)[0])}

        key = {"count": min(count, len(self)), "extractor": extractor.identity()}
        return self.kept("features", compute, **key)["features"]

    def kept(self, kind: str, compute: Callable[[], dict[str, Tensor]], **key: Any) -> dict[str, Tensor]:
        """Return the result of ``compute``, from the cache if it is there.

        Args:
            kind: name of the statistic, which begins the file's name.
            compute: computes it.
            key: whatever determines it besides the data.
        """
        key = {"recipe": RECIPE, "kind": kind, "data": self.digest, **key}
        described = {"name": self.data.name, "split": self.split, **{k: str(v) for k, v in key.items()}}
        return cached_tensors(f"reference-{kind}-{settings_digest(key)[:24]}", described, compute)


@dataclass
class Setup:
    """The common data of all values of one seed.

    Attributes:
        flow: the one that is evaluated.
        training: the training split.
        reference: the split that samples are compared with; ``training`` itself without a test split.
        samples: number of generated ones.
        seed: of conditions, source samples and the subsets of real data.
        classifier: that of labelled data, or None.
        extractors: features that distances are taken of; the classifier comes first.
        batch_size: samples at once.
        generate: solves for the samples in place of ``flow.solve``; everything else is of ``flow`` itself.
        balanced: True if samples are generated for every label in turn, not for the reference's conditions.
        members: samples of each condition, one after the other; they divide ``samples``.
        times: the times of the steps whose errors are measured.
        solved: trajectories that were solved to a tight tolerance, by guidance and options of the source.
    """

    flow: Flow
    training: Reference
    reference: Reference
    samples: int
    seed: int
    classifier: Classifier | None
    extractors: list[FeatureExtractor] = field(default_factory=list)
    batch_size: int = 500
    generate: Generate | None = None
    balanced: bool = False
    members: int = 1
    times: frozenset[float] = frozenset()
    solved: dict[Any, Any] = field(default_factory=dict, init=False)

    @property
    def data(self) -> Data:
        """Return the training split's data."""
        return self.training.data

    @property
    def has_test(self) -> bool:
        """Return whether samples are compared with data that were not trained on."""
        return self.reference is not self.training

    @property
    def is_labelled(self) -> bool:
        """Return whether conditions are labels."""
        return self.reference.data.condition.kind == "labels"

    @property
    def scope(self) -> str:
        """Describe the rows that distances between clouds are averaged over."""
        return "averaged over labels" if self.is_labelled else "pooled over conditions"

    @property
    def paths(self) -> int:
        """Return the number of samples whose trajectories are solved to a tight tolerance."""
        size = self.flow.event_shape.numel()
        return min(self.samples, MANY_PATHS if size <= SMALL_EVENT else FEW_PATHS)

    @property
    def device(self) -> torch.device:
        """Return the device of the flow."""
        return self.flow.prior.event_dims.device

    def generator(self) -> torch.Generator:
        """Create a generator on the flow's device, seeded by the setup's seed."""
        return torch.Generator(self.device).manual_seed(self.seed)

    @cached_property
    def cond(self) -> Conditions | None:
        """Return the conditions of the samples: the reference's in its proportions, or balanced."""
        if self.balanced:
            return torch.arange(self.samples) % (self.reference.data.condition.size or 1)
        return self.held_out.cond

    @property
    def indices(self) -> Tensor:
        """Return the real events whose conditions samples have unless these are balanced, int64 ``[N]``."""
        return self._indices[0]

    @cached_property
    def held_out(self) -> Drawn:
        """Return the real data whose conditions samples are generated for."""
        return Drawn(*self.reference.data.batch(self.indices))

    @cached_property
    def real(self) -> Drawn:
        """Return real samples for distances between clouds; all of them where they have labels."""
        return Drawn(*self.reference.data.batch(self._indices[1]))

    @cached_property
    def training_samples(self) -> Drawn:
        """Return as many real training samples, or all, whose values are the real-data scores."""
        return Drawn(*self.data.batch(self._indices[2]))

    def source_samples(self, count: int, options: SourceOptions = PLAIN) -> Tensor:
        """Return the first source samples ``[count, *event]`` that samples of this seed are solved from."""
        cond, generator = self.flow.encode_condition(self.conditions(self.samples)), self.generator()
        with torch.no_grad():
            parts = self.flow.coupling, self.flow.prior, cond, self.samples
            x0 = draw_source(*parts, options=options, generator=generator)
        return x0[:count].to(self.flow.dtype or x0.dtype)

    def conditions(self, count: int) -> Conditions | None:
        """Return the first conditions ``[count, …]``, on the flow's device."""
        return moved(rows(self.cond, slice(count)), self.device)

    def asked(self, count: int) -> Conditions | None:
        """Return them as ``flow.sample`` takes them: with the null condition in place of unseen labels."""
        cond = self.conditions(count)
        return None if cond is None else unseen_as_null(self.flow, cond, "evaluate")

    @cached_property
    def _indices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the indices of conditions, real samples and training samples, one after the other."""
        generator, data = torch.Generator().manual_seed(self.seed), self.reference.data
        size = len(data) if self.is_labelled else min(POOLED, len(data))
        conditions = draw_indices(data, self.samples // self.members, generator)
        return (
            conditions.repeat_interleave(self.members),
            draw_indices(data, size, generator),
            draw_indices(self.data, min(self.samples, len(self.data)), generator),
        )
