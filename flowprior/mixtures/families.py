"""Diagonal, spherical and full covariances; full ones are one a component, or tied within a condition."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.mixtures.covariance import Covariance, FitSettings, Fitter, Parameters
from flowprior.mixtures.moments import ConditionMoments, Moments
from flowprior.ops import triangular_log_density
from flowprior.ops.mixture import LOG_2PI


class Diagonal(Covariance):
    """Σ_k = diag(σ²_k1 … σ²_kD); variances ``var [C, K, D]``."""

    name = "diag"
    parameters = ("var",)

    def spread(self, covariance: Parameters) -> Tensor:
        return covariance["var"]

    def of_moments(self, moments: Moments, reg_covar: float) -> Parameters:
        return {"var": self.reduce(moments.variance) + reg_covar}

    def fitter(
        self, moments: ConditionMoments, components: int, *, dtype: torch.dtype, settings: FitSettings
    ) -> DiagonalFitter:
        return DiagonalFitter(self, moments, components, dtype, settings)

    def reduce(self, variance: Tensor) -> Tensor:
        """Variances as the family keeps them, from ``[..., D]``."""
        return variance


class Spherical(Diagonal):
    """Σ_k = σ²_k I; variances ``var [C, K, 1]``."""

    name = "spherical"

    def reduce(self, variance: Tensor) -> Tensor:
        return variance.mean(-1, keepdim=True)


class DiagonalFitter(Fitter):
    """EM with two matrix products a batch: densities and statistics are both linear in (x, x²)."""

    def __init__(
        self,
        family: Diagonal,
        moments: ConditionMoments,
        components: int,
        dtype: torch.dtype,
        settings: FitSettings,
    ) -> None:
        super().__init__(moments, components, dtype, settings)
        self.family = family
        self._coefficient = self._constant = torch.empty(0)
        self._exact = torch.zeros(len(moments.count), dtype=torch.bool)

    def prepare(self, x: Tensor, condition: int) -> Tensor:
        """(x − ref, (x − ref)²) side by side, ``[n, 2 D]``: density and statistics are linear in it."""
        dim = x.shape[1]
        wide = bool(self._exact[condition]) or bool(self.wide[condition])
        dtype = torch.float64 if wide else x.dtype
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

        Where (μ − ref)²/σ² is so large that the product form would cancel in float32, the condition
        is marked to be computed in float64.
        """
        offset = self.mean - self.reference[:, None]
        inverse = self.covariance["var"].reciprocal().expand_as(offset)
        distance = (offset.square() * inverse).sum(-1)
        log_det = -inverse.log().sum(-1)
        self._constant = -0.5 * (distance + log_det + offset.shape[-1] * LOG_2PI)
        self._coefficient = torch.cat([-2 * offset * inverse, inverse], dim=-1)
        self._mark_wide(self.covariance["var"])
        self._exact = distance.amax(-1) * torch.finfo(self.dtype).eps > 1e-2


class Full(Covariance):
    """Σ_k any positive definite matrix; lower Cholesky factors ``cholesky [C, K, D, D]``."""

    name = "full"
    parameters = ("cholesky",)
    full_moments = True
    tied = False

    def log_density(self, x: Tensor, mean: Tensor, covariance: Parameters) -> Tensor:
        """log N(x; μ_k, Σ_k) ``[n, K]`` of one condition: x ``[n, D]``, mean ``[K, D]``."""
        return triangular_log_density(x, mean, covariance["cholesky"])

    def log_density_of_rows(self, x: Tensor, mean: Tensor, cholesky: Tensor) -> Tensor:
        """log N(x; μ_k, Σ_k) ``[n, K]`` where each row has a mixture of its own.

        Args:
            x: ``[n, D]``.
            mean: ``[n, K, D]``.
            cholesky: lower factors ``[n, K, D, D]``, or ``[n, 1, D, D]`` for tied ones.
        """
        white = torch.linalg.solve_triangular(cholesky, (x[:, None] - mean)[..., None], upper=False)[..., 0]
        log_det = 2 * self.spread({"cholesky": cholesky}).log().sum(-1)
        return -0.5 * (white.square().sum(-1) + log_det + x.shape[1] * LOG_2PI)

    def spread(self, covariance: Parameters) -> Tensor:
        return covariance["cholesky"].diagonal(dim1=-2, dim2=-1)

    def of_moments(self, moments: Moments, reg_covar: float) -> Parameters:
        covariance = moments.covariance if moments.covariance is not None else moments.variance.diag()
        return {"cholesky": _cholesky(covariance, reg_covar)}

    def fitter(
        self, moments: ConditionMoments, components: int, *, dtype: torch.dtype, settings: FitSettings
    ) -> FullFitter:
        return FullFitter(self, moments, components, dtype, settings)


class Tied(Full):
    """One full Σ shared by the components of a condition; ``cholesky [C, 1, D, D]``."""

    name = "tied"
    tied = True


class FullFitter(Fitter):
    """EM with full scatter matrices."""

    full = True

    def __init__(
        self,
        family: Full,
        moments: ConditionMoments,
        components: int,
        dtype: torch.dtype,
        settings: FitSettings,
    ) -> None:
        super().__init__(moments, components, dtype, settings)
        self.family = family

    def log_density(self, prepared: Tensor, condition: int) -> Tensor:
        mean, factor = self.mean[condition], self.covariance["cholesky"][condition]
        return triangular_log_density(prepared.double(), mean, factor)

    def accumulate(self, prepared: Tensor, condition: int, responsibilities: Tensor) -> None:
        centred = prepared.double() - self.reference[condition]
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
            share = self._shares(count)
            covariance = (share[:, :, None, None] * covariance).sum(1, keepdim=True)
        mean = self.reference[:, None] + first
        factor = _cholesky(covariance, self.settings.reg_covar)
        if not self.covariance:
            self.mean, self.covariance = mean, {"cholesky": factor}
        self.mean[active] = mean[active]
        self.covariance["cholesky"][active] = factor[active]
        self.statistics.clear()

    def _shares(self, count: Tensor) -> Tensor:
        """Weights ``[C, K]`` of the components in a tied matrix: an empty one has none, unless all are."""
        gathered = self.statistics.count + self.settings.shrinkage
        share = torch.where(gathered.sum(1, keepdim=True) > 0, gathered, count)
        return share / share.sum(1, keepdim=True)


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
