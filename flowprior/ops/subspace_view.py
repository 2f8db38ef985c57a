"""What a network is shown of a point between a subspace prior's source and the data, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.operators import attempt, fake, is_plain, operators, reference, refuse_gradient
from flowprior.ops.shapes import check_alike, contiguous_like, known_labels
from flowprior.ops.subspace_source import LEAST_ROOM, SubspaceTables, check_tables


def subspace_view(
    x: Tensor,
    times: Tensor,
    tables: SubspaceTables,
    slope: Tensor,
    lengths: Tensor,
    floor: float,
    least: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised point, linear velocity, and the standard deviation of what that velocity leaves.

    Of points x_t = α x1 + σ x0 whose pairs have the moments of :mod:`flowprior.couplings.pair_law`, each
    ``[B, D]``: (x_t − E[x_t])/Var[x_t]^½, E[u | x_t] and Var[u | x_t]^½, coordinate by coordinate. Not
    differentiable: backward raises.

    Args:
        x: points ``[B, D]``, float32 or float64 as all tensors here.
        times: α, σ, α', σ' of each row, ``[B, 4]``.
        tables: the rows' linear part, of at most 512 axes.
        slope: a ``[B, r]``, of h0 = a h1 + noise along the axes.
        lengths: squared lengths of the bases' rows, ``[C, D]``.
        floor: what of ψ is the variance floor.
        least: of the data's variance outside of the subspace, in units of ψ.

    Returns:
        Three tensors ``[B, D]``.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown condition.
    """
    loc, noise, spread, basis, cond = tables
    arguments = (x, times, loc, noise, spread, slope, basis, lengths, cond)
    if is_plain(*arguments):
        found = attempt("subspace_view", *arguments, floor, least)
        if found is not None:
            return found
    rows, (conditions, rank, _) = len(x), basis.shape
    cond = check_tables("subspace_view", x, tables)
    shapes = (times.shape, slope.shape, lengths.shape)
    if shapes != ((rows, 4), (rows, rank), (conditions, x.shape[1])):
        raise InputError(
            f"subspace_view: expected times [B, 4], slope [B, r] and lengths [C, D], here {rows} rows, "
            f"{rank} axes and {conditions} bases of {x.shape[1]} numbers, got "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        )
    check_alike("subspace_view", x=x, times=times, slope=slope, lengths=lengths)
    return operators(x.device).subspace_view(*arguments[:-1], cond, floor, least)


@reference("subspace_view")
def reference_subspace_view(
    x: Tensor,
    times: Tensor,
    loc: Tensor,
    noise: Tensor,
    spread: Tensor,
    slope: Tensor,
    basis: Tensor,
    lengths: Tensor,
    cond: Tensor,
    floor: float,
    least: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The pure-torch operator behind :func:`subspace_view`; it gathers the basis of each row."""
    cond, known = known_labels("subspace_view", cond, len(basis))
    axes, room = basis[cond, :, : x.shape[1]], 1 - lengths[cond]
    a, s, a_dot, s_dot = times[:, :, None].unbind(1)
    determinant = (a * s_dot - s * a_dot).square()
    mean, deviation = (a + s) * loc, noise.sqrt()
    white = (x - mean) / deviation

    variance = a.square() + s.square() + 2 * a * s * slope
    inside = torch.einsum("bd,brd->br", white, axes)
    along = (a * a_dot + s * s_dot + (a * s_dot + s * a_dot) * slope) / variance * inside
    left = determinant * (1 - slope.square()) / variance

    datum = ((room - floor / noise) / room.clamp_min(LEAST_ROOM)).clamp(least, 1)
    beside = a.square() * datum + s.square()
    rate = (a * a_dot * datum + s * s_dot) / beside
    outside, squares = room.clamp_min(0), axes.square()
    of_state = _along(spread * variance, squares) + outside * beside
    remaining = _along(spread * left, squares) + outside * determinant * datum / beside

    moved = _along(along, axes) + rate * (white - _along(inside, axes))
    velocity = (a_dot + s_dot) * loc + deviation * moved
    results = ((x - mean) / (deviation * of_state.sqrt()), velocity, deviation * remaining.sqrt())
    if known is not None:
        for result in results:
            result.masked_fill_(~known[:, None], torch.nan)
    return results


def _along(weights: Tensor, axes: Tensor) -> Tensor:
    """Σ_j w_j q_jd ``[B, D]`` for w ``[B, r]`` and q ``[B, r, D]``."""
    return torch.einsum("br,brd->bd", weights, axes)


@fake("subspace_view")
def _outputs(
    x: Tensor,
    times: Tensor,
    loc: Tensor,
    noise: Tensor,
    spread: Tensor,
    slope: Tensor,
    basis: Tensor,
    lengths: Tensor,
    cond: Tensor,
    floor: float,
    least: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return contiguous_like(x), contiguous_like(x), contiguous_like(x)


refuse_gradient("subspace_view", "it is not differentiable; PairLaw.velocity and variances are")
