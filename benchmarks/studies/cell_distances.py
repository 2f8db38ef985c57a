"""Distances between generated and held-out cells of one type that stay well posed with few cells.

W2² of two finite clouds in 50 dimensions is mostly their sampling error: two independent halves of the same
cells lie as far apart as their spread, while copies of the mean lie nearer to either. Beside the raw figure
there are therefore three which are zero (on average) where the laws agree, and not before:

    debiased   W2²(X, Y) − ½ W2²(X, X') − ½ W2²(Y, Y')     equal counts; X', Y' further draws of either law
    energy     2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖           unbiased; zero only where the laws agree
    sliced     E_θ W2²(θ·X, θ·Y)                            one dimension at a time, so its bias is small
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.metrics import sliced_wasserstein2_squared, wasserstein2_squared

Figures = dict[str, float]
METRICS = ("raw", "debiased", "energy", "sliced")


def compare_type(drawn: Tensor, real: Tensor, twin: Tensor) -> Figures:
    """Every distance for one type.

    Args:
        drawn: ``[R, n, D]``, R ≥ 2 draws of as many cells as ``real`` has.
        real: held-out cells ``[n, D]``.
        twin: other real cells of the type ``[m, D]``, independent of ``real``.
    """
    raw = statistics.mean(wasserstein2_squared(draw, real) for draw in drawn)
    own = statistics.mean(wasserstein2_squared(a, b) for a, b in zip(drawn, drawn.roll(1, 0), strict=True))
    pooled = drawn.flatten(0, 1)
    return {
        "raw": raw,
        "debiased": raw - own / 2 - wasserstein2_squared(real, twin) / 2,
        "energy": energy_distance(pooled, real),
        "sliced": sliced_wasserstein2_squared(pooled, real),
    }


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖ of x ``[N, D]`` and y ``[M, D]``, over pairs of different cells."""
    x, y = x.double(), y.double()
    return float(2 * torch.cdist(x, y).mean() - _mean_apart(x) - _mean_apart(y))


def _mean_apart(x: Tensor) -> Tensor:
    return torch.cdist(x, x).sum() / max(len(x) * (len(x) - 1), 1)


def compare_types(
    draw: Callable[[Tensor], Tensor],
    real: tuple[Tensor, Tensor],
    twin: tuple[Tensor, Tensor],
    draws: int,
) -> Figures:
    """Every distance, averaged over the types that have held-out cells.

    Args:
        draw: labels ``[N]`` -> as many cells ``[N, D]``.
        real: held-out cells and their types.
        twin: other real cells and their types.
        draws: how often as many cells are drawn as are held out, at least 2.
    """
    x, labels = real
    wanted = labels.repeat(draws)
    drawn = draw(wanted).view(draws, *x.shape)
    each = [
        compare_type(drawn[:, labels == kind], x[labels == kind], twin[0][twin[1] == kind])
        for kind in labels.unique().tolist()
    ]
    return {name: statistics.mean(figures[name] for figures in each) for name in METRICS}


def floor(real: tuple[Tensor, Tensor], twin: tuple[Tensor, Tensor]) -> Figures:
    """What other real cells have in place of generated ones; debiased, that is zero by its making."""
    each = []
    for kind in real[1].unique().tolist():
        x, y = twin[0][twin[1] == kind], real[0][real[1] == kind]
        each.append(
            {
                "raw": wasserstein2_squared(x, y),
                "debiased": 0.0,
                "energy": energy_distance(x, y),
                "sliced": sliced_wasserstein2_squared(x, y),
            }
        )
    return {name: statistics.mean(figures[name] for figures in each) for name in METRICS}
