"""Source samples of a subspace prior whose latents are inferred from data, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.operators import attempt, fake, is_plain, operators, reference, refuse_gradient
from flowprior.ops.shapes import check_alike, contiguous_like, known_labels
from flowprior.ops.subspace_tables import SubspaceTables, check_tables


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


refuse_gradient("subspace_source", "it is not differentiable; Frame.infer and Frame.place are")
