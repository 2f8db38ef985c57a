"""What a file of cells calls the numbers of a cell, which units they have, and what its labels are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


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
            facts: of :func:`flowprior.data.facts.data_facts`, or anything else that was read from a file.
            size: D.
        """
        found = facts.get("annotation") if isinstance(facts, Mapping) else None
        try:
            scale, shift = (tuple(map(float, found[name])) for name in ("scale", "shift"))
            annotation = cls(found["key"], tuple(found["names"]), scale, shift, found["label"])
        except (KeyError, TypeError, ValueError):
            return None
        return annotation if len(annotation.names) == size else None
