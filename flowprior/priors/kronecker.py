"""The root of a covariance that is a product over the axes of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import normal


@dataclass(frozen=True)
class KroneckerRoot:
    """K^½ = (F_1 ⊗ … ⊗ F_A) diag(s), of rows ``[N, n_1, …, n_A]``.

    Attributes:
        factors: F_a ``[n_a, n_a]``, a lower triangle or an orthogonal basis; ``[0]`` is the identity.
        bases: which of them are bases.
        deviation: s ``[n_1, …, n_A]``; the same along the axes of triangles.
    """

    factors: tuple[Tensor, ...]
    bases: tuple[bool, ...]
    deviation: Tensor

    def times(self, z: Tensor) -> Tensor:
        """Return K^½ z."""
        x = z * self.deviation.to(z)
        for axis, factor in enumerate(self.factors):
            x = along(factor, x, axis) if len(factor) else x
        return x

    def transposed_times(self, x: Tensor) -> Tensor:
        """Return (K^½)ᵀ x."""
        for axis, factor in enumerate(self.factors):
            x = along(factor.mT, x, axis) if len(factor) else x
        return x * self.deviation.to(x)

    def solve(self, x: Tensor) -> Tensor:
        """Return K^(−½) x."""
        for axis, (factor, is_basis) in enumerate(zip(self.factors, self.bases, strict=True)):
            if is_basis:
                x = along(factor.mT, x, axis)
            elif len(factor):
                columns = torch.movedim(x, axis + 1, 0)
                solved = torch.linalg.solve_triangular(factor.to(x), columns.flatten(1), upper=False)
                x = torch.movedim(solved.view_as(columns), 0, axis + 1)
        return x / self.deviation.to(x)

    def draw(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw rows from N(0, K), in the dtype and on the device of ``like``."""
        return self.times(normal(n, *self.deviation.shape, like=like, generator=generator))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log N(x; 0, K) ``[N]``, in nats."""
        half_log_det = self.deviation.log().sum()
        for factor, is_basis in zip(self.factors, self.bases, strict=True):
            if len(factor) and not is_basis:
                copies = self.deviation.numel() // len(factor)
                half_log_det = half_log_det + copies * factor.diagonal().log().sum()
        return -0.5 * (self.solve(x).square() + LOG_2PI).flatten(1).sum(1) - half_log_det.to(x)

    def variances(self) -> Tensor:
        """Return the diagonal of K, ``[n_1, …, n_A]``."""
        x = self.deviation.square()[None]
        for axis, factor in enumerate(self.factors):
            x = along(factor.square(), x, axis) if len(factor) else x
        return x[0]


def along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return ``matrix`` ``[m, n]`` times x ``[N, …, n, …]`` along an axis of the grid."""
    return torch.movedim(torch.movedim(x, axis + 1, -1) @ matrix.mT.to(x), -1, axis + 1)
