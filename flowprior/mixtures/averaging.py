"""An average of Gaussian mixtures that were fitted to the same rows from different starts.

One mixture of many full Gaussians follows its rows closely and its start by chance; the average of a few,
again a mixture, has a better held-out density than each of them (Ormoneit & Tresp 1998). Each component's
covariance is drawn toward the one within all components of its mixture,

    S_k = (R_k + ν W) / (n_k + ν) + f I,   R_k = Σ_i r_ik (x_i − m_k)(x_i − m_k)ᵀ,   W = Σ_k R_k / n,

as in regularised discriminant analysis (Friedman 1989), and not toward the rows' own, which is much wider.

A law that has learned what is common to two halves of the data draws as near to one as to the other, whatever
else its faults; a law that repeats its rows, or lies too closely around them, draws near its own half
(:func:`nearer_share`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.mixtures.em import nearest_centre
from flowprior.ops.mixture import LOG_2PI

LLOYD_PASSES = 8
EM_PASSES = 4
"""Later ones gain little in held-out density and follow the rows more closely."""
ROUNDING = 1e-5
"""Least floor as a share of the mean variance: float32's sums are no more accurate."""
NEGLIGIBLE = 1e-4
"""Share of a row in a component below which the component does not look at it."""
BLOCK = 1 << 22
"""Numbers in the whitened rows of all components that are held at a time."""
CHUNK = 512
"""Rows whose nearest rows are looked for at a time."""


@dataclass(frozen=True)
class Blur:
    """The change of x after it was drawn: a x + v^½ ε, ε standard normal.

    Attributes:
        slope: a ``[…, D]``.
        variance: v ``[…, D]``, at least 0.
    """

    slope: Tensor
    variance: Tensor

    def of(self, label: int) -> Blur:
        """Return the change of one row."""
        return Blur(self.slope[label].double(), self.variance[label].double())

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Rows ``[n, D]`` again."""
        epsilon = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return self.slope.to(x) * x + self.variance.to(x).sqrt() * epsilon


@dataclass(frozen=True)
class Components:
    """Gaussians with weights: ``logits`` ``[K]``, ``mean`` ``[K, D]``, lower ``cholesky`` ``[K, D, D]``."""

    logits: Tensor
    mean: Tensor
    cholesky: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) ``[n]`` for x ``[n, D]``."""
        return (component_log_density(x, self.mean, self.cholesky) + self.logits).logsumexp(1)

    def blurred(self, blur: Blur) -> Components:
        """The law of a x + v^½ ε, exactly."""
        factor = blur.slope[:, None] * self.cholesky
        covariance = factor @ factor.mT + blur.variance.diag()
        return Components(self.logits, blur.slope * self.mean, torch.linalg.cholesky(covariance))

    def draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        """``[n, D]``."""
        weight = self.logits.softmax(0)
        k = torch.multinomial(weight, n, replacement=True, generator=generator)
        epsilon = torch.randn(n, self.mean.shape[1], 1, generator=generator, dtype=self.mean.dtype)
        return self.mean[k] + (self.cholesky[k] @ epsilon)[:, :, 0]


@dataclass(frozen=True)
class Regularisation:
    """The numbers that keep components from following single rows.

    Attributes:
        shrinkage: ν, examples' worth of the covariance within all components that each one is given.
        floor: f, added to every variance.
        around: a covariance about the origin ``[D, D]``, float64: one example's worth of that mean goes into
            every component's, and D examples' worth of it into the covariance within components.
    """

    shrinkage: float
    floor: float
    around: Tensor


def fit_average(
    x: Tensor, components: int, members: int, to: Regularisation, generator: torch.Generator | None
) -> Components:
    """The average of ``members`` mixtures, each of ``components`` Gaussians, of the rows x ``[n, D]``.

    With one component all members were the same, so there is one.
    """
    parts = []
    for _ in range(members if components > 1 else 1):
        centres = x[torch.randperm(len(x), generator=generator)[:components]]
        parts.append(_fit_from_owners(x, _lloyd(x, centres), to))
    logits = torch.cat([part.logits for part in parts])
    means, factors = (torch.cat([getattr(p, name) for p in parts]) for name in ("mean", "cholesky"))
    return Components(logits.log_softmax(0), means, factors)


