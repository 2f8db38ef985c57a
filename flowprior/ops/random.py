"""Random numbers from torch's own generators, of any device, for tensors of any device.

A generator draws on its own device, and the numbers are moved to where they are wanted. On one back end draws
are reproducible, whatever the number of threads; another device, or the native operators, draw other numbers
of the same distribution.
"""

from __future__ import annotations

import torch
from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})
"""Types of the devices that have no float64."""
LEAST_SEED, MOST_SEED = -(1 << 63), (1 << 63) - 1


def normal(*shape: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw ε ~ N(0, I) of a shape, in the dtype and on the device of ``like``.

    Args:
        shape: sizes of the result.
        like: a floating-point tensor.
        generator: of any device; None for torch's own generator of the device of ``like``.
    """
    home = like.device if generator is None else generator.device
    return torch.empty(shape, dtype=like.dtype, device=home).normal_(generator=generator).to(like.device)


def uniform(n: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Draw n numbers in [0, 1), float64 ``[n]``, in float32 on devices without float64."""
    home = device if generator is None else generator.device
    dtype = torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
    return torch.empty(n, dtype=dtype, device=home).uniform_(generator=generator).to(device)


def draw_seed(generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw the seed of a native operator, int64 ``[1]`` on ``device``; no synchronisation."""
    home = device if generator is None else generator.device
    seed = torch.randint(LEAST_SEED, MOST_SEED, (1,), generator=generator, device=home)
    return seed.to(device, non_blocking=True)
