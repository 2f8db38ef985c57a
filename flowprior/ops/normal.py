"""Standard normal numbers from 32-bit words (Box & Muller 1958), as csrc/math/normal.h defines them.

With u = (w0 + ½) 2⁻³² and the angle 2π w1 2⁻³²: n0 = √(−2 log u) cos(angle), n1 = √(−2 log u) sin(angle).
The largest number is √(−2 log 2⁻³³) = 6.76. All is computed in float64 and rounded once. The angle is
reduced in whole numbers, so that numbers near zero keep their digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprior.ops.philox import random_words
from flowprior.ops.shapes import chunks, compute_dtype

QUARTER_TURN = 2.0**30
RADIANS = 2 * math.pi * 2.0**-32
CHUNK_OF_GROUPS = 12_288


def normal_pair(radius_word: Tensor, angle_word: Tensor) -> tuple[Tensor, Tensor]:
    """The pair (n0, n1), float64, of words in int64.

    With m the angle's distance from zero, 0 … 2³¹: cos is the sine of 2³⁰ − m, and |sin| that of
    2³⁰ − |2³⁰ − m|, both exact whole numbers within a quarter turn.
    """
    radius = radius_word.to(torch.float64)
    radius.add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    # The low halves as signed numbers: angles in [−π, π).
    signed = angle_word.view(torch.int32)[..., ::2].to(torch.float64)
    cosine = torch.sub(QUARTER_TURN, signed.abs())
    sine = torch.sub(QUARTER_TURN, cosine.abs()).copysign_(signed)
    return cosine.mul_(RADIANS).sin_().mul_(radius), sine.mul_(RADIANS).sin_().mul_(radius)


def normal_rows(seed: Tensor, stream: int, rows: slice, dim: int, dtype: torch.dtype) -> Tensor:
    """Rows of standard normal numbers ``[rows, dim]`` in ``dtype``, float32 or float64.

    Args:
        seed: int64 ``[1]``.
        stream: what they are for.
        rows: start and stop of the rows.
        dim: numbers a row.
        dtype: float64, or float32 rounded from it.
    """
    groups = -(-dim // 4)
    pairs = normal_pair(*random_words(seed, stream, rows, groups))
    numbers = torch.empty(rows.stop - rows.start, groups, 2, 2, dtype=dtype, device=seed.device)
    for column, pair in enumerate(pairs):
        numbers[..., column] = pair.movedim(0, -1)
    return numbers.view(len(numbers), 4 * groups)[:, :dim]


def fill_with_normals(out: Tensor, seed: Tensor, stream: int) -> Tensor:
    """``out`` ``[B, D]`` of any floating-point dtype, filled with rows 0 … B − 1 of the stream."""
    if not out.numel():
        return out
    for rows in noise_chunks(out.shape[0], out.shape[1], out.device):
        out[rows] = normal_rows(seed, stream, rows, out.shape[1], compute_dtype(out.dtype))
    return out


def noise_chunks(rows: int, dim: int, device: torch.device) -> list[slice]:
    """Slices of rows whose words stay in the cache (on other devices: in bounded memory)."""
    return chunks(rows, -(-dim // 4), CHUNK_OF_GROUPS, device)
