"""Mixtures to test with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal


def mixture(
    generator: torch.Generator,
    conditions: int = 3,
    components: int = 4,
    event: tuple[int, ...] = (5,),
    *,
    spherical: bool = False,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``[C, K]``, means ``[C, K, *event]`` and scales ``[C, K, *event]`` or ``[C, K, 1]``."""
    tables = (conditions, components)
    logits = torch.randn(tables, generator=generator, dtype=torch.float64)
    mean = torch.randn(*tables, *event, generator=generator, dtype=torch.float64)
    width = (1,) if spherical else event
    scale = 0.3 + torch.rand(*tables, *width, generator=generator, dtype=torch.float64)
    return logits.to(dtype), mean.to(dtype), scale.to(dtype)


def distribution(logits: Tensor, mean: Tensor, scale: Tensor, c: int) -> MixtureSameFamily:
    """torch's own mixture of one condition, on flat events."""
    spread = scale[c].flatten(1).expand_as(mean[c].flatten(1))
    return MixtureSameFamily(
        Categorical(logits=logits[c]), Independent(Normal(mean[c].flatten(1), spread), 1)
    )
