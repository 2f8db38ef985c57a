"""Ridge regressions whose strength is chosen by the exact leave-one-out error (Allen 1974).

A linear smoother ŷ = H y gives the error on rows left out without refitting: (y_i − ŷ_i) / (1 − H_ii), or
α_i / (K + I)⁻¹_ii with α = (K + I)⁻¹ y for a kernel K in units of the noise variance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowprior.couplings.costs import squared_distances

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties of the affine part, relative to the mean squared singular value."""
AMPLITUDES = (0.3, 1.0, 3.0, 10.0)
"""Amplitudes of the Gaussian kernel, as shares of the noise variance."""
CONSTANT = 100.0
"""The kernel's prior variance of the intercept, in units of the noise variance."""
MOST_DIMENSIONS = 64
"""The largest number of principal axes."""
Regression = Callable[[Tensor], Tensor]
"""A function from rows ``[m, d]`` to predictions ``[m, e]``."""


def fit_regression(x: Tensor, y: Tensor) -> tuple[Regression, float]:
    """Fit an affine function, plus a Gaussian kernel where that helps on rows left out.

    Args:
        x: inputs ``[n, d]``, float64.
        y: targets ``[n, e]``, float64.

    Returns:
        The function from rows like x to rows like y, and the mean square error on rows left out.
    """
    affine, penalty, error = _fit_affine(x, y)
    kernel, kernel_error = _fit_kernel(x, y, penalty)
    return (kernel, kernel_error) if kernel_error < error else (affine, error)


def principal_axes(x: Tensor) -> Tensor:
    """Return the leading principal directions ``[D, d]`` of x ``[n, D]``, d at most 64 and a quarter of n."""
    centred, count = x - x.mean(0), max(1, min(MOST_DIMENSIONS, len(x) // 4, x.shape[1]))
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -count:].flip(1)
    left = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -count:].flip(1)
    return torch.linalg.qr(centred.T @ left).Q


def _fit_affine(x: Tensor, y: Tensor) -> tuple[Regression, float, float]:
    """Return a ridge regression, its penalty on squared coefficients, and its leave-one-out error."""
    from sklearn.linear_model import RidgeCV

    scale = float((x - x.mean(0)).square().sum().clamp_min(1e-12)) / min(x.shape)
    fitted: Any = RidgeCV(alphas=[ridge * scale for ridge in RIDGES]).fit(x.numpy(), y.numpy())
    coefficients, intercept = torch.from_numpy(fitted.coef_), torch.as_tensor(fitted.intercept_)
    return (lambda rows: rows @ coefficients.T + intercept), fitted.alpha_, -fitted.best_score_


def _fit_kernel(x: Tensor, y: Tensor, penalty: float) -> tuple[Regression, float]:
    """Return a kernel ridge regression, and its leave-one-out error.

    Its kernel is the affine one of ``penalty`` plus a Gaussian one of the median width.
    """
    x_mean, y_mean = x.mean(0), y.mean(0)
    distances = squared_distances(x, x)
    apart = distances[distances > 0]
    width, eye = 2 * (apart.median() if len(apart) else 1.0), torch.eye(len(x)).to(x)

    def kernel(rows: Tensor, distances: Tensor, amplitude: float) -> Tensor:
        linear = (rows - x_mean) @ (x - x_mean).T / penalty + CONSTANT
        return linear + amplitude * torch.exp(-distances / width)

    def tried(amplitude: float) -> tuple[float, Tensor, float]:
        gram = kernel(x, distances, amplitude) + eye
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse @ (y - y_mean)
        left_out = weights / inverse.diagonal()[:, None]
        return float(left_out.square().mean()), weights, amplitude

    error, weights, amplitude = min(map(tried, AMPLITUDES), key=lambda found: found[0])
    return (lambda rows: kernel(rows, squared_distances(rows, x), amplitude) @ weights + y_mean), error
