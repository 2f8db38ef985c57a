"""Covariance: one family of Gaussian components, its maximum-likelihood steps, and the settings of a fit.

A mixture has, for each condition c, K components with weights π_ck, means μ_ck and covariances Σ_ck.
A family says how Σ is parametrised. Its parameters are tensors with leading dimensions ``[C, K]``
(tied: ``[C, 1]``), which whoever draws from the mixture keeps.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowprior.mixtures.moments import ConditionMoments


class Statistics:
    """Responsibility-weighted sums about a reference point of each condition.

    Attributes:
        count: Σ r, ``[C, K]``.
        first: Σ r (x − ref), ``[C, K, D]``.
        second: Σ r (x − ref)², ``[C, K, D]``, or Σ r (x − ref)(x − ref)ᵀ, ``[C, K, D, D]``.
    """

    def __init__(self, conditions: int, components: int, dim: int, *, full: bool = False) -> None:
        self.full = full
        self.count = torch.zeros(conditions, components, dtype=torch.float64)
        self.first = torch.zeros(conditions, components, dim, dtype=torch.float64)
        self.second = torch.zeros(conditions, components, dim, *([dim] if full else []), dtype=torch.float64)

    def clear(self) -> None:
        """Back to zero, for the next pass."""
        for tensor in (self.count, self.first, self.second):
            tensor.zero_()

    def regularised(
        self, offset: Tensor, second: Tensor, shrinkage: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised moments after adding ``shrinkage`` pooled examples to every component.

        Args:
            offset: pooled mean relative to the reference, ``[C, D]``.
            second: pooled second moment about the reference, ``[C, D]`` or ``[C, D, D]``.
            shrinkage: one number, or one a condition ``[C, 1]``.

        Returns:
            effective count ``[C, K]``, mean offset ``[C, K, D]``, and covariance (or variance) about the
            mean. A component without any example takes the pooled moments.
        """
        empty = self.count + shrinkage <= 1e-10
        added = torch.where(empty, 1.0, torch.as_tensor(shrinkage).to(self.count).expand_as(self.count))
        count = self.count + added
        first = (self.first + added[..., None] * offset[:, None]) / count[..., None]
        weight = count.view(*count.shape, *[1] * (self.second.dim() - 2))
        moment = (self.second + added.view_as(weight) * second[:, None]) / weight
        outer = first[..., :, None] * first[..., None, :] if self.full else first.square()
        return count, first, moment - outer


Parameters = dict[str, Tensor]
RowsOf = Callable[[], Iterable[tuple[Tensor, int]]]
"""A function that begins one pass over the data: pieces of rows ``[n, D]`` of a condition, and its label."""

LOST_DIGITS = 0.01
"""Relative error of a variance from which on its sums are taken in float64."""


class Covariance(abc.ABC):
    """One family of covariances; stateless."""

    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    rank: int = 0
    full_moments: ClassVar[bool] = False
    fitter_class: ClassVar[type[Fitter]]
    """The class of the family's maximum-likelihood fits."""

    @abc.abstractmethod
    def spread(self, covariance: Parameters) -> Tensor:
        """Numbers that are positive where the covariance is positive definite."""

    def fitter(
        self, moments: ConditionMoments, components: int, *, dtype: torch.dtype, settings: FitSettings
    ) -> Fitter:
        """Begin a maximum-likelihood fit over all conditions at once."""
        return self.fitter_class(self, moments, components, dtype, settings)


@dataclass(frozen=True)
class ShrunkCovariances:
    """Σ_c = a_c S_c + b_c (W Wᵀ + diag(ψ)) of C conditions, with S_c their own maximum-likelihood covariance.

    Attributes:
        few: which conditions are drawn, bool ``[C]``; the others are left alone.
        own: a ``[C]``.
        common: b ``[C]``.
        factor: W ``[D, r]``.
        noise: ψ ``[D]``, without ``reg_covar``.
    """

    few: Tensor
    own: Tensor
    common: Tensor
    factor: Tensor
    noise: Tensor

    def of(self, conditions: Tensor) -> ShrunkCovariances:
        """Return the covariances of some ``conditions`` ``[n]``."""
        rows = {name: getattr(self, name)[conditions] for name in ("few", "own", "common")}
        return replace(self, **rows)

    def variances(self, own: Tensor) -> Tensor:
        """Return the shrunk variances ``[C, K, D]``; ``own`` are those of each condition's own rows."""
        found = own.clone()
        found[self.few] = self._blended(own[self.few], self.factor.square().sum(1) + self.noise)
        return found

    def times(self, basis: Tensor, own: Tensor) -> Tensor:
        """Σ_c times ``basis``, ``[C, K, D, r]``, where the conditions' own covariances give ``own``."""
        basis, found = basis[self.few], own.clone()
        common = self.factor @ (self.factor.T @ basis) + self.noise[:, None] * basis
        found[self.few] = self._blended(own[self.few], common)
        return found

    def _blended(self, own: Tensor, common: Tensor) -> Tensor:
        a, b = (x[self.few].view(-1, *[1] * (own.dim() - 1)) for x in (self.own, self.common))
        return a * own + b * common


