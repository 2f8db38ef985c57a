"""Log-density of diagonal Gaussian mixtures, and each component's share in it.

    joint_k = log π_k − ½ Σ_d ((x_d − μ_kd) / σ_kd)² − Σ_d log σ_kd − ½ D log 2π
    log p = logsumexp_k joint_k,   p(k | x) = softmax_k joint_k

in the centred form, which neither cancels nor overflows. No ``[B, K, D]`` array is ever made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import (
    Context,
    Grad,
    check_alike,
    check_labels,
    compute_dtype,
    flat,
    flat_mixture,
    once,
    serves,
)


def gmm_log_prob(
    x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log p(x | c) of each row's own condition, and the responsibilities p(k | x, c).

    Differentiable in x, logits, mean and scale: the native operator once, plain torch any number of times.

    Args:
        x: ``[B, *event]``, in the tables' dtype.
        logits: log weights ``[C, K]``, not necessarily normalised; -inf excludes a component.
        mean: μ ``[C, K, *event]``.
        scale: standard deviations σ ``[C, K, *event]``, or ``[C, K, 1]``.
        cond: rows of the tables, int64 ``[B]``.

    Returns:
        Log-densities ``[B]`` in nats and responsibilities ``[B, K]``; in float64 for float64, else float32.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown label.
    """
    tables = _checked("gmm_log_prob", x, logits, mean, scale)
    cond = check_labels("gmm_log_prob", cond, logits.shape[0], mean)
    if cond.shape != x.shape[:1]:
        raise InputError(
            f"gmm_log_prob: expected one label for each row of x, got {list(cond.shape)} for {list(x.shape)}"
        )
    return NativeDensity.apply(*tables, cond) if serves(*tables) else plain_gmm_log_prob(*tables, cond)


def gmm_log_prob_all(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x | c) under every condition, and the responsibilities p(k | x, c).

    Args:
        x, logits, mean, scale: as in :func:`gmm_log_prob`.

    Returns:
        Log-densities ``[B, C]`` in nats and responsibilities ``[B, C, K]``.

    Raises:
        InputError: shapes, dtypes or devices that do not fit.
    """
    tables = _checked("gmm_log_prob_all", x, logits, mean, scale)
    return NativeDensity.apply(*tables) if serves(*tables) else plain_gmm_log_prob_all(*tables)


def _checked(
    owner: str, x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows x ``[B, D]``, logits and flat tables."""
    means, scales = flat_mixture(owner, logits, mean, scale)
    if x.dim() < 2 or x.shape[1:] != mean.shape[2:]:
        raise InputError(
            f"{owner}: expected x [B, *event] with the event of mean [C, K, *event], got {list(x.shape)} and "
            f"{list(mean.shape)}"
        )
    check_alike(owner, x=x, mean=mean)
    return flat(x), logits, means, scales


# -- in torch ----------------------------------------------------------------------------------


def plain_gmm_log_prob(
    x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what :func:`gmm_log_prob` does of rows and flat tables, one component after another."""
    x, logits, mean, scale = _computed(x, logits, mean, scale)
    squares = [
        ((x - mean[cond, k]) / scale[cond, k]).square().sum(1, keepdim=True) for k in range(logits.shape[1])
    ]
    return _densities(_constants(logits, mean, scale)[cond] - 0.5 * torch.cat(squares, 1))


def plain_gmm_log_prob_all(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return what :func:`gmm_log_prob_all` does of rows and flat tables, one component after another."""
    x, logits, mean, scale = _computed(x, logits, mean, scale)
    components = zip(mean.flatten(0, 1), scale.flatten(0, 1), strict=True)
    squares = [((x - centre) / deviation).square().sum(1) for centre, deviation in components]
    joint = _constants(logits, mean, scale) - 0.5 * torch.stack(squares, 1).view(len(x), *logits.shape)
    return _densities(joint)


def _computed(*tensors: Tensor) -> list[Tensor]:
    return [tensor.to(compute_dtype(tensor.dtype)) for tensor in tensors]


def _constants(logits: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the part of the joint log-densities ``[C, K]`` that does not depend on x."""
    dim = mean.shape[2]
    log_det = scale.log().expand_as(mean).sum(2)
    return logits.log_softmax(1) - log_det - 0.5 * dim * LOG_2PI


def _densities(joint: Tensor) -> tuple[Tensor, Tensor]:
    return joint.logsumexp(-1), joint.softmax(-1)


# -- natively ----------------------------------------------------------------------------------


class NativeDensity(torch.autograd.Function):
    """The native operators of both functions, with their gradient: once, by operators of their own."""

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        library = torch.ops.flowprior
        if cond is None:
            log_prob, shares = library.gmm_log_prob_all(x, logits, mean, scale)
        else:
            log_prob, shares = library.gmm_log_prob(x, logits, mean, scale, cond)
        ctx.save_for_backward(x, logits, mean, scale, cond, shares)
        ctx.set_materialize_grads(False)
        return log_prob, shares

    @staticmethod
    def backward(ctx: Context, *grads: Grad) -> tuple[Grad, ...]:
        with torch.no_grad():
            gradients = _gradients(*ctx.saved_tensors, *grads)
        return *once("gmm_log_prob", *gradients), None


def _gradients(
    x: Tensor,
    logits: Tensor,
    mean: Tensor,
    scale: Tensor,
    cond: Tensor | None,
    shares: Tensor,
    grad: Grad,
    grad_shares: Grad,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients in x, logits, mean and scale."""
    library, joint = torch.ops.flowprior, joint_gradient(shares, grad, grad_shares)
    if cond is None:
        total = joint.sum(0)
        grad_x, grad_mean, grad_scale = library.gmm_log_prob_all_backward(joint, x, mean, scale)
    else:
        # index_put sums in a fixed order on CUDA, too, as index_add does not.
        total = torch.zeros_like(logits, dtype=joint.dtype).index_put((cond,), joint, accumulate=True)
        grad_x, grad_mean, grad_scale = library.gmm_log_prob_backward(joint, x, mean, scale, cond)
    grad_logits = total - logits.to(joint.dtype).softmax(1) * total.sum(1, keepdim=True)
    return grad_x, grad_logits.to(logits.dtype), grad_mean, grad_scale


def joint_gradient(shares: Tensor, grad: Grad, grad_shares: Grad) -> Tensor:
    """Return the gradient in log π_k + log N_k ``[B, (C,) K]`` from those of log-density and shares r.

    d log p / d joint_k = r_k, and d r_l / d joint_k = r_l (δ_lk − r_k).
    """
    slope = torch.zeros_like(shares) if grad is None else grad.unsqueeze(-1).expand_as(shares)
    if grad_shares is not None:
        slope = slope + grad_shares - (shares * grad_shares).sum(-1, keepdim=True)
    return shares * slope
