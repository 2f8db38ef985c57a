"""Diagonal, spherical, full and low-rank covariances; one a component, or a full one tied within a condition.

Diagonal plus low rank is Σ_k = W_k W_kᵀ + diag(ψ_k), x0 = μ_k + W_k z + ψ_k^½ ε.

For a fixed ψ the maximum-likelihood W is known in closed form (Tipping & Bishop 1999, eq. 7, in
coordinates whitened by ψ): W = ψ^½ Q V (Λ − I)₊^½ with Λ, V the leading eigenpairs of the whitened
covariance. They are found by block subspace iteration with a Rayleigh–Ritz step, one iteration a pass
over the data (Halko, Martinsson & Tropp 2011), so that no D×D matrix is formed. ψ and W are set in
turn, W last. Because a Ritz step is exact inside its subspace, the latents inferred from the data,
z ~ p(z | x1), average to N(0, I)'s mean and covariance exactly, however far the subspace has converged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.mixtures.covariance import LOST_DIGITS, Covariance, Fitter, Parameters, RowsOf
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.mixture import LOG_2PI, lowrank_log_density, triangular_log_density

COVARIANCES = ("diag", "spherical", "full", "tied", "lowrank")
"""The names of the families of covariances."""
OVERSAMPLING = 16
# Least ψ, as a share of the mean residual variance. Without a bound, maximum likelihood spends the factors on
# dimensions that hardly vary (Heywood cases, Lawley & Maxwell 1971): on Fashion-MNIST at rank 64 the held-out
# log-density falls from about 450 to -1070 nats.
LEAST_NOISE = 0.1
AT_ONCE = 1 << 21
"""Numbers of the conditions' bases that are turned at once: 16 MiB, and some times as much on the way."""


class DiagonalFitter(Fitter):
    """EM with two matrix products a batch: densities and statistics are both linear in (x, x²)."""

    family: Diagonal

    def __init__(self, family: Diagonal, moments: ConditionMoments, *options: Any) -> None:
        super().__init__(family, moments, *options)
        self._coefficient = self._constant = torch.empty(0)

    def prepare(self, x: Tensor, condition: int) -> Tensor:
        """(x − ref, (x − ref)²) side by side, ``[n, 2 D]``: density and statistics are linear in it."""
        dim = x.shape[1]
        dtype = torch.float64 if bool(self.wide[condition]) else x.dtype
        features = torch.empty(len(x), 2 * dim, dtype=dtype)
        torch.sub(x.to(dtype), self.reference[condition].to(dtype), out=features[:, :dim])
        torch.mul(features[:, :dim], features[:, :dim], out=features[:, dim:])
        return features

    def log_density(self, prepared: Tensor, condition: int) -> Tensor:
        coefficient = self._coefficient[condition].to(prepared.dtype)
        return self._constant[condition] - 0.5 * (coefficient @ prepared.T).T.double()

    def accumulate(self, prepared: Tensor, condition: int, responsibilities: Tensor) -> None:
        self.statistics.count[condition] += responsibilities.double().sum(0)
        sums = (responsibilities.to(prepared.dtype).T @ prepared).double()
        first, second = sums.chunk(2, dim=1)
        self.statistics.first[condition] += first
        self.statistics.second[condition] += second

    def maximise(self, active: Tensor) -> None:
        offset, second = self._pooled_about_reference()
        _, first, variance = self.statistics.regularised(offset, second, self.settings.shrinkage)
        variance = self.family.reduce(variance.clamp_min(0)) + self.settings.reg_covar
        mean = self.reference[:, None] + first
        if not self.covariance:
            self.mean, self.covariance = mean, {"var": variance}
        self.mean[active] = mean[active]
        self.covariance["var"][active] = variance[active]
        self._prepare()
        self.statistics.clear()

    def _prepare(self) -> None:
        """Write the log-density as constant − ½ (x²·a − x·b), about the reference point.

        Where (μ − ref)²/σ² is so large that the product form, or the variance as a difference of sums, would
        cancel in float32, the condition is marked to be computed in float64.
        """
        offset = self.mean - self.reference[:, None]
        inverse = self.covariance["var"].reciprocal().expand_as(offset)
        distance = (offset.square() * inverse).sum(-1)
        log_det = -inverse.log().sum(-1)
        self._constant = -0.5 * (distance + log_det + offset.shape[-1] * LOG_2PI)
        self._coefficient = torch.cat([-2 * offset * inverse, inverse], dim=-1)
        self.wide = distance.amax(-1) * torch.finfo(self.dtype).eps > LOST_DIGITS


class Diagonal(Covariance):
    """Σ_k = diag(σ²_k1 … σ²_kD); variances ``var [C, K, D]``."""

    name = "diag"
    parameters = ("var",)
    fitter_class = DiagonalFitter

    def spread(self, covariance: Parameters) -> Tensor:
        return covariance["var"]

    def reduce(self, variance: Tensor) -> Tensor:
        """Return variances ``[..., D]`` in the form that the family keeps: one a dimension, or their mean."""
        return variance


