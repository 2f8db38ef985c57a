"""Data that a flow is compared with: in the units of its own data, and with labels that mean the same."""

from __future__ import annotations

import math

from flowprior.data.base import Annotation, Data
from flowprior.errors import InputError
from flowprior.flow.flow import Flow

CLOSE = 1e-6
"""Relative difference of two units up to which they are the same; files keep them in double precision."""


def check_comparable(flow: Flow, data: Data) -> None:
    """Refuse ``data`` whose numbers or labels mean something else than those of the flow's own data.

    Raises:
        InputError: another order of the labels' names, or other units or names of the numbers.
    """
    names = flow.captions.label_names()
    given = list(data.class_names or ())
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


def _alike(own: Annotation, other: Annotation) -> bool:
    """Whether numbers are called the same and have the same units."""
    if (own.key, own.names) != (other.key, other.names):
        return False
    pairs = (*_paired(own.scale, other.scale), *_paired(own.shift, other.shift))
    return all(math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in pairs)


def _paired(first: tuple[float, ...], second: tuple[float, ...]) -> list[tuple[float, float]]:
    """Numbers of both, one for all where one of them has a single one."""
    count = max(len(first), len(second))
    return list(zip(first * (count // len(first)), second * (count // len(second)), strict=True))


def _units(annotation: Annotation) -> str:
    scale = f"divided by {annotation.scale[0]:.4g}" if len(annotation.scale) == 1 else "standardised"
    return f"{annotation.key}, {len(annotation.names)} numbers, {scale}"
