"""Random numbers of the operators: a seed, words of 32 bits, then uniform or standard normal numbers.

Words come from Philox-4x32-10, the counter-based generator of Salmon, Moraes, Dror & Shaw (SC 2011): each is
a function of (seed, stream, row, column) and of nothing else, so that threads, batch sizes and devices cannot
change it. They lie in 64-bit integers: numpy's where the work is on the CPU, where they multiply in half the
time, and torch's elsewhere.

Normal numbers are those of Box & Muller (1958), as csrc/math/normal.h defines them. With u = (w0 + ½) 2⁻³²
and the angle 2π w1 2⁻³²: n0 = √(−2 log u) cos(angle), n1 = √(−2 log u) sin(angle). The largest number is
√(−2 log 2⁻³³) = 6.76. All is computed in float64 and rounded once. The angle is reduced in whole numbers, so
that numbers near zero keep their digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.shapes import chunks

LEAST, MOST = -(1 << 63), (1 << 63) - 1
Randomness = torch.Generator | Tensor | int | None
"""A generator to draw a seed from (None: torch's own), or the seed itself."""


def draw_seed(generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """A seed ``[1]``, int64, on ``device``, by one draw from ``generator``; no synchronisation.

    Args:
        generator: of any device; None for torch's own generator of ``device``.
        device: of the tensors that the seed is for.
    """
    home = torch.device(device) if generator is None else generator.device
    seed = torch.randint(LEAST, MOST, (1,), generator=generator, device=home)
    return seed if seed.device == device else seed.to(device, non_blocking=True)


def as_seed(seed: Randomness, device: torch.device) -> Tensor:
    """The seed tensor ``[1]`` that an operator takes.

    Raises:
        InputError: a tensor that is not int64 ``[1]`` or ``[]`` on the tensors' device, or an integer of
            more than 64 bits.
    """
    # Tensors first: torch.compile cannot ask of a tensor whether it is a Generator, in CUDA builds of torch.
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != device:
            raise InputError(
                f"seed: expected an integer, or int64 [1] on {device}, got {seed.dtype} {list(seed.shape)} "
                f"on {seed.device}; draw_seed(generator, device) makes one"
            )
        return seed if seed.dim() == 1 else seed.reshape(1)
    if seed is None or isinstance(seed, torch.Generator):
        return draw_seed(seed, device)
    if not LEAST <= seed < 1 << 64:
        raise InputError(f"seed: expected an integer of at most 64 bits, got {seed}")
    return torch.full((1,), seed - (1 << 64) if seed > MOST else seed, dtype=torch.int64, device=device)


WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
BROADCAST_ROUNDS = 2
"""Rounds after which every word depends on the whole counter."""


class Stream(IntEnum):
    """What a number is for: the last word of the counter."""

    NOISE = 0
    COMPONENT = 1
    LATENT = 2


def philox(counter: Sequence[Any], keys: Any) -> tuple[Any, Any]:
    """The output words (w0, w2) and (w1, w3) of ``counter``, stacked: two arrays ``[2, …]``.

    Args:
        counter: four words that broadcast against each other; all int64 tensors, or all uint64 arrays.
        keys: of each round, from :func:`round_keys`.
    """
    c0, c1, c2, c3 = counter
    for key in keys[:BROADCAST_ROUNDS]:
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, key)
    # The high halves of c1 and c3 stay until they meet a word that is cut to its low half.
    if isinstance(c0, np.ndarray):
        return _rounds_in_place(_stacked(c0, c2), _stacked(c1, c3), keys[BROADCAST_ROUNDS:])
    for key in keys[BROADCAST_ROUNDS:]:
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, key)
    return torch.stack([c0, c2]), torch.stack([c1, c3]) & WORD


def _round(c0: Any, c1: Any, c2: Any, c3: Any, key: Any) -> tuple[Any, Any, Any, Any]:
    even, odd = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
    return ((odd >> 32) ^ c1 ^ key[0]) & WORD, odd, ((even >> 32) ^ c3 ^ key[1]) & WORD, even


def _rounds_in_place(x: Any, y: Any, keys: Any) -> tuple[Any, Any]:
    """Rounds on x = (c0, c2) and y = (c1, c3), arrays ``[2, …]`` of one shape that are written to."""
    columns = (2, *[1] * (x.ndim - 1))
    multipliers = np.array(MULTIPLIERS, dtype=np.uint64).reshape(columns)
    product, spare = np.empty_like(x), y
    for key in keys:
        np.multiply(x, multipliers, out=product)
        swapped = product[::-1]
        np.right_shift(swapped, 32, out=x)
        x ^= y
        x ^= key.reshape(columns)
        x &= WORD
        y, product, spare = swapped, spare, product
    return x, y & WORD


def _stacked(first: Any, second: Any) -> Any:
    return np.stack(np.broadcast_arrays(first, second))


def round_keys(seed: Tensor) -> Any:
    """Keys of the ten rounds ``[10, 2]`` from a seed (int64 ``[1]``, its bits read as unsigned).

    An array where the seed is on the CPU, and elsewhere a tensor, made without reading the seed back.
    """
    if seed.device.type != "cpu":
        return tensor_keys(seed)
    bits = int(seed)
    halves = np.array([bits & WORD, (bits >> 32) & WORD], dtype=np.uint64)
    return (halves + np.arange(ROUNDS, dtype=np.uint64)[:, None] * np.array(KEY_STEPS, np.uint64)) & WORD


def tensor_keys(seed: Tensor) -> Tensor:
    """The keys of :func:`round_keys` as a tensor on the seed's device."""
    rounds = torch.arange(ROUNDS, device=seed.device)
    low, high = (seed & WORD) + rounds * KEY_STEPS[0], ((seed >> 32) & WORD) + rounds * KEY_STEPS[1]
    return torch.stack([low, high], 1) & WORD


def random_words(seed: Tensor, stream: int, rows: slice, groups: int) -> tuple[Tensor, Tensor]:
    """Words (w0, w2) and (w1, w3) of some rows, two int64 tensors ``[2, rows, groups]``.

    Group j holds the words of columns 4 j … 4 j + 3.
    """
    keys, device = round_keys(seed), seed.device
    if device.type == "cpu":
        row = np.arange(rows.start, rows.stop, dtype=np.uint64)[:, None]
        column, last = np.arange(groups, dtype=np.uint64)[None], np.array([[stream]], dtype=np.uint64)
        x, y = philox((column, row & WORD, row >> 32, last), keys)
        return torch.from_numpy(x.view(np.int64)), torch.from_numpy(y.view(np.int64))
    row = torch.arange(rows.start, rows.stop, device=device)[:, None]
    column = torch.arange(groups, device=device)[None]
    return philox((column, row & WORD, row >> 32, torch.full((1, 1), stream, device=device)), keys)


def uniform(seed: Tensor, n: int, stream: Stream = Stream.COMPONENT) -> Tensor:
    """Numbers in [0, 1) with 53 random bits, float64 ``[n]``: that of row b is of its first two words."""
    first, second = random_words(seed, stream, slice(0, n), 1)
    return ((first[0] << 21) | (second[0] >> 11)).squeeze(1).double() * 2.0**-53


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


def noise_chunks(rows: int, dim: int, device: torch.device) -> list[slice]:
    """Slices of rows whose words stay in the cache (on other devices: in bounded memory)."""
    return chunks(rows, -(-dim // 4), CHUNK_OF_GROUPS, device)
