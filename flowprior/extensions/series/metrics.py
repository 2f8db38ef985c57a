"""The coverage of a forecast's members (Gneiting & Raftery 2007).

Coverage is how often the truth lies where it is said to lie. Of an ensemble that is drawn from the law of the
truth, the rank of the truth among the members is uniform (section 4): between the k-th and the k-th last of m
members it lies with probability (m + 1 − 2 k)/(m + 1). So the ends of an interval of probability p are at the
ranks (1 ∓ p)/2 × (m + 1), between two members where these are no whole numbers: Weibull's quantiles.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.metrics import Drawn, Metric, MetricInfo, Setup
from flowprior.metrics.ensembles import PairedMetric, ensembles

PROBABILITIES = (0.5, 0.9)
"""The probabilities of the central intervals."""


def coverage(samples: Tensor, truth: Tensor, probability: float) -> Tensor:
    """Return the share ``[n]`` of each true series that lies in the central interval of the members.

    Args:
        samples: ``[n, members, *event]``, at least (1 + p)/(1 − p) members: 19 for 0.9.
        truth: ``[n, *event]``.
        probability: p of the interval, in (0, 1).

    Raises:
        OptionError: no such probability, or too few members for its interval.
    """
    members = samples.shape[1]
    if not 0 < probability < 1 or (1 - probability) / 2 * (members + 1) < 1 - 1e-9:
        raise OptionError(
            f"coverage: expected (1 + p)/(1 - p) samples or more of each condition for the interval of p = "
            f"{probability:g}, got {members}; raise members"
        )
    ends = [(1 - probability) / 2, (1 + probability) / 2]
    drawn, true = samples.double().flatten(2).cpu().numpy(), truth.double().flatten(1).cpu().numpy()
    low, high = np.quantile(drawn, ends, axis=1, method="weibull")
    return torch.from_numpy((low <= true) & (true <= high)).double().mean(1)


@Metric.register("coverage")
class Coverage(PairedMetric):
    """Share of true values within the central 50 and 90 % intervals of several samples."""

    better = ""
    names = ()
    least = 19

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = {_name(p): f"share of numbers in the central interval of {p:.0%}" for p in PROBABILITIES}
        return self.described(setup, what)

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        samples, truth = ensembles(setup, drawn)
        return {_name(p): coverage(samples, truth, p).mean().item() for p in PROBABILITIES}


def _name(probability: float) -> str:
    return f"coverage_{100 * probability:.0f}"
