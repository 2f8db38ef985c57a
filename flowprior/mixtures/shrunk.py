"""ShrunkCovariances: what covariances of conditions with few examples are drawn to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class ShrunkCovariances:
    """Σ_c = a_c S_c + b_c (W Wᵀ + diag(ψ)) of C conditions, with S_c their own maximum-likelihood covariance.

    Attributes:
        few: which conditions are drawn, bool ``[C]``; the others are left alone.
        own: a ``[C]``.
        common: b ``[C]``.
        factor: W ``[D, r]``.
        noise: ψ ``[D]``, without the variance floor.
    """

    few: Tensor
    own: Tensor
    common: Tensor
    factor: Tensor
    noise: Tensor

    def of(self, conditions: Tensor) -> ShrunkCovariances:
        """Those of some ``conditions`` ``[n]``."""
        rows = {name: getattr(self, name)[conditions] for name in ("few", "own", "common")}
        return replace(self, **rows)

    def variances(self, own: Tensor) -> Tensor:
        """Variances ``[C, K, D]`` of every dimension, where the conditions' own are ``own``."""
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
