"""What a file of cells calls the numbers of a cell, which units they have, and what its labels are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.registry import is_number


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
        if not isinstance(found, Mapping):
            return None
        names, label, key = found.get("names"), found.get("label"), found.get("key")
        scale, shift = (_numbers(found.get(name), size) for name in ("scale", "shift"))
        if not isinstance(names, list | tuple) or len(names) != size:
            return None
        if scale is None or shift is None or not isinstance(key, str):
            return None
        return cls(key, tuple(map(str, names)), scale, shift, label if isinstance(label, str) else None)


def _numbers(values: Any, size: int) -> tuple[float, ...] | None:
    """One finite number, or ``size``; None for anything else."""
    if not isinstance(values, list | tuple) or len(values) not in (1, size):
        return None
    if not all(is_number(value) for value in values):
        return None
    return tuple(float(value) for value in values)