class Spherical(Diagonal):
    """Σ_k = σ²_k I; variances ``var [C, K, 1]``."""

    name = "spherical"

    def reduce(self, variance: Tensor) -> Tensor:
        return variance.mean(-1, keepdim=True)


class FullFitter(Fitter):
    """EM with full scatter matrices."""

    full = True

    family: Full

    def prepare(self, x: Tensor, condition: int) -> Tensor:
        return x.double()

    def accumulate(self, prepared: Tensor, condition: int, responsibilities: Tensor) -> None:
        centred = prepared - self.reference[condition]
        weight = responsibilities.double()
        self.statistics.count[condition] += weight.sum(0)
        self.statistics.first[condition] += weight.T @ centred
        for k in range(self.components):
            self.statistics.second[condition, k] += (centred * weight[:, k : k + 1]).T @ centred

    def maximise(self, active: Tensor) -> None:
        offset = self.pooled.mean - self.reference
        pooled = self.pooled.covariance
        assert pooled is not None, "full moments are gathered for full covariances"
        second = pooled + offset[:, :, None] * offset[:, None, :]
        count, first, covariance = self.statistics.regularised(offset, second, self.settings.shrinkage)
        if self.family.tied:
            # An empty component has no weight in the tied matrix, unless all are empty.
            gathered = self.statistics.count + self.settings.shrinkage
            share = torch.where(gathered.sum(1, keepdim=True) > 0, gathered, count)
            share = share / share.sum(1, keepdim=True)
            covariance = (share[:, :, None, None] * covariance).sum(1, keepdim=True)
        mean = self.reference[:, None] + first
        factor = _cholesky(covariance, self.settings.reg_covar)
        if not self.covariance:
            self.mean, self.covariance = mean, {"cholesky": factor}
        self.mean[active] = mean[active]
        self.covariance["cholesky"][active] = factor[active]
        self.statistics.clear()


class Full(Covariance):
    """Σ_k any positive definite matrix; lower Cholesky factors ``cholesky [C, K, D, D]``."""

    name = "full"
    parameters = ("cholesky",)
    fitter_class = FullFitter
    full_moments = True
    tied = False

    def log_density(self, x: Tensor, mean: Tensor, covariance: Parameters) -> Tensor:
        """Return log N(x; μ_k, Σ_k) ``[n, K]`` of one condition: x ``[n, D]``, mean ``[K, D]``."""
        return triangular_log_density(x, mean, covariance["cholesky"])

    def spread(self, covariance: Parameters) -> Tensor:
        return covariance["cholesky"].diagonal(dim1=-2, dim2=-1)


class Tied(Full):
    """One full Σ shared by the components of a condition; ``cholesky [C, 1, D, D]``."""

    name = "tied"
    tied = True


def _cholesky(covariance: Tensor, reg_covar: float) -> Tensor:
    """Factor Σ + reg·I; where rounding leaves that slightly indefinite, with the least jitter that works.

    Raises:
        LinAlgError: Σ is singular and nothing is to be added to it.
    """
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + reg_covar
    for jitter in (0.0, 1e-14, 1e-12, 1e-10, 1e-8) if reg_covar > 0 else (0.0,):
        factor, info = torch.linalg.cholesky_ex(covariance + (reg_covar + jitter * scale) * eye)
        if not bool(info.any()):
            return factor
    raise torch.linalg.LinAlgError("a covariance is not positive definite")


