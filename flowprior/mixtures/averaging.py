"""An average of Gaussian mixtures that were fitted to the same rows from different starts.

One mixture of many Gaussians follows its rows closely and its start by chance; the average of a few, again
a mixture, has a better held-out density than each of them (Ormoneit & Tresp 1998). Neighbouring components
share a covariance, as a mean needs few rows and a covariance many (Celeux & Govaert 1995 share one among all
components). Each covariance is drawn toward the one within all components of its mixture,

    S_g = (R_g + ν W) / (n_g + ν) + f I,   R_g = Σ_{k∈g} Σ_i r_ik (x_i − m_k)(x_i − m_k)ᵀ,   W = Σ_g R_g / n,

as in regularised discriminant analysis (Friedman 1989), and not toward the rows' own, which is much wider.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowprior.mixtures.kmeans import nearest_centre
from flowprior.ops.mixture import LOG_2PI

LLOYD_PASSES = 8
EM_PASSES = 4
"""Later ones gain little in held-out density and follow the rows more closely."""
ROUNDING = 1e-5
"""Least floor as a share of the mean variance: float32's sums are no more accurate."""
EXACT = "donot_use_mm_for_euclid_dist"
NEGLIGIBLE = 1e-4
"""Share of a row in a component below which the component does not look at it."""
ROWS_OF_A_COVARIANCE = 8
"""Rows that a covariance is estimated from, in units of the number of dimensions."""


@dataclass(frozen=True)
class GaussianLaw:
    """A Gaussian that stands in where rows are few: ``mean`` ``[D]``, ``covariance`` ``[D, D]``, float64."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class Blur:
    """What happens to x after it was drawn: a x + v^½ ε, ε standard normal.

    Attributes:
        slope: a ``[…, D]``.
        variance: v ``[…, D]``, at least 0.
    """

    slope: Tensor
    variance: Tensor

    def of(self, label: int) -> Blur:
        """That of one row."""
        return Blur(self.slope[label].double(), self.variance[label].double())

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Rows ``[n, D]`` again."""
        epsilon = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return self.slope.to(x) * x + self.variance.to(x).sqrt() * epsilon


@dataclass(frozen=True)
class Components:
    """Gaussians with weights, N(x; m_k, L_g L_gᵀ) with g the group of k.

    Attributes:
        logits: ``[K]``.
        mean: m ``[K, D]``.
        group: of each component, ``[K]``.
        cholesky: L, lower, of each group, ``[G, D, D]``.
    """

    logits: Tensor
    mean: Tensor
    group: Tensor
    cholesky: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) ``[n]`` for x ``[n, D]``."""
        return (self.component_log_density(x) + self.logits).logsumexp(1)

    def component_log_density(self, x: Tensor) -> Tensor:
        """log N(x; m_k, L_g L_gᵀ) ``[n, K]`` for x ``[n, D]``, in x's dtype."""
        mean, factors = self.mean.to(x), self.cholesky.to(x)
        distances, constants = [], []
        order = self.group.argsort(stable=True)
        identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        for part, factor in zip(order.split(self._sizes()), factors, strict=True):
            inverse = torch.linalg.solve_triangular(factor, identity, upper=False).T
            white = torch.cdist(x @ inverse, mean[part] @ inverse, compute_mode=EXACT)
            distances.append(white.square())
            constants.append(factor.diagonal().log().sum() + 0.5 * x.shape[1] * LOG_2PI)
        density = -0.5 * torch.cat(distances, 1)[:, order.argsort()]
        return density - torch.stack(constants)[self.group]

    def _sizes(self) -> list[int]:
        """Components of each group."""
        return torch.bincount(self.group, minlength=len(self.cholesky)).tolist()

    def blurred(self, blur: Blur) -> Components:
        """The law of a x + v^½ ε, exactly."""
        factor = blur.slope[:, None] * self.cholesky
        covariance = factor @ factor.mT + blur.variance.diag()
        return replace(self, mean=blur.slope * self.mean, cholesky=torch.linalg.cholesky(covariance))

    def draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        """``[n, D]``."""
        weight = self.logits.softmax(0)
        k = torch.multinomial(weight, n, replacement=True, generator=generator)
        epsilon = torch.randn(n, self.mean.shape[1], 1, generator=generator, dtype=self.mean.dtype)
        return self.mean[k] + (self.cholesky[self.group[k]] @ epsilon)[:, :, 0]


