"""The generator's integers: Random123's known answers, torch against numpy, and what a word depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowprior.ops import Stream, uniform
from flowprior.ops.random import philox, random_words, round_keys, tensor_keys

# kat_vectors of Random123 for philox4x32-10: counter, key, output.
KNOWN = [
    ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def seed_of(key: tuple[int, int]) -> torch.Tensor:
    bits = key[0] | key[1] << 32
    return torch.tensor([bits - (1 << 64) if bits >> 63 else bits])


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_known_answers(counter, key, expected, kind):
    if kind == "torch":
        words, keys = [torch.tensor([word]) for word in counter], tensor_keys(seed_of(key))
    else:
        words, keys = [np.array([word], dtype=np.uint64) for word in counter], round_keys(seed_of(key))
    assert in_order(*philox(words, keys)) == expected


def in_order(x, y):
    """Words 0 … 3 from the two stacks of one word each."""
    return [int(x[0, 0]), int(y[0, 0]), int(x[1, 0]), int(y[1, 0])]


def test_words_are_those_of_the_counter_and_the_same_whatever_they_are_computed_with():
    seed = seed_of((3, 0x80000001))
    start = (1 << 33) + 5  # rows beyond 32 bits
    words = random_words(seed, Stream.LATENT, slice(start, start + 3), 2)
    rows, columns = torch.arange(start, start + 3)[:, None], torch.arange(2)[None]
    stream = torch.full((1, 1), int(Stream.LATENT))
    counter = (columns, rows & 0xFFFFFFFF, rows >> 32, stream)
    for in_numpy, in_torch in zip(words, philox(counter, tensor_keys(seed)), strict=True):
        assert torch.equal(in_numpy, in_torch)
    for i in range(3):
        for j in range(2):
            row = start + i
            counter = [torch.tensor([c]) for c in (j, row & 0xFFFFFFFF, row >> 32, int(Stream.LATENT))]
            expected = in_order(*philox(counter, tensor_keys(seed)))
            assert in_order(*(word[:, i, j, None] for word in words)) == expected


def test_uniform_numbers_have_53_bits_and_the_law(generator):
    numbers = uniform(torch.tensor([11]), 50_000)
    assert numbers.dtype == torch.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    x, y = random_words(torch.tensor([11]), Stream.COMPONENT, slice(0, 1), 1)
    assert numbers[0].item() == ((int(x[0]) << 21) | (int(y[0]) >> 11)) / 2**53
    grid = (torch.arange(50_000) + 0.5) / 50_000
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded with probability 0.001.
    assert (numbers.sort().values - grid).abs().max() < 1.95 / 50_000**0.5
    assert torch.equal(uniform(torch.tensor([11]), 7), numbers[:7])
    assert uniform(torch.tensor([11]), 0).shape == (0,)
    assert not torch.equal(uniform(torch.tensor([11]), 7, Stream.LATENT), numbers[:7])
