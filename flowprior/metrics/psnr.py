"""Peak signal-to-noise ratio of pictures in [-1, 1] against the ones that they restore, in decibels.

10 log₁₀(2² / mean squared error), of each sample, and of the mean of the samples of one condition, which is
what the ratio favours: the more a restoration dares, the lower it is.
"""

from __future__ import annotations

from torch import Tensor

from flowprior.metrics.base import Metric, MetricInfo
from flowprior.metrics.paired import PairedMetric, ensembles
from flowprior.metrics.setup import Drawn, Setup

PEAK = 2.0
"""Range of the data."""
LEAST_ERROR = 1e-10


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Decibels ``[B]`` of pictures x ``[B, C, H, W]`` in [-1, 1]; 106 at the most."""
    error = (x.double() - truth.double()).square().flatten(1).mean(1)
    return 10 * (PEAK**2 / error.clamp_min(LEAST_ERROR)).log10()


@Metric.register("psnr")
class Psnr(PairedMetric):
    """Peak signal-to-noise ratio of each restored picture, and of the mean of several, in decibels."""

    value = "psnr"
    what = "peak signal-to-noise ratio in decibels"
    better = "higher"

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        found = super().columns(setup) if setup.data.is_image else {}
        if not found or setup.members == 1:
            return found
        info = found[self.value]
        what = info.description.replace(self.what, f"{self.what} of the mean", 1)
        return found | {"psnr_of_mean": MetricInfo(what, info.samples, info.reference, self.better)}

    def lacks(self, setup: Setup) -> str:
        return super().lacks(setup) if setup.data.is_image else "pictures"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        samples, truth = ensembles(drawn, setup.members)
        found = {self.value: self.compare(samples, truth)}
        if setup.members > 1:
            found["psnr_of_mean"] = psnr(samples.mean(1), truth).mean().item()
        return found

    def compare(self, samples: Tensor, truth: Tensor) -> float:
        return psnr(samples.flatten(0, 1), truth.repeat_interleave(samples.shape[1], 0)).mean().item()
