"""Peak signal-to-noise ratio of pictures in [-1, 1] against the ones that they restore, in decibels.

10 log₁₀(2² / mean squared error), of each sample, and of the mean of the samples of one condition, which is
what the ratio favours: the more a restoration dares, the lower it is.
"""

from __future__ import annotations

from torch import Tensor

from flowprior.metrics.base import Metric, MetricInfo
from flowprior.metrics.ensembles import PictureMetric, ensembles
from flowprior.metrics.setup import Drawn, Setup

PEAK = 2.0
"""Range of the data."""
LEAST_ERROR = 1e-10
OF_MEAN = "psnr_of_mean"


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Decibels ``[B]`` of pictures x ``[B, C, H, W]`` in [-1, 1]; 106 at the most."""
    error = (x.double() - truth.double()).square().flatten(1).mean(1)
    return 10 * (PEAK**2 / error.clamp_min(LEAST_ERROR)).log10()


@Metric.register("psnr")
class Psnr(PictureMetric):
    """Peak signal-to-noise ratio of each restored picture, and of the mean of several, in decibels."""

    value = "psnr"
    names = ("psnr", OF_MEAN)
    what = "peak signal-to-noise ratio in decibels"

    def likeness(self, x: Tensor, truth: Tensor) -> Tensor:
        return psnr(x, truth)

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        found = super().columns(setup)
        if not found or setup.members == 1:
            return found
        info = found[self.value]
        what = info.description.replace(self.what, f"{self.what} of the mean", 1)
        return found | {OF_MEAN: MetricInfo(what, info.samples, info.reference, self.better)}

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        found = super().values(setup, drawn)
        if setup.members > 1:
            samples, truth = ensembles(drawn, setup.members)
            found[OF_MEAN] = psnr(samples.mean(1), truth).mean().item()
        return found
