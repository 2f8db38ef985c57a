"""Rotations of r coordinates that depend smoothly on a condition: products of pairs of reflections.

A Householder reflection H_v = I − 2 v vᵀ/vᵀv is orthogonal, so are products of them, and r of them reach every
orthogonal matrix (Householder 1958; as a parametrisation: Mhammedi et al. 2017, arXiv 1612.00188). One costs 2r
products and needs no decomposition. It moves smoothly with v, without the jumps of eigenvectors in sign and order,
so that a law of the coordinates can be learned. Two equal ones cancel: a network begins at the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowprior.priors.frame import Frame

SEED = 20250926


def pairs_of_mirrors(pairs: int, rank: int) -> Tensor:
    """Fixed vectors ``[2 pairs, r]``, of length about 1 and two and two equal: the identity."""
    generator = torch.Generator().manual_seed(SEED)
    return (torch.randn(pairs, rank, generator=generator) / rank**0.5).repeat_interleave(2, 0)


def rotate(x: Tensor, mirrors: Tensor) -> Tensor:
    """U x ``[B, r]`` of x ``[B, r]``, with U = H_1 H_2 … H_m of each row's ``mirrors`` ``[B, m, r]``."""
    for mirror in reversed(mirrors.unbind(1)):
        x = _reflect(x, mirror)
    return x


def rotate_back(x: Tensor, mirrors: Tensor) -> Tensor:
    """Uᵀ x ``[B, r]``: the inverse of :func:`rotate`."""
    for mirror in mirrors.unbind(1):
        x = _reflect(x, mirror)
    return x


def _reflect(x: Tensor, mirror: Tensor) -> Tensor:
    along = (x * mirror).sum(1, keepdim=True) / mirror.square().sum(1, keepdim=True)
    return x - 2 * along * mirror


@dataclass(frozen=True)
class MirroredFrame(Frame):
    """A frame with one basis for all rows, whose rotations are products of reflections.

    Attributes:
        mirrors: their vectors, ``[B, m, r]``.
        null: which rows have the null condition, bool ``[B]``.
        null_rotation: U of those, ``[r, r]``.
    """

    mirrors: Tensor
    null: Tensor
    null_rotation: Tensor

    def into(self, white: Tensor) -> Tensor:
        along = white @ self.basis[0].to(white.dtype)
        turned = rotate_back(along, self.mirrors.to(white.dtype))
        return self._choose(along, self.null_rotation, turned)

    def out_of(self, along: Tensor) -> Tensor:
        turned = rotate(along, self.mirrors.to(along.dtype))
        turned = self._choose(along, self.null_rotation.T, turned)
        return turned @ self.basis[0].T.to(along.dtype)

    def diagonal(self, weights: Tensor) -> Tensor:
        """As :meth:`Frame.diagonal`, by the diagonal of U diag(w) Uᵀ."""
        identity = torch.eye(weights.shape[1], dtype=weights.dtype, device=weights.device)
        columns = [rotate_back(row.expand_as(weights), self.mirrors.to(weights.dtype)) for row in identity]
        turned = torch.stack([(column.square() * weights).sum(1) for column in columns], 1)
        turned = self._choose(weights, self.null_rotation.square().T, turned)
        return turned @ self.basis[0].square().T.to(weights.dtype)

    def _choose(self, x: Tensor, matrix: Tensor, turned: Tensor) -> Tensor:
        """x ``[B, r]`` times ``matrix`` in rows of the null condition, ``turned`` in the others."""
        if not bool(self.null.any()):
            return turned
        return torch.where(self.null[:, None], x @ matrix.to(x.dtype), turned)
