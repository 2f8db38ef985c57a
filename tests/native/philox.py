"""The random numbers of the native operators by their definition: csrc/math/philox.h and normal.h, in torch.

Words come from Philox-4x32-10 (Salmon, Moraes, Dror & Shaw, SC 2011): a function of (seed, stream, row,
column). Pairs of them become normal numbers by Box & Muller (1958), with u = (w0 + ½) 2⁻³² and the angle
2π w1 2⁻³².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprior.ops.mixture import select_component

WORD = 0xFFFFFFFF
NOISE, COMPONENT = 0, 1


def philox(counter: list[Tensor], key0: int, key1: int) -> list[Tensor]:
    """The four output words of four counter words, int64 tensors that broadcast."""
    c0, c1, c2, c3 = counter
    for _ in range(10):
        even, odd = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = ((odd >> 32) & WORD) ^ c1 ^ key0, odd & WORD
        c2, c3 = ((even >> 32) & WORD) ^ c3 ^ key1, even & WORD
        key0, key1 = (key0 + 0x9E3779B9) & WORD, (key1 + 0xBB67AE85) & WORD
    return [c0, c1, c2, c3]


def random_words(seed: Tensor, stream: int, rows: int, groups: int) -> list[Tensor]:
    """Four words of each group of four columns, ``[rows, groups]`` each."""
    bits = int(seed) & ((1 << 64) - 1)
    row, column = torch.arange(rows)[:, None], torch.arange(groups)[None]
    counter = [column, row & WORD, row >> 32, torch.tensor(stream)]
    words = philox(counter, bits & WORD, bits >> 32)
    return [word.expand(rows, groups) for word in words]


def uniform(seed: Tensor, rows: int) -> Tensor:
    """Numbers in [0, 1) with 53 bits, float64 ``[rows]``, that choose components."""
    first, second, *_ = random_words(seed, COMPONENT, rows, 1)
    return ((first << 21) | (second >> 11))[:, 0].double() * 2.0**-53


def normal(seed: Tensor, rows: int, dim: int) -> Tensor:
    """Standard normal numbers, float64 ``[rows, dim]``."""
    w0, w1, w2, w3 = random_words(seed, NOISE, rows, -(-dim // 4))
    numbers = [number for pair in ((w0, w1), (w2, w3)) for number in normal_pair(*pair)]
    return torch.stack(numbers, 2).flatten(1)[:, :dim]


def normal_pair(radius_word: Tensor, angle_word: Tensor) -> tuple[Tensor, Tensor]:
    """The pair (n0, n1), float64; angles are reduced to an eighth of a turn in whole numbers."""
    complement = ((WORD - radius_word).double() + 0.5) * 2.0**-32  # 1 − u: log1p keeps its digits near u = 1
    log_u = torch.where(complement < 0.5, torch.log1p(-complement), (1 - complement).log())
    radius = (-2 * log_u).sqrt()
    quarter = (angle_word + 2**29) >> 30
    rest = (angle_word - (quarter << 30)).double() * (2 * math.pi * 2.0**-32)
    sine, cosine = rest.sin(), rest.cos()
    turns = (quarter % 4).double()
    n0 = torch.where(turns % 2 == 0, cosine, -sine) * torch.where(turns >= 2, -1.0, 1.0)
    n1 = torch.where(turns % 2 == 0, sine, cosine) * torch.where(turns >= 2, -1.0, 1.0)
    return radius * n0, radius * n1


def gmm_sample(
    logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """What ``torch.ops.flowprior.gmm_sample`` draws, from tables in float64."""
    logits, mean, scale, cond, seed = (tensor.cpu() for tensor in (logits, mean, scale, cond, seed))
    component = torch.zeros_like(cond)
    if logits.shape[1] > 1:
        component = select_component(logits[cond], uniform(seed, len(cond)))
    noise = normal(seed, len(cond), mean.shape[2])
    return mean[cond, component] + scale[cond, component] * noise, component
