"""Mean, deviation and paired tests over seeds; the tests are two-sided.

Two designs that were trained with the same seed share initial weights, data order, times and conditions, so
their values are compared seed by seed. n seeds cannot give less than p = 2/2ⁿ by the exact sign-flip test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flowprior.evaluation.summary import spread

LEVEL = 0.05


@dataclass(frozen=True)
class PairedTest:
    """One design against another, seed by seed.

    Attributes:
        n: seeds that both have.
        difference: mean of (design − other).
        ratio: mean of the design over mean of the other; None where that is zero.
        wins: seeds in which the design is better.
        smallest_p: least p that the sign-flip test can give with n seeds; None below two.
        p_sign_flip: of the exact sign-flip test, two-sided; None below two seeds.
        p_t: of the paired t-test, two-sided; None below three seeds or where all differences are equal.
        verdict: ``"better"``, ``"worse"``, ``"no difference shown"``, or ``"too few seeds"``.
    """

    n: int
    difference: float
    ratio: float | None
    wins: int
    smallest_p: float | None
    p_sign_flip: float | None
    p_t: float | None
    verdict: str


def paired_test(
    ours: Mapping[int, float], theirs: Mapping[int, float], better: str = "lower"
) -> PairedTest | None:
    """Compare two designs over the seeds that both have; None where they have none in common.

    Args:
        ours: seed -> value of the design.
        theirs: seed -> value of the one it is compared with.
        better: ``"lower"`` or ``"higher"``.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    first, second = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    sign, mean, base = -1 if better == "lower" else 1, math.fsum(differences) / len(seeds), math.fsum(second)
    p = sign_flip_p(differences)
    least = 2 / 2 ** len(seeds) if len(seeds) > 1 else None
    return PairedTest(
        n=len(seeds),
        difference=mean,
        ratio=math.fsum(first) / base if base else None,
        wins=sum(sign * difference > 0 for difference in differences),
        smallest_p=least,
        p_sign_flip=p,
        p_t=paired_t_p(first, second),
        verdict=_verdict(p, least, sign * mean),
    )


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """p of the two-sided sign-flip test that the differences' law is symmetric about 0; None below two.

    Exact for up to 16 differences, from 100,000 random signs beyond (Fisher 1935; Good 2005, ch. 3).
    """
    from scipy.stats import permutation_test

    if len(differences) < 2:
        return None
    kind = {"permutation_type": "samples", "vectorized": True, "n_resamples": 100_000, "random_state": 0}
    return float(permutation_test((differences,), np.sum, **kind).pvalue)


def paired_t_p(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """p of the two-sided paired t-test; None below three pairs or where all differences are equal."""
    from scipy.stats import ttest_rel

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(differences) < 3 or not spread(differences).std:
        return None
    return float(ttest_rel(ours, theirs).pvalue)


def _verdict(p: float | None, least: float | None, gain: float) -> str:
    if p is None or least is None or least > LEVEL:
        return "too few seeds"
    if p > LEVEL:
        return "no difference shown"
    return "better" if gain > 0 else "worse"
