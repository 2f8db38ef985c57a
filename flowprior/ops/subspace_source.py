"""The tables of a subspace prior, as operators take them, and source samples that they infer from data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.operators import attempt, fake, is_plain, operators, reference, refuse_gradient
from flowprior.ops.shapes import check_alike, check_labels, contiguous_like, known_labels

BASIS_COLUMNS = 16
"""Columns of transposed bases come in whole pieces of so many."""
MOST_AXES = 512
"""Of a basis: what a CUDA block keeps of them in shared memory."""
LEAST_ROOM = 1e-6
"""Of a coordinate outside of the subspace, where its share of the variance is divided by it."""


class SubspaceTables(NamedTuple):
    """The linear part of a subspace prior for each of B rows (:mod:`flowprior.priors.frame`).

    Attributes:
        loc: m ``[B, D]``.
        noise: ψ ``[B, D]``.
        spread: λ ``[B, r]``.
        basis: Qᵀ of each condition ``[C, r, W]``, W a multiple of 16, filled up with 0 from D on; see
            :func:`transposed_bases`.
        cond: which basis each row takes, int64 ``[B]``.
    """

    loc: Tensor
    noise: Tensor
    spread: Tensor
    basis: Tensor
    cond: Tensor


def transposed_bases(basis: Tensor) -> Tensor:
    """Bases ``[C, D, r]`` as the operators take them, ``[C, r, W]``."""
    dim = basis.shape[1]
    width = -(-dim // BASIS_COLUMNS) * BASIS_COLUMNS
    return torch.nn.functional.pad(basis.mT, (0, width - dim)).contiguous()


def check_tables(owner: str, x: Tensor, tables: SubspaceTables) -> Tensor:
    """The condition of each row of x ``[B, D]``, checked, as everything else of the tables is.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown condition.
    """
    loc, noise, spread, basis, cond = tables
    fits = (
        x.dim() == 2
        and basis.dim() == 3
        and loc.shape == noise.shape == x.shape
        and spread.shape == (len(x), basis.shape[1])
        and 0 < basis.shape[1] <= MOST_AXES
        and basis.shape[2] % BASIS_COLUMNS == 0
        and 0 < x.shape[1] <= basis.shape[2]
    )
    if not fits:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (x, loc, noise, spread, basis))
        raise InputError(
            f"{owner}: expected rows, loc and noise [B, D], spread [B, r] and basis [C, r, W] with "
            f"1 <= r <= {MOST_AXES}, W >= D and W a multiple of {BASIS_COLUMNS}, got {shapes}; "
            "transposed_bases makes such a basis"
        )
    check_alike(owner, x=x, loc=loc, noise=noise, spread=spread, basis=basis)
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{owner}: expected float32 or float64, got {x.dtype}")
    cond = check_labels(owner, cond, len(basis), x)
    if len(cond) != len(x):
        raise InputError(f"{owner}: expected cond [B] with B = {len(x)}, got {list(cond.shape)}")
    return cond


def subspace_source(x1: Tensor, latent: Tensor, epsilon: Tensor, tables: SubspaceTables) -> Tensor:
    """x0 = m + ψ^½ (Q λ^½ h0 + (I − Q Qᵀ) ε) ``[B, D]`` with h0 ~ p(h0 | x1) from the noise ``latent``.

    (Tipping & Bishop 1999; :mod:`flowprior.priors.frame` has the formulas.) Not differentiable: backward
    raises.

    Args:
        x1: data ``[B, D]``, float32 or float64 as all tensors here.
        latent: standard normal noise ``[B, r]`` of the latents.
        epsilon: standard normal noise ``[B, D]`` outside of the subspace.
        tables: the rows' linear part, of at most 512 axes.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown condition.
    """
    arguments = (x1, latent, epsilon, *tables)
    if is_plain(*arguments):
        found = attempt("subspace_source", *arguments)
        if found is not None:
            return found
    cond = check_tables("subspace_source", x1, tables)
    if epsilon.shape != x1.shape or latent.shape != tables.spread.shape:
        raise InputError(
            f"subspace_source: expected epsilon {list(x1.shape)} and latent {list(tables.spread.shape)}, "
            f"got {list(epsilon.shape)} and {list(latent.shape)}"
        )
    check_alike("subspace_source", x1=x1, latent=latent, epsilon=epsilon)
    return operators(x1.device).subspace_source(*arguments[:-1], cond)


@reference("subspace_source")
def reference_subspace_source(
    x1: Tensor,
    latent: Tensor,
    epsilon: Tensor,
    loc: Tensor,
    noise: Tensor,
    spread: Tensor,
    basis: Tensor,
    cond: Tensor,
) -> Tensor:
    """The pure-torch operator behind :func:`subspace_source`; it gathers the basis of each row."""
    cond, known = known_labels("subspace_source", cond, len(basis))
    axes, inverse = basis[cond, :, : x1.shape[1]], 1 / spread
    datum = torch.einsum("bd,brd->br", (x1 - loc) / noise.sqrt(), axes)
    inside = torch.einsum("bd,brd->br", epsilon, axes)
    along = (1 - inverse) * datum + (2 - inverse).sqrt() * latent - inside
    x0 = loc + noise.sqrt() * (epsilon + torch.einsum("br,brd->bd", along, axes))
    return x0 if known is None else x0.masked_fill_(~known[:, None], torch.nan)


@fake("subspace_source")
def _output(
    x1: Tensor,
    latent: Tensor,
    epsilon: Tensor,
    loc: Tensor,
    noise: Tensor,
    spread: Tensor,
    basis: Tensor,
    cond: Tensor,
) -> Tensor:
    return contiguous_like(x1)


refuse_gradient("subspace_source", "it is not differentiable; Frame.noised and Frame.place are")
