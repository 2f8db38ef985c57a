"""The native operators on subspace priors: source samples, and what a network is shown of a point.

Plain torch is in their callers: :meth:`flowprior.priors.frame.Frame.source` and ``place``, and
:meth:`flowprior.couplings.pair_law.PairLaw.standardised`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BASIS_COLUMNS = 16
"""The number that the columns of transposed bases are a multiple of."""
MOST_AXES = 512
"""The largest number of axes of a basis: a CUDA block keeps as many in shared memory."""
LEAST_ROOM = 1e-6
"""The least share of a coordinate outside of the subspace that its share of the variance is divided by."""


class SubspaceTables(NamedTuple):
    """The linear part of a subspace prior for each of B rows (:mod:`flowprior.priors.frame`).

    Attributes:
        loc: m ``[B, D]``, float32 or float64 as all but ``cond``.
        noise: ψ ``[B, D]``.
        spread: λ ``[B, r]``, with r of 1 to 512.
        basis: Qᵀ of each condition ``[C, r, W]``, W a multiple of 16, filled up with 0 from D on; see
            :func:`transposed_bases`.
        cond: the basis of each row, int64 ``[B]``.
    """

    loc: Tensor
    noise: Tensor
    spread: Tensor
    basis: Tensor
    cond: Tensor


def transposed_bases(basis: Tensor) -> Tensor:
    """Return bases ``[C, D, r]`` as the operators take them, ``[C, r, W]``."""
    dim = basis.shape[1]
    width = -(-dim // BASIS_COLUMNS) * BASIS_COLUMNS
    return torch.nn.functional.pad(basis.mT, (0, width - dim)).contiguous()


def subspace_source(x1: Tensor | None, latent: Tensor, epsilon: Tensor, tables: SubspaceTables) -> Tensor:
    """Return x0 = m + ψ^½ (Q λ^½ h0 + (I − Q Qᵀ) ε) ``[B, D]``.

    (Tipping & Bishop 1999; :mod:`flowprior.priors.frame` has the formulas.) Not differentiable.

    Args:
        x1: data ``[B, D]`` to infer h0 ~ p(h0 | x1) from; None where h0 is given.
        latent: standard normal noise ``[B, r]`` of the latents, or h0 itself.
        epsilon: standard normal noise ``[B, D]`` outside of the subspace.
        tables: the rows' linear part.
    """
    return torch.ops.flowprior.subspace_source(x1, latent, epsilon, *tables)


def subspace_view(
    x: Tensor,
    times: Tensor,
    tables: SubspaceTables,
    slope: Tensor,
    lengths: Tensor,
    floor: float,
    least: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the standardised point, its linear velocity, and the standard deviation of what that leaves.

    For points x_t = α x1 + σ x0 of pairs with the moments of :mod:`flowprior.couplings.pair_law`, each
    ``[B, D]``: (x_t − E[x_t])/Var[x_t]^½, E[u | x_t] and Var[u | x_t]^½, coordinate by coordinate. Not
    differentiable.

    Args:
        x: points ``[B, D]``.
        times: α, σ, α', σ' of each row, ``[B, 4]``.
        tables: the rows' linear part.
        slope: a ``[B, r]``, of h0 = a h1 + noise along the axes.
        lengths: squared lengths of the bases' rows, ``[C, D]``.
        floor: the variance floor in ψ.
        least: the least variance of the data outside of the subspace, in units of ψ.
    """
    loc, noise, spread, basis, cond = tables
    return torch.ops.flowprior.subspace_view(
        x, times, loc, noise, spread, slope, basis, lengths, cond, floor, least
    )