@dataclass(frozen=True)
class Regularisation:
    """What keeps components from following single rows.

    Attributes:
        shrinkage: ν, examples' worth of the covariance within all components that each one is given.
        floor: f, added to every variance.
        around: one example's worth of its mean goes into every group's, one of the group's into each
            component's, and D examples' worth of its covariance into the one within components.
    """

    shrinkage: float
    floor: float
    around: GaussianLaw


def fit_average(
    x: Tensor, components: int, members: int, to: Regularisation, generator: torch.Generator | None
) -> Components:
    """The average of ``members`` mixtures, each of about ``components`` Gaussians, of the rows x ``[n, D]``.

    With one component all members were the same, so there is one.
    """
    parts = [_fit_mixture(x, components, to, generator) for _ in range(members if components > 1 else 1)]
    logits, means, factors = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "mean", "cholesky")
    )
    groups, first = [], 0
    for part in parts:
        groups.append(part.group + first)
        first += len(part.cholesky)
    return Components(logits.log_softmax(0), means, torch.cat(groups), factors)


def _fit_mixture(
    x: Tensor, components: int, to: Regularisation, generator: torch.Generator | None
) -> Components:
    """EM from a partition of the rows among the components."""
    owner, group = _partition(x, components, generator)
    share = torch.nn.functional.one_hot(owner, len(group)).to(x.dtype)
    fitted = _maximise(x, share, group, to)
    for _ in range(EM_PASSES if len(group) > 1 else 0):
        joint = fitted.component_log_density(x) + fitted.logits.to(x)
        fitted = _maximise(x, joint.softmax(1), group, to)
    return fitted


def _partition(x: Tensor, components: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A component for each row, ``[n]``, and a group for each component, ``[K]``.

    The rows are parted in groups, as many as there are rows for covariances, and each group in components.
    """
    groups = max(round(len(x) / (ROWS_OF_A_COVARIANCE * x.shape[1])), 1)
    above = _lloyd(x, min(groups, components), generator)
    if components <= groups:
        return above, torch.arange(int(above.max()) + 1)
    owner, group = torch.zeros_like(above), []
    for g in range(int(above.max()) + 1):
        rows = (above == g).nonzero()[:, 0]
        own = _lloyd(x[rows], max(round(components * len(rows) / len(x)), 1), generator)
        owner[rows] = own + len(group)
        group += [g] * (int(own.max()) + 1)
    return owner, torch.tensor(group)


def _maximise(x: Tensor, share: Tensor, group: Tensor, to: Regularisation) -> Components:
    """Weights, means and covariances, float64, from the rows' shares ``[n, K]`` in the components."""
    dim, count = x.shape[1], share.sum(0, dtype=torch.float64)
    groups, total = int(group.max()) + 1, (share.T @ x).double()
    rows = count.new_zeros(groups).index_add_(0, group, count)
    near = total.new_zeros(groups, dim).index_add_(0, group, total) + to.around.mean
    near /= (rows + 1)[:, None]
    mean = (total + near[group]) / (count + 1)[:, None]
    scatter = total.new_zeros(groups, dim, dim)
    for k, g in enumerate(group.tolist()):
        scatter[g] += _scatter(x, share[:, k], mean[k].to(x))
    within = (scatter.sum(0) + dim * to.around.covariance) / (len(x) + dim)
    covariance = (scatter + to.shrinkage * within) / (rows + to.shrinkage).clamp_min(1e-12)[:, None, None]
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    diagonal += (ROUNDING * diagonal.mean(1, keepdim=True)).clamp_min(to.floor)
    return Components((count / len(x)).log(), mean, group, torch.linalg.cholesky(covariance))


def _scatter(x: Tensor, share: Tensor, mean: Tensor) -> Tensor:
    """Σ_i r_i (x_i − m)(x_i − m)ᵀ ``[D, D]`` over the rows whose share r is not negligible."""
    rows = (share > NEGLIGIBLE).nonzero()[:, 0]
    deviation = (x[rows] - mean) * share[rows, None].sqrt()
    return deviation.T @ deviation


def _lloyd(x: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """The nearest centre ``[n]`` of each row after some of Lloyd's passes; centres of no row are left out."""
    centres = x[torch.randperm(len(x), generator=generator)[:count]]
    for _ in range(LLOYD_PASSES if count > 1 else 0):
        owner = nearest_centre(x, centres)
        rows = torch.bincount(owner, minlength=len(centres))
        total = torch.zeros_like(centres).index_add_(0, owner, x)
        centres = (total / rows.clamp_min(1)[:, None])[rows > 0]
    return nearest_centre(x, centres).unique(return_inverse=True)[1]
