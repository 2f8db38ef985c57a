"""Metrics that compare a sample with the one real event whose condition it was drawn for.

Where conditions say much (a low-resolution picture, the hours before), each of them has one truth, and a
sample can be held against it. Several samples of one condition are an *ensemble*, as of a weather forecast:
evaluations draw them with ``members``, one after the other.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from flowprior.metrics.base import MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Setup


class PairedMetric(SampleMetric):
    """Base class: one value, of samples of the conditions of real events.

    Attributes:
        value: its name.
        what: its description.
        better: ``"lower"``, ``"higher"`` or ``""``.
        least: members of an ensemble that it needs.
    """

    real_data = "none"
    needs_classifier = False
    value: ClassVar[str]
    what: ClassVar[str]
    better: ClassVar[str] = "lower"
    least: ClassVar[int] = 1

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return self.described(setup, {self.value: self.what})

    def described(self, setup: Setup, what: Mapping[str, str]) -> dict[str, MetricInfo]:
        """The values that ``what`` describes by name; none where events have no conditions of their own."""
        own = setup.rows is not None and setup.rows.data is setup.reference.data
        if not own or setup.members < self.least or setup.reference.data.condition.kind == "none":
            return {}
        members = f", {setup.members} samples of each condition" if setup.members > 1 else ""
        reference = setup.reference.describe(setup.samples // setup.members)
        info = partial(MetricInfo, samples=setup.samples, reference=reference, better=self.better)
        return {name: info(description + members) for name, description in what.items()}

    def lacks(self, setup: Setup) -> str:
        if setup.rows is not None and setup.members < self.least:
            return f"{self.least} samples or more of each condition (members, --members)"
        return "real events with the samples' own conditions (conditions='reference')"


class EnsembleMetric(PairedMetric):
    """Base class of scores of ensembles against truths; the value is their mean over conditions."""

    @abc.abstractmethod
    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        """``[n]`` of samples ``[n, members, *event]`` of n conditions, whose truths are ``[n, *event]``."""

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return {self.value: self.scores(*ensembles(drawn, setup.members)).mean().item()}


class PictureMetric(EnsembleMetric):
    """Base class of scores of each restored picture against the one that it restores."""

    better = "higher"
    side: ClassVar[int] = 1
    """Pixels that a picture has at least, in height and width."""

    @abc.abstractmethod
    def likeness(self, x: Tensor, truth: Tensor) -> Tensor:
        """``[B]`` of pictures x and truths, both ``[B, C, H, W]``."""

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        every = truth.repeat_interleave(samples.shape[1], 0)
        return self.likeness(samples.flatten(0, 1), every).view(samples.shape[:2]).mean(1)

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return super().columns(setup) if self._serves(setup) else {}

    def lacks(self, setup: Setup) -> str:
        if self._serves(setup):
            return super().lacks(setup)
        return f"pictures of {self.side} x {self.side} pixels or more" if self.side > 1 else "pictures"

    def _serves(self, setup: Setup) -> bool:
        return setup.data.is_image and min(setup.data.event_shape[1:]) >= self.side


def pairwise_mean(samples: Tensor, distance: int | None) -> Tensor:
    """Mean over the pairs of different members of what ``torch.linalg.vector_norm`` of ``[…, D]`` gives.

    Args:
        samples: ``[n, members, D]``, two members or more.
        distance: 2 for the Euclidean distance, ``[n]``; None for that of each coordinate, ``[n, D]``.
    """
    members = samples.shape[1]
    total: Tensor | None = None
    for lag in range(1, members):
        apart = samples[:, lag:] - samples[:, :-lag]
        found = apart.abs() if distance is None else torch.linalg.vector_norm(apart, distance, dim=-1)
        total = found.sum(1) if total is None else total + found.sum(1)
    assert total is not None
    return 2 * total / (members * (members - 1))


def ensembles(drawn: Drawn, members: int) -> tuple[Tensor, Tensor]:
    """Samples ``[n, members, *event]`` of n conditions, and the real events ``[n, *event]`` that had them."""
    assert drawn.rows is not None
    truth, _ = drawn.rows.data.batch(drawn.rows.indices[::members])
    return drawn.x.view(len(truth), members, *truth.shape[1:]), truth.to(drawn.x)
