"""Diagonal plus low rank: Σ_k = W_k W_kᵀ + diag(ψ_k), x0 = μ_k + W_k z + ψ_k^½ ε.

For a fixed ψ the maximum-likelihood W is known in closed form (Tipping & Bishop 1999, eq. 7, in
coordinates whitened by ψ): W = ψ^½ Q V (Λ − I)₊^½ with Λ, V the leading eigenpairs of the whitened
covariance. They are found by block subspace iteration with a Rayleigh–Ritz step, one iteration a pass
over the data (Halko, Martinsson & Tropp 2011), so that no D×D matrix is formed. ψ and W are set in
turn, W last. Because a Ritz step is exact inside its subspace, the latents inferred from the data,
z ~ p(z | x1), average to N(0, I)'s mean and covariance exactly, however far the subspace has converged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.mixtures.covariance import Covariance, FitSettings, Fitter, Parameters
from flowprior.mixtures.moments import ConditionMoments, Moments
from flowprior.ops import lowrank_log_density

OVERSAMPLING = 16
# Least ψ, as a share of the mean residual variance. Without a bound, maximum likelihood spends the factors on
# dimensions that hardly vary (Heywood cases, Lawley & Maxwell 1971): on Fashion-MNIST at rank 64 the held-out
# log-density falls from about 450 to -1070 nats.
LEAST_NOISE = 0.1
AT_ONCE = 1 << 21
"""Numbers of the conditions' bases that are turned at once: 16 MiB, and some times as much on the way."""


class LowRank(Covariance):
    """Σ_k = W_k W_kᵀ + diag(ψ_k); ``factor [C, K, D, r]`` and ``noise [C, K, D]``.

    Args:
        rank: r, at most D.
    """

    name = "lowrank"
    parameters = ("factor", "noise")

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def log_density(self, x: Tensor, mean: Tensor, covariance: Parameters) -> Tensor:
        """log N(x; μ_k, Σ_k) ``[n, K]`` of one condition: x ``[n, D]``, mean ``[K, D]``."""
        return lowrank_log_density(x, mean, covariance["factor"], covariance["noise"])

    def spread(self, covariance: Parameters) -> Tensor:
        return covariance["noise"]

    def of_moments(self, moments: Moments, reg_covar: float) -> Parameters:
        """The factor stays zero: pooled moments are kept as a diagonal."""
        dim = len(moments.mean)
        return {
            "factor": torch.zeros(dim, min(self.rank, dim), dtype=torch.float64),
            "noise": moments.variance + reg_covar,
        }

    def fitter(
        self, moments: ConditionMoments, components: int, *, dtype: torch.dtype, settings: FitSettings
    ) -> LowRankFitter:
        return LowRankFitter(self, moments, components, dtype, settings)


class LowRankFitter(Fitter):
    """EM whose M-step is one subspace iteration for every component."""

    def __init__(
        self,
        family: LowRank,
        moments: ConditionMoments,
        components: int,
        dtype: torch.dtype,
        settings: FitSettings,
    ) -> None:
        super().__init__(moments, components, dtype, settings)
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

    def log_density(self, prepared: Tensor, condition: int) -> Tensor:
        mean, factor, noise = (
            tensor[condition].to(prepared.dtype)
            for tensor in (self.mean, self.covariance["factor"], self.covariance["noise"])
        )
        return lowrank_log_density(prepared, mean, factor, noise).double()

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
        for c in active.nonzero()[:, 0].split(max(1, AT_ONCE // self.basis[0].numel())):
            self._iterate(c, count[c], first[c], variance[c], offset[c])
        self._mark_wide(variance + self.settings.reg_covar)
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
