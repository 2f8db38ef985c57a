"""A regression from x_t to x1 in closed form: affine, plus a Gaussian kernel where it helps on rows left out.

E[x1 | x_t] is all that the optimal velocity of a straight path needs: v = (E[x1 | x_t] − x_t) / (1 − t).
Both forms choose their regularisation by the exact leave-one-out error (Allen 1974), which a linear smoother
ŷ = H y gives without refitting: (y_i − ŷ_i) / (1 − H_ii), or α_i / (K + I)⁻¹_ii with α = (K + I)⁻¹ y.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.couplings.cost import squared_distances

Denoiser = Callable[[Tensor], Tensor]

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the affine part, relative to the mean squared singular value."""
AMPLITUDES = (0.3, 1.0, 3.0, 10.0)
"""Of the Gaussian kernel, as a share of the noise variance."""
CONSTANT = 100.0


def fit_denoiser(x: Tensor, y: Tensor) -> tuple[Denoiser, float]:
    """A function from rows like x ``[n, d]`` to rows like y ``[n, e]``, and its leave-one-out error.

    Args:
        x: inputs, float64.
        y: targets, float64.

    Returns:
        the function, and the mean square error on rows left out.
    """
    affine, penalty, error = _fit_affine(x, y)
    kernel, kernel_error = _fit_kernel(x, y, penalty)
    return (kernel, kernel_error) if kernel_error < error else (affine, error)


def _fit_affine(x: Tensor, y: Tensor) -> tuple[Denoiser, float, float]:
    """Ridge regression; the function, its penalty on squared coefficients, and its leave-one-out error."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    left, singular, right = torch.linalg.svd(x - x_mean, full_matrices=False)
    power, projected = singular.square(), left.T @ (y - y_mean)
    scale = power.mean().clamp_min(1e-12)

    def left_out(penalty: float) -> float:
        weight = power / (power + penalty)
        residual = y - y_mean - left @ (weight[:, None] * projected)
        leverage = (left.square() @ weight) + 1 / len(x)
        return float((residual / (1 - leverage).clamp_min(1e-3)[:, None]).square().mean())

    penalty = min((float(ridge * scale) for ridge in RIDGES), key=left_out)
    coefficient = right.T @ ((singular / (power + penalty))[:, None] * projected)
    return (lambda rows: (rows - x_mean) @ coefficient + y_mean), penalty, left_out(penalty)


def _fit_kernel(x: Tensor, y: Tensor, penalty: float) -> tuple[Denoiser, float]:
    """Kernel ridge regression: the affine kernel of ``penalty`` plus a Gaussian one of the median width."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    distances = squared_distances(x, x)
    width = 2 * distances[distances > 0].median() if bool((distances > 0).any()) else distances.new_ones(())

    def kernel(rows: Tensor, distances: Tensor, amplitude: float) -> Tensor:
        linear = (rows - x_mean) @ (x - x_mean).T / penalty + CONSTANT
        return linear + amplitude * torch.exp(-distances / width)

    def left_out(amplitude: float) -> tuple[float, Tensor, float]:
        gram = kernel(x, distances, amplitude) + torch.eye(len(x)).to(x)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse @ (y - y_mean)
        return float((weights / inverse.diagonal()[:, None]).square().mean()), weights, amplitude

    error, weights, amplitude = min(map(left_out, AMPLITUDES), key=lambda found: found[0])
    return (lambda rows: kernel(rows, squared_distances(rows, x), amplitude) @ weights + y_mean), error
