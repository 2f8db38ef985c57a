"""The kernel distance: the unbiased squared maximum mean discrepancy under a polynomial kernel, in float64.

MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) − 2 mean_{ij} k(x_i, y_j),  k(a, b) = (a·b / F + 1)³

(Gretton et al. 2012, lemma 6), as in KID (Bińkowski et al. 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.metrics.base import FeatureMetric, Metric, as_clouds
from flowprior.metrics.setup import Drawn, Setup
from flowprior.registry.options import check_counts

BLOCK = 1000
"""The number of rows of a kernel matrix that are held at once."""


class KernelDistance(NamedTuple):
    """The mean and standard deviation (over subsets, biased as in other libraries) of MMD²."""

    mean: float
    std: float


def polynomial_mmd2(x: Tensor, y: Tensor) -> float:
    """Return the unbiased MMD² between all rows of x ``[N, F]`` and of y ``[M, F]``, N and M at least 2.

    Raises:
        InputError: matrices that do not fit, are too small or not finite.
    """
    x, y = as_clouds("kernel distance", x, y, least=2)
    return float(_mmd2(x, y, x.new_ones(1, len(x)), y.new_ones(1, len(y))))


def kernel_distance(
    x: Tensor,
    y: Tensor,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    generator: torch.Generator | None = None,
) -> KernelDistance:
    """Return MMD² averaged over random subsets, drawn without replacement and as torchmetrics draws them.

    Computes each subset by itself, or every kernel value once if the subsets have at least as many pairs.

    Args:
        x: features ``[N, F]`` of one set, the real one.
        y: features ``[M, F]`` of the other.
        subsets: number of pairs of subsets.
        subset_size: rows of each subset.
        generator: picks the subsets; None takes torch's global one.

    Raises:
        InputError: matrices that do not fit, are too small for the subsets or not finite.
        OptionError: impossible counts.
    """
    x, y = as_clouds("kernel distance", x, y, least=2)
    check_counts("kernel_distance", subsets=subsets)
    check_counts("kernel_distance", 2, subset_size=subset_size)
    if subset_size > min(len(x), len(y)):
        raise InputError(
            f"kernel_distance: subsets of {subset_size} rows need as many, got {len(x)} and {len(y)}; "
            "choose a smaller subset_size"
        )
    drawn = [torch.randperm(len(rows), generator=generator)[:subset_size] for rows in (x, y) * subsets]
    places_x, places_y = torch.stack(drawn[::2]), torch.stack(drawn[1::2])
    if subsets * subset_size**2 < len(x) * len(y):
        values = x.new_tensor([polynomial_mmd2(x[i], y[j]) for i, j in zip(places_x, places_y, strict=True)])
    else:
        chosen_x = x.new_zeros(subsets, len(x)).scatter(1, places_x, 1)
        values = _mmd2(x, y, chosen_x, y.new_zeros(subsets, len(y)).scatter(1, places_y, 1))
    return KernelDistance(values.mean().item(), values.std(correction=0).item())


def _mmd2(x: Tensor, y: Tensor, chosen_x: Tensor, chosen_y: Tensor) -> Tensor:
    """Return MMD² of each pair of subsets, ``[S]``, from indicators ``[S, N]`` and ``[S, M]``."""
    n, m = chosen_x.sum(1), chosen_y.sum(1)
    own_x, own_y = ((cloud.square().mean(1) + 1) ** 3 for cloud in (x, y))
    within_x = _sums(x, x, chosen_x, chosen_x) - chosen_x @ own_x
    within_y = _sums(y, y, chosen_y, chosen_y) - chosen_y @ own_y
    across = _sums(x, y, chosen_x, chosen_y)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)


def _sums(x: Tensor, y: Tensor, chosen_x: Tensor, chosen_y: Tensor) -> Tensor:
    """Return Σ_ij k(x_i, y_j) over each pair of subsets, ``[S]``."""
    total = x.new_zeros(len(chosen_x))
    for rows, indicators in zip(x.split(BLOCK), chosen_x.split(BLOCK, dim=1), strict=True):
        total += ((indicators @ (rows @ y.T / x.shape[1] + 1) ** 3) * chosen_y).sum(1)
    return total


@Metric.register("kid")
class KernelMetric(FeatureMetric):
    """Kernel distance (KID on Inception features): unbiased, mean over subsets, for each set of features.

    Args:
        subsets: number of pairs of random subsets.
        subset_size: rows of each; no more than there are samples.
    """

    names = ("kid",)

    def __init__(self, subsets: int = 100, subset_size: int = 1000) -> None:
        check_counts("metric 'kid'", subsets=subsets)
        check_counts("metric 'kid'", 2, subset_size=subset_size)
        self.subsets = subsets
        self.subset_size = subset_size

    def describe(self, setup: Setup, name: str) -> tuple[str, str]:
        size = min(self.subset_size, setup.samples, len(setup.reference))
        what = f"unbiased polynomial MMD² ({self.subsets} subsets of {size})"
        return what, setup.reference.describe(setup.samples)

    def compare(self, real: Drawn, generated: Drawn, seed: int = 0) -> dict[str, float]:
        size = min(self.subset_size, len(generated.x), len(real.x))
        generator = torch.Generator().manual_seed(seed)
        distance = kernel_distance(
            real.x, generated.x, subsets=self.subsets, subset_size=size, generator=generator
        )
        all_equal = size == len(generated.x)  # every subset is the whole
        return {"kid": distance.mean} if all_equal else {"kid": distance.mean, "kid-std": distance.std}
