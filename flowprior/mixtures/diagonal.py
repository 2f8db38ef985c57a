"""Diagonal and spherical covariances, and what is derived of a buffer, kept as long as that stays."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from flowprior.mixtures.covariance import Covariance, FitSettings, Fitter, Parameters
from flowprior.mixtures.moments import ConditionMoments, Moments
from flowprior.ops.mixture import LOG_2PI


class Derived:
    """What a function makes of one buffer, computed again whenever the buffer was replaced or written to.

    Buffers are replaced by ``fit`` and ``.to()``, and written to by ``load_state_dict`` and in-place
    operations; both show in the tensor's identity and version. Copies start empty.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self._known: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def of(self, buffer: Tensor) -> Tensor:
        """``function(buffer)``."""
        if buffer.requires_grad or buffer.is_inference():
            return self.function(buffer)
        if self._known is not None:
            source, version, value = self._known
            if source() is buffer and version == buffer._version:
                return value
        value = self.function(buffer)
        self._known = (weakref.ref(buffer), buffer._version, value)
        return value

    def __reduce__(self) -> tuple[type[Derived], tuple[Callable[[Tensor], Tensor]]]:
        return Derived, (self.function,)


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
