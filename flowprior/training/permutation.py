"""A random order of very many examples that takes no memory: one place of it costs a few operations.

A shuffled list of a billion indices takes 8 GB, in each process and for each epoch. A block cipher on the
numbers 0 … n − 1 is such an order, too, and tells the index at any place without the others: a Feistel
network of six rounds on the numbers below the next power of 4, applied until it ends below n (Black & Rogaway
2002).
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 6
_FACTORS = (-0x61C8_8646_80B5_83EB, -0x3B31_4601_E57A_13AD)
"""Odd multipliers that spread a difference in one bit over all: of the golden ratio, and of MurmurHash3."""


class KeyedPermutation:
    """An order of 0 … size − 1.

    Args:
        size: how many, below 2⁶².
        key: another order for another key.
    """

    def __init__(self, size: int, key: int) -> None:
        self.size = size
        self._half = max(1, -(-(size - 1).bit_length() // 2))
        generator = torch.Generator().manual_seed(key)
        self._keys = torch.randint(1 << 62, (ROUNDS,), generator=generator).tolist()

    def at(self, places: Tensor) -> Tensor:
        """The indices at ``places``, int64 of any shape, each in [0, size); all places give all indices."""
        found = self._once(places)
        while bool((beyond := found >= self.size).any()):
            found = torch.where(beyond, self._once(found), found)
        return found

    def _once(self, numbers: Tensor) -> Tensor:
        """A permutation of the numbers below the power of 4."""
        mask = (1 << self._half) - 1
        left, right = numbers >> self._half, numbers & mask
        for key in self._keys:
            left, right = right, left ^ (mixed(right ^ key) & mask)
        return (left << self._half) | right


def mixed(numbers: Tensor) -> Tensor:
    """Numbers of int64 that differ in about half of their bits where the given ones differ in one."""
    for factor in _FACTORS:
        numbers = (numbers ^ _shifted(numbers, 32)) * factor
    return numbers ^ _shifted(numbers, 29)


def _shifted(numbers: Tensor, places: int) -> Tensor:
    """Numbers whose bits are moved down, with zeros above, where ``>>`` repeats the sign."""
    return (numbers >> places) & ((1 << (64 - places)) - 1)


def chances_at(places: Tensor, key: int) -> Tensor:
    """Numbers in [0, 1), float32, that look random and belong to ``places``, int64 ``[n]``, and a key."""
    bits = mixed(mixed(places + 1) ^ (key & ((1 << 62) - 1)))
    return _shifted(bits, 40).float() / (1 << 24)
