"""PairedMetric: metrics that compare a sample with the one real event whose condition it was drawn for.

Where conditions say much (a low-resolution picture, the hours before), each of them has one truth, and a
sample can be held against it. Several samples of one condition are an *ensemble*, as of a weather forecast:
evaluations draw them with ``members``, one after the other.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowprior.metrics.base import MetricInfo, SampleMetric
from flowprior.metrics.setup import Drawn, Rows, Setup


class PairedMetric(SampleMetric):
    """Base class: one value, of ensembles and truths. Implementations give :meth:`compare`.

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

    def compare(self, samples: Tensor, truth: Tensor) -> float:
        """The value of samples ``[n, members, *event]`` of n conditions, whose truths are ``[n, *event]``."""
        raise NotImplementedError

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        own = setup.rows is not None and setup.rows.data is setup.reference.data
        if not own or setup.members < self.least or setup.reference.data.condition.kind == "none":
            return {}
        members = f", {setup.members} samples of each condition" if setup.members > 1 else ""
        reference = setup.reference.describe(setup.samples // setup.members)
        return {self.value: MetricInfo(self.what + members, setup.samples, reference, self.better)}

    def lacks(self, setup: Setup) -> str:
        if setup.rows is not None and setup.members < self.least:
            return f"{self.least} samples or more of each condition (members, --members)"
        return "real events with the samples' own conditions (conditions='reference')"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return {self.value: self.compare(*ensembles(drawn, setup.members))}


def ensembles(drawn: Drawn, members: int) -> tuple[Tensor, Tensor]:
    """Samples ``[n, members, *event]`` of n conditions, and the real events ``[n, *event]`` that had them."""
    rows = first_rows(drawn, members)
    truth, _ = rows.data.batch(rows.indices)
    return drawn.x.view(len(truth), members, *truth.shape[1:]), truth.to(drawn.x)


def first_rows(drawn: Drawn, members: int) -> Rows:
    """The real event of each ensemble."""
    assert drawn.rows is not None
    return Rows(drawn.rows.data, drawn.rows.indices[::members])


def pairwise_mean(samples: Tensor, distance: int | None) -> Tensor:
    """Mean over the pairs of different members of what ``torch.linalg.vector_norm`` of ``[…, D]`` gives.

    Args:
        samples: ``[n, members, D]``.
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