def nearer_share(x: Tensor, own: Tensor, other: Tensor) -> float:
    """Share of the rows x ``[n, D]`` whose nearest row of ``own`` ``[M, D]`` is nearer than ``other``'s.

    Ties count half; 0.5 where the two are alike to x, 1 where x are copies of ``own``. Both halves need as
    many rows, or the larger one is nearer by chance; of no rows, 0.5.
    """
    if not len(x) or not len(own) or not len(other):
        return 0.5
    centre = own.mean(0)  # about which the product form of distances is accurate
    x, own, other = x - centre, own - centre, other - centre
    gaps = [_nearest(part, other) - _nearest(part, own) for part in x.split(CHUNK)]
    return 0.5 + 0.5 * float(torch.cat(gaps).sign().double().mean())


def _fit_from_owners(x: Tensor, owner: Tensor, to: Regularisation) -> Components:
    """EM from the rows' owners ``[n]`` among the components, which are 0, 1, …"""
    share = torch.nn.functional.one_hot(owner).to(x.dtype)
    fitted = _maximise(x, share, to)
    for _ in range(EM_PASSES if share.shape[1] > 1 else 0):
        density = component_log_density(x, fitted.mean.to(x), fitted.cholesky.to(x))
        fitted = _maximise(x, (density + fitted.logits.to(x)).softmax(1), to)
    return fitted


def _maximise(x: Tensor, share: Tensor, to: Regularisation) -> Components:
    """Weights, means and covariances, float64, from the rows' shares ``[n, K]`` in the components."""
    dim, count = x.shape[1], share.sum(0, dtype=torch.float64)
    mean = (share.T @ x).double() / (count + 1)[:, None]
    scatter = torch.stack([_scatter(x, share[:, k], mean[k].to(x)) for k in range(share.shape[1])]).double()
    within = (scatter.sum(0) + dim * to.around) / (len(x) + dim)
    covariance = (scatter + to.shrinkage * within) / (count + to.shrinkage).clamp_min(1e-12)[:, None, None]
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    diagonal += (ROUNDING * diagonal.mean(1, keepdim=True)).clamp_min(to.floor)
    return Components((count / len(x)).log(), mean, torch.linalg.cholesky(covariance))


def _scatter(x: Tensor, share: Tensor, mean: Tensor) -> Tensor:
    """Σ_i r_i (x_i − m)(x_i − m)ᵀ ``[D, D]`` over the rows whose share r is not negligible."""
    rows = (share > NEGLIGIBLE).nonzero().flatten()
    deviation = (x[rows] - mean) * share[rows, None].sqrt()
    return deviation.T @ deviation


def _lloyd(x: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre ``[n]`` of each row after some of Lloyd's passes; those of no row are left out."""
    for _ in range(LLOYD_PASSES):
        owner = nearest_centre(x, centres)
        count = torch.bincount(owner, minlength=len(centres))
        total = torch.zeros_like(centres).index_add_(0, owner, x)
        centres = (total / count[:, None])[count > 0]
    return nearest_centre(x, centres).unique(return_inverse=True)[1]


def _nearest(x: Tensor, rows: Tensor) -> Tensor:
    """Squared distance ``[n]`` to the nearest row; of exact differences, so that a copy's is 0."""
    winners = rows[torch.cdist(x, rows).argmin(1)]
    return (x - winners).square().sum(1)


def component_log_density(x: Tensor, mean: Tensor, cholesky: Tensor) -> Tensor:
    """log N(x; m_k, L_k L_kᵀ) ``[n, K]`` for x ``[n, D]``, mean ``[K, D]``, cholesky ``[K, D, D]``.

    All components in one batched call: few rows about each mean are solved for, many multiplied by inverses.
    """
    components, dim = mean.shape
    constant = cholesky.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * dim * LOG_2PI
    if len(x) < dim:
        white = torch.linalg.solve_triangular(cholesky, (x - mean[:, None]).mT, upper=False)
        return -0.5 * white.square().sum(1).T - constant
    identity = torch.eye(dim, dtype=x.dtype, device=x.device).expand_as(cholesky)
    inverse = torch.linalg.solve_triangular(cholesky, identity, upper=False).mT
    parts = []
    for rows in x.split(max(BLOCK // (components * dim), 1)):
        white = (rows - mean[:, None]) @ inverse
        parts.append(-0.5 * white.square().sum(2).T - constant)
    return torch.cat(parts)
