"""One seed of an evaluation: its conditions, starts and real samples, the same for every sampler and NFE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from flowprior.data.base import Data
from flowprior.data.proportions import draw_indices
from flowprior.features.base import FeatureExtractor
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics.reference import Reference
from flowprior.samplers import Solution

PER_CONDITION = 500
"""Points of each label that exact W2² compares at most."""
POOLED = 2000
"""The same where all conditions are pooled."""
SMALL_EVENT = 16
MANY_PATHS = 2000
FEW_PATHS = 128
Generate = Callable[..., Solution]
"""Takes what :meth:`flowprior.flow.Flow.solve` takes, except ``trajectory``, and gives what it gives."""


class Drawn:
    """Samples, generated or real, whose features are computed once.

    Args:
        x: ``[N, *event]``.
        cond: their conditions, in the same order.
    """

    def __init__(self, x: Tensor, cond: Tensor | None) -> None:
        self.x = x.detach().float().cpu()
        self.cond = None if cond is None else cond.cpu()
        self._features: dict[int, Tensor] = {}

    def features(self, extractor: FeatureExtractor) -> Tensor:
        """Features ``[N, F]``."""
        key = id(extractor)
        if key not in self._features:
            self._features[key] = extractor.features(self.x)
        return self._features[key]


@dataclass
class Setup:
    """What every figure of one seed shares.

    Attributes:
        flow: what is evaluated.
        training: the training split.
        reference: what samples are compared with; the same object as ``training`` without a test split.
        samples: how many are generated.
        seed: of conditions, starts and the subsets of real data.
        classifier: judge of labelled data, or None.
        extractors: features that distances are taken of; the classifier comes first.
        batch_size: samples at once.
        generate: gives the samples in place of ``flow.solve``; everything else is asked of ``flow`` itself.
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

    @property
    def data(self) -> Data:
        """The training split's data."""
        return self.training.data

    @property
    def has_test(self) -> bool:
        """Whether samples are compared with data that were not trained on."""
        return self.reference is not self.training

    @property
    def is_labelled(self) -> bool:
        """Whether conditions are labels."""
        return self.reference.data.condition.kind == "labels"

    @property
    def points(self) -> int:
        """Points of each cloud that exact W2² compares at most."""
        return PER_CONDITION if self.is_labelled else POOLED

    @property
    def paths(self) -> int:
        """How many samples' trajectories are solved to a tight tolerance."""
        size = self.flow.event_shape.numel()
        return min(self.samples, MANY_PATHS if size <= SMALL_EVENT else FEW_PATHS)

    @property
    def device(self) -> torch.device:
        """Where the flow is."""
        return self.flow.prior.event_dims.device

    def generator(self) -> torch.Generator:
        """A generator on the flow's device that starts at the seed."""
        return torch.Generator(self.device).manual_seed(self.seed)

    @cached_property
    def cond(self) -> Tensor | None:
        """The conditions that samples are generated for: the reference's, in its proportions."""
        return self.reference.data.batch(self._indices[0])[1]

    @cached_property
    def real(self) -> Drawn:
        """Real samples for distances between clouds; all of them where they have labels."""
        return Drawn(*self.reference.data.batch(self._indices[1]))

    @cached_property
    def training_samples(self) -> Drawn:
        """As many real training samples, whose figures are the floor."""
        return Drawn(*self.data.batch(self._indices[2]))

    @cached_property
    def held_out(self) -> Drawn:
        """The real data whose conditions samples are generated for."""
        return Drawn(*self.reference.data.batch(self._indices[0]))

    def starts(self, count: int) -> Tensor:
        """The first starts ``[count, *event]`` that samples of this seed are solved from."""
        cond = None if self.cond is None else self.cond.to(self.device)
        with torch.no_grad():
            x0 = self.flow.coupling.source(self.flow.prior, cond, self.samples, generator=self.generator())
        return x0[:count].to(self.flow.dtype or x0.dtype)

    def conditions(self, count: int) -> Tensor | None:
        """The first conditions ``[count, …]``, on the flow's device."""
        return None if self.cond is None else self.cond[:count].to(self.device)

    @cached_property
    def _indices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of conditions, real samples and training samples, drawn one after the other from one generator."""
        generator, data = torch.Generator().manual_seed(self.seed), self.reference.data
        conditions = draw_indices(data, self.samples, generator)
        size = len(data) if self.is_labelled else min(POOLED, len(data))
        return (
            conditions,
            draw_indices(data, size, generator),
            draw_indices(self.data, self.samples, generator),
        )
