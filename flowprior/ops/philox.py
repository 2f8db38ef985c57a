"""Philox-4x32-10, the counter-based generator of Salmon, Moraes, Dror & Shaw (SC 2011).

Every random number is a function of (seed, stream, row, column) and of nothing else, so that threads,
batch sizes and devices cannot change it. Words of 32 bits lie in 64-bit integers: numpy's where the work is
on the CPU, where they multiply in half the time, and torch's elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def philox(counter: Sequence[Any], keys: Sequence[tuple[Any, Any]]) -> list[Any]:
    """The four output words of ``counter``.

    Args:
        counter: four words that broadcast against each other; all int64 tensors, or all uint64 arrays.
        keys: of each round, from :func:`round_keys`.
    """
    c0, c1, c2, c3 = counter
    for key0, key1 in keys[:BROADCAST_ROUNDS]:
        even, odd = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c2 = ((odd >> 32) ^ c1 ^ key0) & WORD, ((even >> 32) ^ c3 ^ key1) & WORD
        c1, c3 = odd, even
    array = isinstance(c0, np.ndarray)
    multiply: Any = np.multiply if array else torch.mul
    shift: Any = np.right_shift if array else torch.bitwise_right_shift
    shape = np.broadcast_shapes(*(tuple(c.shape) for c in (c0, c1, c2, c3)))
    # From here on in place: c1 and c3 may carry a high half, which is cut off where it would count.
    c0, c1, c2, c3 = (_materialised(c, shape) for c in (c0, c1, c2, c3))
    even, odd = _materialised(c0, shape), _materialised(c0, shape)
    for key0, key1 in keys[BROADCAST_ROUNDS:]:
        multiply(c0, MULTIPLIERS[0], out=even)
        multiply(c2, MULTIPLIERS[1], out=odd)
        shift(odd, 32, out=c0)
        c0 ^= c1
        c0 ^= key0
        c0 &= WORD
        shift(even, 32, out=c2)
        c2 ^= c3
        c2 ^= key1
        c2 &= WORD
        c1, odd = odd, c1
        c3, even = even, c3
    c1 &= WORD
    c3 &= WORD
    return [c0, c1, c2, c3]


def round_keys(seed: Tensor) -> list[tuple[Any, Any]]:
    """Keys of the ten rounds from a seed (int64 ``[1]``, its bits read as unsigned); no synchronisation.

    Python integers where the seed is on the CPU, tensors ``[]`` elsewhere.
    """
    if seed.device.type != "cpu":
        return tensor_keys(seed)
    bits = int(seed)
    low, high = bits & WORD, (bits >> 32) & WORD
    return [((low + r * KEY_STEPS[0]) & WORD, (high + r * KEY_STEPS[1]) & WORD) for r in range(ROUNDS)]


def tensor_keys(seed: Tensor) -> list[tuple[Any, Any]]:
    """The keys of :func:`round_keys` as tensors on the seed's device."""
    rounds = torch.arange(ROUNDS, device=seed.device)
    low = ((seed & WORD) + rounds * KEY_STEPS[0]) & WORD
    high = ((seed >> 32) + rounds * KEY_STEPS[1]) & WORD
    return list(zip(low.unbind(), high.unbind(), strict=True))


def random_words(
    keys: Sequence[tuple[Any, Any]], stream: int, start: int, stop: int, groups: int, device: torch.device
) -> list[Tensor]:
    """Words of rows ``start`` … ``stop`` − 1, four int64 ``[stop − start, groups]``.

    Group j holds the words of columns 4 j … 4 j + 3.
    """
    if device.type == "cpu":
        rows = np.arange(start, stop, dtype=np.uint64)[:, None]
        columns = np.arange(groups, dtype=np.uint64)[None]
        last = np.array([[stream]], dtype=np.uint64)
        return [torch.from_numpy(words.view(np.int64)) for words in _of(rows, columns, last, keys)]
    rows = torch.arange(start, stop, device=device)[:, None]
    columns = torch.arange(groups, device=device)[None]
    return _of(rows, columns, torch.full((1, 1), stream, device=device), keys)


def _of(rows: Any, columns: Any, stream: Any, keys: Sequence[tuple[Any, Any]]) -> list[Any]:
    return philox((columns, rows & WORD, rows >> 32, stream), keys)


def _materialised(words: Any, shape: tuple[int, ...]) -> Any:
    """A copy of its own in the whole shape."""
    if isinstance(words, np.ndarray):
        return np.broadcast_to(words, shape).copy()
    return words.expand(shape).clone(memory_format=torch.contiguous_format)


def uniform(seed: Tensor, n: int, stream: Stream = Stream.COMPONENT) -> Tensor:
    """Numbers in [0, 1) with 53 random bits, float64 ``[n]``: that of row b is of its first two words."""
    w0, w1, _, _ = random_words(round_keys(seed), stream, 0, n, 1, seed.device)
    return ((w0 << 21) | (w1 >> 11)).squeeze(1).double() * 2.0**-53
