"""A point of the straight path from a mixture's draw to the datum, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.gmm_sample import NOT_DIFFERENTIABLE, draw_component, source_samples
from flowprior.ops.operators import attempt, fake, is_plain, operators, reference, refuse_gradient
from flowprior.ops.random import Randomness, as_seed
from flowprior.ops.shapes import (
    check_alike,
    check_labels,
    compute_dtype,
    contiguous_like,
    flat,
    flat_mixture,
    known_labels,
)


def gmm_path(
    logits: Tensor,
    mean: Tensor,
    scale: Tensor,
    cond: Tensor,
    x1: Tensor,
    t: Tensor,
    seed: Randomness,
    sigma_min: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """x_t = t x1 + (1 − (1 − σ_min) t) x0 and u_t = x1 − (1 − σ_min) x0; x0 is drawn and never stored.

    The x0 of :func:`flowprior.ops.gmm_sample` at the same seed. Not differentiable: backward raises.

    Args:
        logits, mean, scale, cond, seed: as in :func:`flowprior.ops.gmm_sample`.
        x1: data ``[B, *event]``, in the tables' dtype.
        t: times ``[B]`` in [0, 1].
        sigma_min: share of the source sample that is left at t = 1.

    Returns:
        x_t and u_t ``[B, *event]``, and the components, int64 ``[B]``.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown label.
    """
    seed = as_seed(seed, mean.device)
    if mean.dim() == 3 and t.dtype == x1.dtype and is_plain(logits, mean, scale, cond, x1, t, seed):
        drawn = attempt("gmm_path", logits, mean, scale, cond, x1, t, seed, sigma_min)
        if drawn is not None:
            return drawn
    flat_mean, flat_scale = flat_mixture("gmm_path", logits, mean, scale)
    cond = check_labels("gmm_path", cond, logits.shape[0], mean)
    if x1.shape[1:] != mean.shape[2:] or x1.shape[:1] != cond.shape or t.shape != cond.shape:
        raise InputError(
            f"gmm_path: expected x1 [B, *event], t [B] and cond [B] with the event of mean [C, K, *event], "
            f"got {list(x1.shape)}, {list(t.shape)}, {list(cond.shape)} and {list(mean.shape)}"
        )
    check_alike("gmm_path", mean=mean, x1=x1)
    t = t.to(compute_dtype(x1.dtype))
    x_t, u_t, component = operators(mean.device).gmm_path(
        logits, flat_mean, flat_scale, cond, flat(x1), t, seed, sigma_min
    )
    return x_t.reshape(x1.shape), u_t.reshape(x1.shape), component


@reference("gmm_path")
def reference_gmm_path(
    logits: Tensor,
    mean: Tensor,
    scale: Tensor,
    cond: Tensor,
    x1: Tensor,
    t: Tensor,
    seed: Tensor,
    sigma_min: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The pure-torch operator behind :func:`gmm_path`."""
    cond, known = known_labels("gmm_path", cond, logits.shape[0])
    component = draw_component(logits, cond, seed)
    x_t, u_t = torch.empty_like(x1), torch.empty_like(x1)
    slope = 1.0 - sigma_min
    for rows, x0 in source_samples(mean, scale, cond, component, seed):
        datum, time = x1[rows].to(x0.dtype), t[rows].to(x0.dtype)[:, None]
        u_t[rows] = torch.sub(datum, x0, alpha=slope)
        x_t[rows] = torch.addcmul((1.0 - slope * time) * x0, time, datum)
    if known is not None:
        x_t.masked_fill_(~known[:, None], torch.nan)
        u_t.masked_fill_(~known[:, None], torch.nan)
        component.masked_fill_(~known, -1)
    return x_t, u_t, component


@fake("gmm_path")
def _outputs(
    logits: Tensor,
    mean: Tensor,
    scale: Tensor,
    cond: Tensor,
    x1: Tensor,
    t: Tensor,
    seed: Tensor,
    sigma_min: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return contiguous_like(x1), contiguous_like(x1), cond.new_empty(cond.shape[0])


refuse_gradient("gmm_path", f"{NOT_DIFFERENTIABLE}, and interpolate")
