"""The metrics of restored images: against the original images, and against their observations.

Peak signal-to-noise ratio: 10 log₁₀(2² / mean squared error) decibels of images in [-1, 1], of each sample,
and of the mean of the samples of one condition, which is what the ratio favours: the more a restoration
dares, the lower it is.

Structural similarity (Wang et al. 2004, eq. 13): means, variances and covariance under a Gaussian window of
11 × 11 and deviation 1.5, K₁ = .01, K₂ = .03, range 2. Images are mirrored at their edges, as torchmetrics
does; scikit-image leaves the edges out.

Consistency: a restoration is made low-resolution again, or hidden again, and held against what was observed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Conditions, Parts
from flowprior.conditions.values import kind_of
from flowprior.metrics.base import Metric, MetricInfo
from flowprior.metrics.ensembles import EnsembleMetric, PairedMetric, ensembles
from flowprior.metrics.setup import Drawn, Setup
from flowprior.streams.data import Observation

PEAK = 2.0
"""The range of the data."""
LEAST_ERROR = 1e-10
"""The lower bound on a mean squared error, which bounds the PSNR."""
OF_MEAN = "psnr_of_mean"
SIDE, DEVIATION = 11, 1.5
"""The side of the window of SSIM, in pixels, and the standard deviation of its Gaussian weights."""
K1, K2 = 0.01, 0.03


class ImageMetric(EnsembleMetric):
    """The base class of metrics of each restored image against the original."""

    better = "higher"
    side: ClassVar[int] = 1
    """The least height and width of an image, in pixels."""
    likeness: Callable[[Tensor, Tensor], Tensor]
    """The function of images and truths, both ``[B, C, H, W]``, that returns the metric ``[B]``."""

    def scores(self, samples: Tensor, truth: Tensor) -> Tensor:
        every = truth.repeat_interleave(samples.shape[1], 0)
        return self.likeness(samples.flatten(0, 1), every).view(samples.shape[:2]).mean(1)

    def described(self, setup: Setup, what: Mapping[str, str]) -> dict[str, MetricInfo]:
        return super().described(setup, what) if self._serves(setup) else {}

    def lacks(self, setup: Setup) -> str:
        if self._serves(setup):
            return super().lacks(setup)
        return f"pictures of {self.side} x {self.side} pixels or more" if self.side > 1 else "pictures"

    def _serves(self, setup: Setup) -> bool:
        return setup.data.is_image and min(setup.data.event_shape[1:]) >= self.side


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Return the PSNR in decibels ``[B]``, at most 106, of images x ``[B, C, H, W]`` in [-1, 1]."""
    error = (x.double() - truth.double()).square().flatten(1).mean(1)
    return 10 * (PEAK**2 / error.clamp_min(LEAST_ERROR)).log10()


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Return the similarity ``[B]``, at most 1, of images ``[B, C, H, W]`` of 11 × 11 pixels or more."""
    channels = x.shape[1]
    place = torch.arange(SIDE, dtype=torch.float64) - SIDE // 2
    line = (-place.square() / (2 * DEVIATION**2)).exp()
    window = (line[:, None] * line) / line.sum() ** 2
    window = window.expand(channels, 1, SIDE, SIDE).to(x.device)
    a, b = x.double(), truth.double()
    a, b = (functional.pad(image, [SIDE // 2] * 4, mode="reflect") for image in (a, b))
    maps = torch.cat([a, b, a * a, b * b, a * b])
    mean_a, mean_b, aa, bb, ab = functional.conv2d(maps, window, groups=channels).chunk(5)
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    covariance, variances = ab - mean_a * mean_b, aa - mean_a.square() + bb - mean_b.square()
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a.square() + mean_b.square() + c1) * (variances + c2)
    return (above / below).flatten(1).mean(1)


def consistency(observation: Observation, x: Tensor, cond: Conditions) -> Tensor:
    """Return the root mean square difference ``[B]`` between the observation of x and the given one.

    Args:
        observation: the observation of an image, such as of low resolution.
        x: samples ``[B, *event]``.
        cond: the observations, or parts of which one is.
    """
    parts = [part for _, part in cond.items()] if isinstance(cond, Parts) else [cond]
    observed = next(part for part in parts if isinstance(part, Tensor) and kind_of(part) == "tensor")
    expected, found = observation.of(x, observed)
    return (found.double() - expected.double()).square().flatten(1).mean(1).sqrt()


@Metric.register("psnr")
class Psnr(ImageMetric):
    """Peak signal-to-noise ratio (PSNR) of each restored image and of the mean of several, in decibels."""

    value = "psnr"
    names = ("psnr", OF_MEAN)
    what = "peak signal-to-noise ratio in decibels"
    likeness = staticmethod(psnr)

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = {self.value: self.what}
        if setup.members > 1:
            what[OF_MEAN] = f"{self.what} of the mean"
        return self.described(setup, what)

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        found = super().values(setup, drawn)
        if setup.members > 1:
            samples, truth = ensembles(setup, drawn)
            found[OF_MEAN] = psnr(samples.mean(1), truth).mean().item()
        return found


@Metric.register("ssim")
class Ssim(ImageMetric):
    """Structural similarity (SSIM) of each restored image with the original."""

    value = "ssim"
    names = ("ssim",)
    what = "structural similarity"
    side = SIDE
    likeness = staticmethod(ssim)


@Metric.register("consistency")
class Consistency(PairedMetric):
    """Root mean square difference between the observation of a sample and the given observation."""

    value = "consistency"
    names = ("consistency",)
    what = "root mean square difference of what would be observed of a sample and what was"

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return {} if setup.reference.data.observation is None else super().columns(setup)

    def lacks(self, setup: Setup) -> str:
        return "conditions that are observations, as of the data set 'restoration'"

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        observation = setup.reference.data.observation
        assert observation is not None
        assert drawn.cond is not None
        return {self.value: consistency(observation, drawn.x, drawn.cond).mean().item()}
