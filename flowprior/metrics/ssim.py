"""Structural similarity of pictures in [-1, 1] with the ones that they restore (Wang et al. 2004, eq. 13).

Means, variances and covariance under a Gaussian window of 11 × 11 and deviation 1.5, K₁ = .01, K₂ = .03,
range 2. Pictures are mirrored at their edges, as torchmetrics does; scikit-image leaves the edges out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.metrics.base import Metric
from flowprior.metrics.ensembles import PictureMetric

SIDE, DEVIATION = 11, 1.5
RANGE, K1, K2 = 2.0, 0.01, 0.03


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Similarity ``[B]``, at most 1, of pictures ``[B, C, H, W]`` of 11 × 11 pixels or more."""
    channels = x.shape[1]
    place = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    line = (-place.square() / (2 * DEVIATION**2)).exp()
    window = (line[:, None] * line) / line.sum() ** 2
    window = window.expand(channels, 1, SIDE, SIDE).to(x.device)
    a, b = x.double(), truth.double()
    a, b = (functional.pad(picture, [SIDE // 2] * 4, mode="reflect") for picture in (a, b))
    maps = torch.cat([a, b, a * a, b * b, a * b])
    mean_a, mean_b, aa, bb, ab = functional.conv2d(maps, window, groups=channels).chunk(5)
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    covariance, variances = ab - mean_a * mean_b, aa - mean_a.square() + bb - mean_b.square()
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a.square() + mean_b.square() + c1) * (variances + c2)
    return (above / below).flatten(1).mean(1)


@Metric.register("ssim")
class Ssim(PictureMetric):
    """Structural similarity of each restored picture with the one that it restores."""

    value = "ssim"
    names = ("ssim",)
    what = "structural similarity"
    side = SIDE

    def likeness(self, x: Tensor, truth: Tensor) -> Tensor:
        return ssim(x, truth)
