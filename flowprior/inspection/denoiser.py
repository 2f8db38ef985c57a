"""A regression from x_t to x1 in closed form: affine, plus a Gaussian kernel where it helps on rows left out.

E[x1 | x_t] is all that the optimal velocity of a straight path needs: v = (E[x1 | x_t] − x_t) / (1 − t).
Both parts choose their regularisation by the exact leave-one-out error (Allen 1974), which a linear smoother
ŷ = H y gives without refitting: (y_i − ŷ_i) / (1 − H_ii).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.couplings.cost import squared_distances

Denoiser = Callable[[Tensor], Tensor]

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the affine part, relative to the mean squared singular value."""
KERNEL_RIDGES = (0.1, 0.3, 1.0, 3.0)


def fit_denoiser(x: Tensor, y: Tensor) -> tuple[Denoiser, float]:
    """A function from rows like x ``[n, d]`` to rows like y ``[n, e]``, and its leave-one-out error.

    Args:
        x: inputs, float64.
        y: targets, float64.
    """
    affine, residual, error = _fit_affine(x, y)
    kernel, error = _fit_kernel(x, residual, error)
    return (lambda rows: affine(rows) + kernel(rows)), error


def _fit_affine(x: Tensor, y: Tensor) -> tuple[Denoiser, Tensor, float]:
    """Ridge regression; the function, what it leaves of y, and its leave-one-out error."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    left, singular, right = torch.linalg.svd(x - x_mean, full_matrices=False)
    power, projected = singular.square(), left.T @ (y - y_mean)
    scale = power.mean().clamp_min(1e-300)
    best: tuple[float, Tensor, Tensor] | None = None
    for ridge in RIDGES:
        weight = power / (power + ridge * scale)
        residual = y - y_mean - left @ (weight[:, None] * projected)
        leverage = (left.square() @ weight) + 1 / len(x)
        error = float((residual / (1 - leverage).clamp_min(1e-3)[:, None]).square().mean())
        if best is None or error < best[0]:
            best = error, residual, singular / (power + ridge * scale)
    assert best is not None
    coefficient = right.T @ (best[2][:, None] * projected)
    return (lambda rows: (rows - x_mean) @ coefficient + y_mean), best[1], best[0]


def _fit_kernel(x: Tensor, residual: Tensor, error: float) -> tuple[Denoiser, float]:
    """Kernel ridge regression of the residual, of the median width; nothing where the mean is no worse."""
    distances = squared_distances(x, x)
    width = 2 * distances[distances > 0].median() if bool((distances > 0).any()) else distances.new_ones(())
    kernel = torch.exp(-distances / width)
    best: Tensor | None = None
    for ridge in KERNEL_RIDGES:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel + ridge * torch.eye(len(x)).to(kernel)))
        weights = inverse @ residual
        left_out = float((weights / inverse.diagonal()[:, None]).square().mean())
        if left_out < error:
            error, best = left_out, weights
    if best is None:
        return (lambda rows: rows.new_zeros(len(rows), residual.shape[1])), error
    chosen = best
    return (lambda rows: torch.exp(-squared_distances(rows, x) / width) @ chosen), error