class LowRankFitter(Fitter):
    """EM whose M-step is one subspace iteration for every component."""

    passes = 10
    family: LowRank

    def __init__(self, family: LowRank, moments: ConditionMoments, *options: Any) -> None:
        super().__init__(family, moments, *options)
        settings, components = self.settings, self.components
        conditions, dim = moments.mean.shape
        self.rank = min(family.rank, dim)
        self.width = min(dim, self.rank + OVERSAMPLING)
        random = torch.randn(dim, self.width, generator=settings.generator, dtype=torch.float64)
        variance = torch.where(moments.count[:, None] > 0, moments.variance(), self.pooled.variance)[:, None]
        if settings.shrunk is not None:
            variance = settings.shrunk.variances(variance)
        self.psi = self._noise(variance).repeat(1, components, 1)
        whitened = torch.linalg.qr(random).Q.expand(conditions, components, -1, -1)
        self.basis = whitened / self.psi.sqrt()[..., None]
        self.projected = torch.zeros_like(self.basis)

    def fit_single(self, rows_of: RowsOf, moments: ConditionMoments) -> None:
        every = torch.ones(len(self.psi), dtype=torch.bool)
        for _ in range(self.passes):
            for x, condition in rows_of():
                self.accumulate(x, condition, x.new_ones(len(x), 1))
            self.maximise(every)

    def accumulate(self, prepared: Tensor, condition: int, responsibilities: Tensor) -> None:
        c = condition
        centred = self._centred(prepared, c)
        self.statistics.count[c] += responsibilities.double().sum(0)
        for k in range(self.components):
            rows = responsibilities[:, k] > 1e-8
            part = centred[rows] if not bool(rows.all()) else centred
            weighted = part * responsibilities[rows, k : k + 1].to(part.dtype)
            self.statistics.first[c, k] += weighted.sum(0).double()
            self.statistics.second[c, k] += (weighted * part).sum(0).double()
            self.projected[c, k] += (weighted.T @ (part @ self.basis[c, k].to(part.dtype))).double()

    def maximise(self, active: Tensor) -> None:
        offset, second = self._pooled_about_reference()
        count, first, variance = self.statistics.regularised(offset, second, self.settings.shrinkage)
        if self.settings.shrunk is not None:
            variance = self.settings.shrunk.variances(variance)
        if not self.covariance:
            active, factor = torch.ones_like(active), self.basis.new_empty(*first.shape, self.rank)
            self.mean = torch.empty_like(first)
            self.covariance = {"factor": factor, "noise": torch.empty_like(self.psi)}
        for c in active.nonzero().flatten().split(max(1, AT_ONCE // self.basis[0].numel())):
            self._iterate(c, count[c], first[c], variance[c], offset[c])
        # The variance is a second moment less a squared mean; what rounding leaves of it in float32 is 1 part
        # in σ² / ((μ − ref)² · eps).
        ratio = (self.mean - self.reference[:, None]).square() / (variance + self.settings.reg_covar)
        self.wide = ratio.amax((1, 2)) * torch.finfo(self.dtype).eps > LOST_DIGITS
        self.statistics.clear()
        self.projected.zero_()

    def _iterate(self, c: Tensor, count: Tensor, first: Tensor, variance: Tensor, offset: Tensor) -> None:
        """The next parameters of some conditions ``c``, whose moments are given, and their next basis."""
        basis, psi = self.basis[c], self.psi[c]
        added = (count - self.statistics.count[c])[..., None, None]
        along = offset[:, None, None, :] @ basis
        # The pooled rows' second moment about the reference, diag(variance) + δ δᵀ, times the basis.
        pooled = self.pooled.variance[:, None] * basis + offset[:, None, :, None] * along
        moment = self.projected[c] + added * pooled
        applied = moment / count[..., None, None] - first[..., None] * (first[..., None, :] @ basis)
        if (shrunk := self.settings.shrunk) is not None:
            applied = shrunk.of(c).times(basis, applied)
        factor = self._ritz(basis, applied, psi)
        self.mean[c] = self.reference[c, None] + first
        self.covariance["factor"][c], self.covariance["noise"][c] = factor, psi
        self.psi[c] = psi = self._noise(variance - factor.square().sum(-1))
        deviation = psi.sqrt()[..., None]
        self.basis[c] = torch.linalg.qr(applied / deviation).Q / deviation

    def _ritz(self, basis: Tensor, applied: Tensor, psi: Tensor) -> Tensor:
        """W from Σ·basis, by the eigenpairs of the whitened covariance inside the subspace."""
        small = basis.mT @ applied
        values, vectors = torch.linalg.eigh(0.5 * (small + small.mT))
        values, vectors = values[..., -self.rank :], vectors[..., -self.rank :]
        spread = (values - 1).clamp_min(0).sqrt()
        return psi[..., None] * (basis @ vectors) * spread[..., None, :]

    def _noise(self, residual: Tensor) -> Tensor:
        """ψ from the variance that the factor leaves, bounded below."""
        if self.settings.fixed_noise is not None:
            return torch.full_like(residual, self.settings.fixed_noise)
        residual = residual.clamp_min(0)
        if self.settings.isotropic:
            residual = residual.mean(-1, keepdim=True).expand_as(residual)
        least = LEAST_NOISE * residual.mean(-1, keepdim=True)
        return torch.maximum(residual, least) + self.settings.reg_covar


class LowRank(Covariance):
    """Σ_k = W_k W_kᵀ + diag(ψ_k); ``factor [C, K, D, r]`` and ``noise [C, K, D]``.

    Args:
        rank: r, at most D.
    """

    name = "lowrank"
    parameters = ("factor", "noise")
    fitter_class = LowRankFitter

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def log_density(self, x: Tensor, mean: Tensor, covariance: Parameters) -> Tensor:
        """Return log N(x; μ_k, Σ_k) ``[n, K]`` of one condition: x ``[n, D]``, mean ``[K, D]``."""
        return lowrank_log_density(x, mean, covariance["factor"], covariance["noise"])

    def spread(self, covariance: Parameters) -> Tensor:
        return covariance["noise"]


def covariance_family(name: str, rank: int) -> Covariance:
    """Return the family called ``name``, one of ``COVARIANCES``; ``rank`` matters to ``lowrank`` alone."""
    families: dict[str, Covariance] = {
        family.name: family for family in (Diagonal(), Spherical(), Full(), Tied(), LowRank(rank))
    }
    return families[name]
