"""Draws from a Gaussian mixture for each row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowprior.ops.mixture import select_component
from flowprior.ops.operators import attempt, fake, is_plain, operators, reference, refuse_gradient
from flowprior.ops.random import Randomness, Stream, as_seed, noise_chunks, normal_rows, uniform
from flowprior.ops.shapes import check_labels, compute_dtype, flat_mixture, known_labels

NOT_DIFFERENTIABLE = "a draw is not differentiable; use mean + scale * noise, with noise from standard_normal"


def gmm_sample(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, seed: Randomness
) -> tuple[Tensor, Tensor]:
    """x0 ~ Σ_k π_ck N(μ_ck, diag(σ²_ck)) with c = cond[b]: the draw and its component.

    Not differentiable: backward raises. On every back end the component is one of 0..K-1 whatever the logits:
    NaN excludes a component as -inf does, components at +inf share the draws evenly and leave none to the
    others, and where nothing is left component 0 is drawn. Draws of two back ends at one seed differ by
    rounding (see :func:`flowprior.ops.standard_normal`), and in the component only where a cumulative weight
    lies within rounding of the random number.

    Args:
        logits: log weights ``[C, K]``, not necessarily normalised; -inf excludes a component.
        mean: μ ``[C, K, *event]``.
        scale: standard deviations σ ``[C, K, *event]``, or ``[C, K, 1]``.
        cond: rows of the tables, int64 ``[B]``.
        seed: a seed, or the generator to draw it from (see :func:`flowprior.ops.standard_normal`).

    Returns:
        x0 ``[B, *event]`` in the tables' dtype, and the components, int64 ``[B]``.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown label.
    """
    seed = as_seed(seed, mean.device)
    if mean.dim() == 3 and is_plain(logits, mean, scale, cond, seed):
        drawn = attempt("gmm_sample", logits, mean, scale, cond, seed)
        if drawn is not None:
            return drawn
    flat_mean, flat_scale = flat_mixture("gmm_sample", logits, mean, scale)
    cond = check_labels("gmm_sample", cond, logits.shape[0], mean)
    x0, component = operators(mean.device).gmm_sample(logits, flat_mean, flat_scale, cond, seed)
    return x0.reshape(cond.shape[0], *mean.shape[2:]), component


def draw_component(logits: Tensor, cond: Tensor, seed: Randomness) -> Tensor:
    """Components k ~ π_ck, int64 ``[B]``: those that :func:`gmm_sample` draws with the same seed.

    Args:
        logits: log weights ``[C, K]``.
        cond: int64 ``[B]``.
        seed: a seed, or the generator to draw it from.
    """
    seed = as_seed(seed, logits.device)
    if logits.shape[1] == 1:
        return torch.zeros_like(cond)
    return select_component(logits[cond], uniform(seed, cond.shape[0]))


@reference("gmm_sample")
def reference_gmm_sample(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """The pure-torch operator behind :func:`gmm_sample`."""
    cond, known = known_labels("gmm_sample", cond, logits.shape[0])
    component = draw_component(logits, cond, seed)
    x0 = mean.new_empty(cond.shape[0], mean.shape[2])
    for rows, drawn in source_samples(mean, scale, cond, component, seed):
        x0[rows] = drawn
    if known is not None:
        x0.masked_fill_(~known[:, None], torch.nan)
        component.masked_fill_(~known, -1)
    return x0, component


def source_samples(
    mean: Tensor, scale: Tensor, cond: Tensor, component: Tensor, seed: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows, and their x0 ``[rows, D]`` in the compute dtype; gmm_path takes them, too."""
    place = cond * mean.shape[1] + component
    means, scales = mean.flatten(0, 1), scale.flatten(0, 1)
    compute = compute_dtype(mean.dtype)
    for rows in noise_chunks(cond.shape[0], mean.shape[2], mean.device):
        noise = normal_rows(seed, Stream.NOISE, rows, mean.shape[2], compute)
        chosen = place[rows]
        yield rows, torch.addcmul(means[chosen].to(compute), scales[chosen].to(compute), noise)


@fake("gmm_sample")
def _outputs(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, seed: Tensor
) -> tuple[Tensor, Tensor]:
    return mean.new_empty(cond.shape[0], mean.shape[2]), cond.new_empty(cond.shape[0])


refuse_gradient("gmm_sample", NOT_DIFFERENTIABLE)
