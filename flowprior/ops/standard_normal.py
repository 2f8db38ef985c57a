"""Standard normal noise from a seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.operators import Context, Grad, attempt, fake, gradient, is_plain, operators, reference
from flowprior.ops.random import Randomness, Stream, as_seed, noise_chunks, normal_rows
from flowprior.ops.shapes import compute_dtype


def standard_normal(
    n: int, dim: int, like: Tensor, seed: Randomness, *, stream: Stream = Stream.NOISE
) -> Tensor:
    """ε ~ N(0, I), ``[n, dim]``, with the dtype and device of ``like``.

    Row b depends on seed, stream and b alone: a longer draw begins with a shorter one. On one back end the
    numbers are the same bit for bit, whatever the number of threads. Other back ends, instruction sets and
    devices take the same random words, and their numbers differ by rounding alone: by a share of less than
    1e-6 in float32 and 1e-12 in float64.

    Args:
        n: rows.
        dim: numbers a row.
        like: floating-point tensor, which gives dtype and device.
        seed: a generator of any device to draw one seed from (None: torch's own), or a seed, such as
            :func:`flowprior.ops.draw_seed` gives.
        stream: what the numbers are for; those of different streams are independent.

    Raises:
        InputError: ``like`` is no floating-point tensor, or negative sizes.
    """
    seed = as_seed(seed, like.device)
    if is_plain(like, seed):
        drawn = attempt("standard_normal", like, seed, n, dim, int(stream))
        if drawn is not None:
            return drawn
    if not like.is_floating_point() or n < 0 or dim < 0:
        raise InputError(
            f"standard_normal: expected n >= 0, dim >= 0 and a floating-point tensor, got n={n}, dim={dim} "
            f"and {like.dtype}"
        )
    return operators(like.device).standard_normal(like.detach(), seed, n, dim, int(stream))


def noise_and_latents(n: int, dim: int, rank: int, like: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Standard normal noise ``[n, dim]`` and latents ``[n, rank]`` of one seed, independent of each other."""
    return standard_normal(n, dim, like, seed), standard_normal(n, rank, like, seed, stream=Stream.LATENT)


@reference("standard_normal")
def reference_standard_normal(like: Tensor, seed: Tensor, n: int, dim: int, stream: int) -> Tensor:
    """The pure-torch operator behind :func:`standard_normal`."""
    drawn = torch.empty(n, dim, dtype=like.dtype, device=like.device)
    for rows in noise_chunks(n, dim, like.device) if dim else ():
        drawn[rows] = normal_rows(seed, stream, rows, dim, compute_dtype(like.dtype))
    return drawn


@fake("standard_normal")
def _outputs(like: Tensor, seed: Tensor, n: int, dim: int, stream: int) -> Tensor:
    return like.new_empty(n, dim)


@gradient("standard_normal", setup=lambda ctx, inputs, output: ctx.mark_non_differentiable(output))
def _no_gradient(library: Any, ctx: Context, grad: Grad) -> tuple[None, ...]:
    """Noise does not depend on the tensor that gave its dtype and device."""
    return None, None, None, None, None
