"""What a column of values is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a column of figures is.

    Attributes:
        description: what was computed.
        samples: how many generated samples it is computed from.
        reference: name, split and size of what they are compared with.
        better: ``"lower"``, ``"higher"`` or ``""``.
        floor: the same figure of as many real training samples; None where there is none.
        features: name and weights of the features that it compares; empty where it takes the events.
    """

    description: str
    samples: int
    reference: str = ""
    better: str = ""
    floor: float | None = None
    features: str = ""
