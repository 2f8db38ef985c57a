"""What torch.compile is told of each operator: shape, dtype and device of its outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.ops.shapes import compute_dtype

Pair = tuple[Tensor, Tensor]
Triple = tuple[Tensor, Tensor, Tensor]


def standard_normal(like: Tensor, seed: Tensor, n: int, dim: int, stream: int) -> Tensor:
    return like.new_empty(n, dim)


def gmm_sample(logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, seed: Tensor) -> Pair:
    return mean.new_empty(cond.shape[0], mean.shape[2]), cond.new_empty(cond.shape[0])


def gmm_log_prob(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Pair:
    return _computed(x, x.shape[0]), _computed(x, x.shape[0], logits.shape[1])


def gmm_log_prob_backward(grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Triple:
    return _like(x), _like(mean), _like(scale)


def gmm_log_prob_all(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> Pair:
    return _computed(x, x.shape[0], logits.shape[0]), _computed(x, x.shape[0], *logits.shape)


def gmm_log_prob_all_backward(grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Triple:
    return _like(x), _like(mean), _like(scale)


def gmm_path(
    logits: Tensor,
    mean: Tensor,
    scale: Tensor,
    cond: Tensor,
    x1: Tensor,
    t: Tensor,
    seed: Tensor,
    sigma_min: float,
) -> Triple:
    return _like(x1), _like(x1), cond.new_empty(cond.shape[0])


def interpolate(x0: Tensor, x1: Tensor, t: Tensor, sigma_min: float) -> Pair:
    return _like(x1), _like(x1)


def affine_path(
    x0: Tensor, x1: Tensor, alpha: Tensor, sigma: Tensor, alpha_dot: Tensor, sigma_dot: Tensor
) -> Pair:
    return _like(x1), _like(x1)


def flow_matching_loss(
    v: Tensor,
    u: Tensor | None,
    x0: Tensor | None,
    x1: Tensor | None,
    weight: Tensor | None,
    mean: bool,
    with_gradient: bool,
) -> Triple:
    loss = _computed(v) if mean else _computed(v, v.shape[0])
    return loss, _computed(v, v.shape[0]), _like(v) if with_gradient else v.new_empty(0)


def _like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _computed(x: Tensor, *shape: int) -> Tensor:
    return x.new_empty(shape, dtype=compute_dtype(x.dtype))


FAKES = (
    standard_normal,
    gmm_sample,
    gmm_log_prob,
    gmm_log_prob_backward,
    gmm_log_prob_all,
    gmm_log_prob_all_backward,
    gmm_path,
    interpolate,
    affine_path,
    flow_matching_loss,
)


def register_fakes(namespace: str) -> None:
    """Register the fakes of every operator that the library ``namespace`` has."""
    for fake in FAKES:
        if hasattr(getattr(torch.ops, namespace), fake.__name__):
            torch.library.register_fake(f"{namespace}::{fake.__name__}", fake)
