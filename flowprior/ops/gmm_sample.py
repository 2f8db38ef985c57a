"""Draws from a Gaussian mixture for each row."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.ops.mixture import select_component
from flowprior.ops.operators import check_labels, draw_seed, flat_mixture, normal, serves_values, uniform


def gmm_sample(
    logits: Tensor,
    mean: Tensor,
    scale: Tensor,
    cond: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw x0 ~ Σ_k π_ck N(μ_ck, diag(σ²_ck)) with c = cond[b], and return it with its component.

    Differentiable in mean and scale, with the component as it was drawn. The component is one of 0..K-1
    whatever the logits: NaN excludes a component as -inf does, components at +inf share the draws evenly
    and leave none to the others, and where nothing is left component 0 is drawn.

    Args:
        logits: log weights ``[C, K]``, not necessarily normalised; -inf excludes a component.
        mean: μ ``[C, K, *event]``.
        scale: standard deviations σ ``[C, K, *event]``, or ``[C, K, 1]``.
        cond: rows of the tables, int64 ``[B]``.
        generator: of any device; None for torch's own.

    Returns:
        x0 ``[B, *event]`` in the tables' dtype, and the components, int64 ``[B]``.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown label.
    """
    means, scales = flat_mixture("gmm_sample", logits, mean, scale)
    cond = check_labels("gmm_sample", cond, logits.shape[0], mean)
    x0, component = draw_rows(logits, means, scales, cond, generator)
    return x0.reshape(cond.shape[0], *mean.shape[2:]), component


def draw_rows(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw as :func:`gmm_sample` from flat tables and rows of them that are known to fit."""
    if not serves_values(logits, mean, scale):
        return plain_gmm_sample(logits, mean, scale, cond, generator)
    return torch.ops.flowprior.gmm_sample(logits, mean, scale, cond, draw_seed(generator, mean.device))


def plain_gmm_sample(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw as :func:`draw_rows`, in torch."""
    component = draw_component(logits, cond, generator)
    place = cond * logits.shape[1] + component
    means, scales = (table.flatten(0, 1).index_select(0, place) for table in (mean, scale))
    return torch.addcmul(means, scales, normal(*means.shape, like=mean, generator=generator)), component


def draw_component(logits: Tensor, cond: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw components k ~ π_ck, int64 ``[B]``, for logits ``[C, K]`` and cond ``[B]``."""
    if logits.shape[1] == 1:
        return torch.zeros_like(cond)
    return select_component(logits[cond], uniform(len(cond), logits.device, generator))