@dataclass(frozen=True)
class FitSettings:
    """The settings of a fit, besides the data.

    Attributes:
        reg_covar: added to every variance.
        shrinkage: how many examples' worth of the pooled moments every component is given.
        generator: source of randomness.
        isotropic: one noise variance for all dimensions (low-rank family).
        fixed_noise: the noise variance, where it is not to be estimated (low-rank family).
        shrunk: what covariances of conditions with few examples are drawn to (low-rank family).
    """

    reg_covar: float
    shrinkage: float = 0.0
    generator: torch.Generator | None = None
    isotropic: bool = False
    fixed_noise: float | None = None
    shrunk: ShrunkCovariances | None = None


class Fitter(abc.ABC):
    """State of one fit: statistics of the running pass, and parameters of the last maximisation.

    Attributes:
        mean: ``[C, K, D]``, float64.
        covariance: parameters of the family, float64.
        statistics: what the running pass has gathered.
    """

    passes: ClassVar[int] = 0
    """The number of passes over the rows that a single component takes; 0 in closed form."""
    full: ClassVar[bool] = False
    """True if second moments are of all pairs of dimensions."""

    def __init__(
        self,
        family: Any,
        moments: ConditionMoments,
        components: int,
        dtype: torch.dtype,
        settings: FitSettings,
    ) -> None:
        self.family = family
        self.settings = settings
        self.dtype = dtype
        self.components = components
        self.pooled = moments.pooled()
        self.reference = moments.mean
        dim = moments.mean.shape[1]
        self.statistics = Statistics(len(moments.count), components, dim, full=self.full)
        # Conditions whose sums need float64: all, while nothing is known of where the components lie.
        self.wide = torch.full((len(moments.count),), components > 1 and dtype != torch.float64)
        self.mean = torch.zeros_like(self.statistics.first)
        self.covariance: Parameters = {}

    def prepare(self, x: Tensor, condition: int) -> Tensor:
        """Return what density and statistics both need of rows x ``[n, D]``: the rows themselves."""
        return x

    def log_density(self, prepared: Tensor, condition: int) -> Tensor:
        """Component log-densities ``[n, K]`` of :meth:`prepare`'s rows, current parameters (E-step)."""
        covariance = {name: table[condition].to(prepared) for name, table in self.covariance.items()}
        return self.family.log_density(prepared, self.mean[condition].to(prepared), covariance).double()

    @abc.abstractmethod
    def accumulate(self, prepared: Tensor, condition: int, responsibilities: Tensor) -> None:
        """Add :meth:`prepare`'s rows with responsibilities ``[n, K]`` to the statistics."""

    @abc.abstractmethod
    def maximise(self, active: Tensor) -> None:
        """Set parameters of the ``active`` conditions (bool ``[C]``), then clear the statistics."""

    def fit_single(self, rows_of: RowsOf, moments: ConditionMoments) -> None:
        """Fit one component to every condition: by passes over its rows, or from its ``moments``."""
        self.statistics.count[:, 0] = moments.count
        self.statistics.second[:, 0] = moments.scatter
        self.maximise(torch.ones(len(moments.count), dtype=torch.bool))

    def _centred(self, x: Tensor, condition: int) -> Tensor:
        """Rows about the condition's reference, in a dtype whose digits suffice for squares."""
        if bool(self.wide[condition]):
            return x.double() - self.reference[condition]
        return x - self.reference[condition].to(x.dtype)

    def _pooled_about_reference(self) -> tuple[Tensor, Tensor]:
        """Pooled mean relative to each condition's reference ``[C, D]``, and pooled second moment there."""
        offset = self.pooled.mean - self.reference
        return offset, self.pooled.variance + offset.square()
