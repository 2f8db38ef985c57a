"""Checks that data can be compared with a flow's samples: their shape, condition, units and number."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.flow.readers import check_identity
from flowprior.metrics.base import Metric, SampleMetric
from flowprior.metrics.setup import Reference
from flowprior.streams.data import Annotation, Data

CLOSE = 1e-6
"""The relative difference of two units up to which they are the same; files keep them in double precision."""
FEW = 100
"""The number of examples below which no metric of samples can be trusted: a share or mean of n of them has a
standard error of up to 1/√n of its scale, 10 % at 100, which is as much as good designs differ by."""


def check_comparable(flow: Flow, data: Data) -> None:
    """Refuse data of other events than the flow's own, or whose numbers or labels mean something else.

    Raises:
        InputError: other events, another kind or width of condition, embeddings by another text encoder,
            another order of the labels' names, or other units or names of the numbers.
    """
    check_events("evaluate", flow.event_shape, flow.condition, data)
    check_identity(flow.metadata, data.text_encoder_identity, f"evaluate, '{data.name}'")
    names, given = flow.words.label_names(), list(data.class_names or ())
    if names and given and given != names[: len(given)]:
        raise InputError(
            f"evaluate: expected labels {', '.join(names)} in this order, got '{data.name}' with "
            f"{', '.join(given)}; compare with data that number their labels alike"
        )
    own = Annotation.of_facts(flow.metadata.get("data"), flow.event_shape.numel())
    if own is not None and data.annotation is not None and not _alike(own, data.annotation):
        raise InputError(
            f"evaluate: expected events in the units of the flow's data ({_units(own)}), got '{data.name}' "
            f"with {_units(data.annotation)}; compare with the test split of that file by the same options"
        )


def check_events(owner: str, event_shape: Sequence[int], condition: Condition, data: Data) -> None:
    """Refuse ``data`` of other events than a flow of this ``event_shape`` and ``condition`` makes.

    Raises:
        InputError: other events, or another kind or width of condition.
    """
    if tuple(data.event_shape) != tuple(event_shape) or not _fit(data.condition, condition):
        raise InputError(
            f"{owner}: the flow makes events {list(event_shape)} from {condition.describe()}, "
            f"but '{data.name}' has events {list(data.event_shape)} and {data.condition.describe()}"
        )


def _fit(given: Condition, expected: Condition) -> bool:
    """Return whether conditions are of one kind and, but for labels, of one width; labels may be missing."""
    if given.kind == "parts" and given.names == expected.names:
        return all(_fit(part, expected[name]) for name, part in given.parts)
    return given.kind == expected.kind and (given.kind == "labels" or given == expected)


def _alike(own: Annotation, other: Annotation) -> bool:
    """Return whether numbers have the same names and units; a single unit stands for all numbers."""
    units = (own.scale, other.scale), (own.shift, other.shift)
    return (own.key, own.names) == (other.key, other.names) and all(
        np.allclose(first, second, rtol=CLOSE, atol=CLOSE) for first, second in units
    )


def _units(annotation: Annotation) -> str:
    scale = f"divided by {annotation.scale[0]:.4g}" if len(annotation.scale) == 1 else "standardised"
    return f"{annotation.key}, {len(annotation.names)} numbers, {scale}"


def warn_of_few(reference: Reference, metrics: Iterable[Metric]) -> None:
    """Warn of a split with fewer than 100 examples, where metrics compare samples with it.

    Args:
        reference: that samples are compared with.
        metrics: that are asked for.

    Warns:
        RuntimeWarning: how many examples there are, and what to do.
    """
    if len(reference) < FEW and any(isinstance(metric, SampleMetric) for metric in metrics):
        warnings.warn(
            f"evaluate: expected {FEW} or more examples to compare samples with, got {reference.describe()}: "
            "values against so few say little (fid is usually taken against 10,000); hold more out "
            "(test_fraction=) or name larger data (--reference), or take the values as a sign that it runs",
            RuntimeWarning,
            stacklevel=3,
        )
