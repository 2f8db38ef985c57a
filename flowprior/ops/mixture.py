"""Log-densities of the Gaussian components of a condition, and the choice of a component.

All take rows x ``[n, D]`` and the K components of their condition, and return log N(x; μ_k, Σ_k) ``[n, K]``
in nats. All arguments may have the same leading dimensions more, one condition each. They are written in the
centred form, which neither cancels nor overflows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def triangular_log_density(x: Tensor, mean: Tensor, cholesky: Tensor) -> Tensor:
    """Return the log-density of components with full covariance Σ_k = L_k L_kᵀ.

    Args:
        x: ``[n, D]``.
        mean: ``[K, D]``.
        cholesky: lower factors ``[K, D, D]``, or ``[1, D, D]`` for tied ones.
    """
    columns = []
    for k in range(mean.shape[-2]):
        factor = cholesky[..., min(k, cholesky.shape[-3] - 1), :, :]
        white = torch.linalg.solve_triangular(factor, (x - mean[..., k, None, :]).mT, upper=False)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        columns.append(-0.5 * (white.square().sum(-2) + log_det + x.shape[-1] * LOG_2PI))
    return torch.stack(columns, -1)


def select_component(log_weight: Tensor, uniform: Tensor) -> Tensor:
    """Draw k with probability ∝ exp(log_weight) by inverting the cumulative sum.

    The result is an index in range whatever the weights. NaN excludes a component as -inf does; components
    at +inf share the draws evenly and leave none to the others; where nothing is left, 0 is drawn.

    Args:
        log_weight: ``[B, K]``, or ``[K]`` for all rows; not necessarily normalised; -inf excludes a
            component.
        uniform: numbers in [0, 1), ``[B]``.

    Returns:
        Components ``[B]``, int64.
    """
    weight = _weights(log_weight.to(uniform.dtype))
    cumulative = weight.cumsum(-1)
    height = uniform.unsqueeze(-1) * cumulative[..., -1:]
    chosen = torch.searchsorted(cumulative, height, right=True).squeeze(-1)
    places = torch.arange(weight.shape[-1], device=weight.device)
    last = (places * (weight > 0)).amax(-1)
    return torch.minimum(chosen, last)


def _weights(logit: Tensor) -> Tensor:
    """exp(logit − greatest) of the last dimension; as csrc/math/weight.h says for NaN and infinity."""
    excluded = ~(logit > -torch.inf)
    logit = logit.masked_fill(excluded, -torch.inf)
    greatest = logit.amax(-1, keepdim=True)
    weight = torch.where(logit == greatest, 1.0, (logit - greatest).exp())
    return weight.masked_fill(excluded, 0.0)


def lowrank_log_density(x: Tensor, mean: Tensor, factor: Tensor, noise: Tensor) -> Tensor:
    """Return that of components whose covariance is diagonal plus low rank, Σ_k = W_k W_kᵀ + diag(ψ_k).

    Woodbury's identity and the determinant lemma keep everything at O(n D r); no D×D matrix is formed. With
    W̃ = ψ^(-1/2) W and M = I + W̃ᵀW̃, the latent factor's posterior is z | x ~ N(M⁻¹W̃ᵀa, M⁻¹) with
    a = ψ^(-1/2)(x − μ) (Tipping & Bishop 1999, with a diagonal noise). The quadratic form is
    written ‖a − W̃ẑ‖² + ‖ẑ‖², a sum of squares, so that it does not cancel.

    Args:
        x: ``[n, D]``.
        mean: ``[K, D]``.
        factor: W ``[K, D, r]``.
        noise: variances ψ ``[K, D]``.
    """
    columns = []
    for k in range(mean.shape[-2]):
        psi = noise[..., k, :]
        white, white_factor, cholesky = _whiten(x, mean[..., k, :], factor[..., k, :, :], psi)
        z = _posterior_mean(white, white_factor, cholesky)
        quadratic = (white - z @ white_factor.mT).square().sum(-1) + z.square().sum(-1)
        log_det = psi.log().sum(-1) + 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        columns.append(-0.5 * (quadratic + log_det[..., None] + x.shape[-1] * LOG_2PI))
    return torch.stack(columns, -1)


def lowrank_posterior_sample(x: Tensor, mean: Tensor, factor: Tensor, noise: Tensor, xi: Tensor) -> Tensor:
    """Return z ~ p(z | x) ``[n, r]`` of one component, from standard normal numbers ``xi`` ``[n, r]``.

    Args:
        x: ``[n, D]``.
        mean: ``[D]``.
        factor: W ``[D, r]``.
        noise: variances ψ ``[D]``.
    """
    white, white_factor, cholesky = _whiten(x, mean, factor, noise)
    spread = torch.linalg.solve_triangular(cholesky.mT, xi.mT, upper=True).mT
    return _posterior_mean(white, white_factor, cholesky) + spread


def _whiten(x: Tensor, mean: Tensor, factor: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = noise.rsqrt()
    white_factor = factor * scale[..., None]
    capacity = white_factor.mT @ white_factor
    capacity.diagonal(dim1=-2, dim2=-1).add_(1)
    white = (x - mean[..., None, :]) * scale[..., None, :]
    return white, white_factor, torch.linalg.cholesky(capacity)


def _posterior_mean(white: Tensor, white_factor: Tensor, cholesky: Tensor) -> Tensor:
    return torch.cholesky_solve((white @ white_factor).mT, cholesky).mT
