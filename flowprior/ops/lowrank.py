"""Gaussians whose covariance is diagonal plus low rank: Σ = W Wᵀ + diag(ψ).

Woodbury's identity and the determinant lemma keep everything at O(n D r); no D×D matrix is formed.
With W̃ = ψ^(-1/2) W and M = I + W̃ᵀW̃, the latent factor's posterior is z | x ~ N(M⁻¹W̃ᵀa, M⁻¹) with
a = ψ^(-1/2)(x − μ) (Tipping & Bishop 1999, with a diagonal noise).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.ops.mixture import LOG_2PI


def lowrank_log_density(x: Tensor, mean: Tensor, factor: Tensor, noise: Tensor) -> Tensor:
    """log N(x; μ_k, W_k W_kᵀ + diag(ψ_k)) ``[n, K]`` in nats.

    The quadratic form is written ‖a − W̃ẑ‖² + ‖ẑ‖², a sum of squares, so that it does not cancel.

    Args:
        x: ``[n, D]``.
        mean: ``[K, D]``.
        factor: W ``[K, D, r]``.
        noise: variances ψ ``[K, D]``.
    """
    columns = []
    for k in range(len(mean)):
        white, white_factor, cholesky = _whiten(x, mean[k], factor[k], noise[k])
        z = _posterior_mean(white, white_factor, cholesky)
        quadratic = (white - z @ white_factor.T).square().sum(1) + z.square().sum(1)
        log_det = noise[k].log().sum() + 2 * cholesky.diagonal().log().sum()
        columns.append(-0.5 * (quadratic + log_det + x.shape[1] * LOG_2PI))
    return torch.stack(columns, 1)


def lowrank_posterior_sample(x: Tensor, mean: Tensor, factor: Tensor, noise: Tensor, xi: Tensor) -> Tensor:
    """z ~ p(z | x) ``[n, r]`` of one component, from standard normal numbers ``xi`` ``[n, r]``.

    Args:
        x: ``[n, D]``.
        mean: ``[D]``.
        factor: W ``[D, r]``.
        noise: variances ψ ``[D]``.
    """
    white, white_factor, cholesky = _whiten(x, mean, factor, noise)
    spread = torch.linalg.solve_triangular(cholesky.T, xi.T, upper=True).T
    return _posterior_mean(white, white_factor, cholesky) + spread


def _whiten(x: Tensor, mean: Tensor, factor: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = noise.rsqrt()
    white_factor = factor * scale.unsqueeze(-1)
    capacity = white_factor.T @ white_factor
    capacity.diagonal().add_(1)
    return (x - mean) * scale, white_factor, torch.linalg.cholesky(capacity)


def _posterior_mean(white: Tensor, white_factor: Tensor, cholesky: Tensor) -> Tensor:
    return torch.cholesky_solve((white @ white_factor).T, cholesky).T
