"""How close a fitted prior lies to data it has not seen: moments, density, spread."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from flowprior.inspection.examples import Examples
from flowprior.priors import Prior

MOST_ROWS = 500
"""Rows of each condition on each side of a Gaussian W2²."""
DENSITY_ROWS = 2000


@dataclass(frozen=True)
class Closeness:
    """Figures of one prior against held-out data.

    Attributes:
        explained_variance: 1 − E‖x1 − E[x0 | c]‖² / E‖x1 − m‖², with m the mean of all data.
        explained_per_condition: the same within each label; -1 is everything where there are no labels.
        log_density: mean of log p0(x1 | c), nats per dimension; a lower bound for a prior without a
            tractable density (``vae``).
        gaussian_w2: W2² between Gaussians with the moments of prior samples and of held-out data, for each
            label.
        gaussian_w2_floor: the same between training data and held-out data: what chance alone gives.
        spread: standard deviation of prior samples over that of the data, within conditions, root mean
            square over dimensions.
    """

    explained_variance: float
    explained_per_condition: dict[int, float]
    log_density: float
    gaussian_w2: dict[int, float]
    gaussian_w2_floor: dict[int, float]
    spread: float


@torch.no_grad()
def measure_closeness(prior: Prior, examples: Examples, generator: torch.Generator) -> Closeness:
    """All figures of :class:`Closeness`, from one draw for each held-out example.

    Raises:
        InputError: the prior cannot serve these conditions.
    """
    cond, x1 = examples.held_out_cond, examples.held_out
    starts = prior.sample(cond, len(x1), generator=generator).flatten(1).double().cpu()
    explained, overall = _explained(prior, examples)
    rows = slice(0, DENSITY_ROWS)
    density = prior.log_prob(x1[rows], None if cond is None else cond[rows]).double().mean()
    distances, floors, spreads = {}, {}, []
    for label, fit, held_out in examples.groups():
        own, data = starts[held_out], examples.held_out[held_out].flatten(1).double()
        if len(data) < 2:
            continue
        floors[label] = gaussian_w2_squared(examples.x[fit].flatten(1).double()[:MOST_ROWS], data[:MOST_ROWS])
        distances[label] = gaussian_w2_squared(own[:MOST_ROWS], data[:MOST_ROWS])
        spreads.append((_variance(own), _variance(data), len(data)))
    ours, theirs = (sum(spread[side] * spread[2] for spread in spreads) for side in (0, 1))
    return Closeness(
        explained_variance=overall,
        explained_per_condition=explained,
        log_density=float(density) / x1[0].numel(),
        gaussian_w2=distances,
        gaussian_w2_floor=floors,
        spread=(ours / theirs) ** 0.5 if theirs > 0 else float("nan"),
    )


def _explained(prior: Prior, examples: Examples) -> tuple[dict[int, float], float]:
    """Explained variance of each group and of everything."""
    x1 = examples.held_out
    mean = prior.mean(examples.held_out_cond, len(x1)).double().cpu()
    left = (x1.double() - mean).flatten(1).square().sum(1)
    total = (x1.double() - examples.x.double().mean(0)).flatten(1).square().sum(1)
    ratio = partial(_one_minus_ratio, left, total)
    return {label: ratio(rows) for label, _, rows in examples.groups()}, ratio(torch.arange(len(x1)))


def _one_minus_ratio(left: Tensor, total: Tensor, rows: Tensor) -> float:
    return 1 - float(left[rows].sum()) / max(float(total[rows].sum()), 1e-300)


def _variance(rows: Tensor) -> float:
    return float(rows.var(0).sum())


def gaussian_w2_squared(x: Tensor, y: Tensor) -> float:
    """W2² between Gaussians with the moments of x ``[n, D]`` and y ``[m, D]`` (Dowson & Landau 1982).

    With Cx = XᵀX / (n−1) of centred rows, tr (Cx^½ Cy Cx^½)^½ is the nuclear norm of X Yᵀ / √((n−1)(m−1)),
    so no D × D matrix is formed. The covariances of few rows in many dimensions put a floor under it.
    """
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(a) - 1, len(b) - 1
    cross = torch.linalg.svdvals(a @ b.T).sum() / (n * m) ** 0.5
    traces = a.square().sum() / n + b.square().sum() / m
    shift = (x.mean(0) - y.mean(0)).square().sum()
    return max(float(shift + traces - 2 * cross), 0.0)
