"""Ridge regressions whose strength is chosen by the exact leave-one-out error (Allen 1974).

A linear smoother ŷ = H y gives the error on rows left out without refitting: (y_i − ŷ_i) / (1 − H_ii), or
α_i / (K + I)⁻¹_ii with α = (K + I)⁻¹ y for a kernel K in units of the noise variance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.couplings.costs import squared_distances

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties of the affine part, relative to the mean squared singular value."""
AMPLITUDES = (0.3, 1.0, 3.0, 10.0)
"""Amplitudes of the Gaussian kernel, as shares of the noise variance."""
CONSTANT = 100.0
MOST_DIMENSIONS = 64
Regression = Callable[[Tensor], Tensor]


def fit_regression(x: Tensor, y: Tensor) -> tuple[Regression, float]:
    """Fit an affine function, plus a Gaussian kernel where that helps on rows left out.

    Args:
        x: inputs ``[n, d]``, float64.
        y: targets ``[n, e]``, float64.

    Returns:
        the function from rows like x to rows like y, and the mean square error on rows left out.
    """
    affine, penalty, error = _fit_affine(x, y)
    kernel, kernel_error = _fit_kernel(x, y, penalty)
    return (kernel, kernel_error) if kernel_error < error else (affine, error)


def left_out(gram: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Solve a kernel ridge regression: its mean squared leave-one-out error, and its weights ``[n, e]``.

    Args:
        gram: K + I ``[n, n]``.
        y: targets ``[n, e]``.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = inverse @ y
    return float((weights / inverse.diagonal()[:, None]).square().mean()), weights


def median_distance(distances: Tensor) -> Tensor:
    """The median of the squared distances that are not 0, or 1 where all are."""
    return distances[distances > 0].median() if bool((distances > 0).any()) else distances.new_ones(())


def principal_axes(x: Tensor) -> Tensor:
    """Leading principal directions ``[D, d]`` of rows x ``[n, D]``, d at most 64 and a quarter of n."""
    centred = x - x.mean(0)
    count = max(1, min(MOST_DIMENSIONS, len(x) // 4, x.shape[1]))
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -count:].flip(1)
    left = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -count:].flip(1)
    return torch.linalg.qr(centred.T @ left).Q


def _fit_affine(x: Tensor, y: Tensor) -> tuple[Regression, float, float]:
    """Ridge regression; the function, its penalty on squared coefficients, and its leave-one-out error."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    left, singular, right = torch.linalg.svd(x - x_mean, full_matrices=False)
    power, projected = singular.square(), left.T @ (y - y_mean)
    scale = power.mean().clamp_min(1e-12)

    def error_of(penalty: float) -> float:
        weight = power / (power + penalty)
        residual = y - y_mean - left @ (weight[:, None] * projected)
        leverage = (left.square() @ weight) + 1 / len(x)
        return float((residual / (1 - leverage).clamp_min(1e-3)[:, None]).square().mean())

    penalty = min((float(ridge * scale) for ridge in RIDGES), key=error_of)
    coefficient = right.T @ ((singular / (power + penalty))[:, None] * projected)
    return (lambda rows: (rows - x_mean) @ coefficient + y_mean), penalty, error_of(penalty)


def _fit_kernel(x: Tensor, y: Tensor, penalty: float) -> tuple[Regression, float]:
    """Kernel ridge regression: the affine kernel of ``penalty`` plus a Gaussian one of the median width."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    distances = squared_distances(x, x)
    width, eye = 2 * median_distance(distances), torch.eye(len(x)).to(x)

    def kernel(rows: Tensor, distances: Tensor, amplitude: float) -> Tensor:
        linear = (rows - x_mean) @ (x - x_mean).T / penalty + CONSTANT
        return linear + amplitude * torch.exp(-distances / width)

    tried = [(*left_out(kernel(x, distances, a) + eye, y - y_mean), a) for a in AMPLITUDES]
    error, weights, amplitude = min(tried, key=lambda found: found[0])
    return (lambda rows: kernel(rows, squared_distances(rows, x), amplitude) @ weights + y_mean), error
