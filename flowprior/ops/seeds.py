"""Seeds of the operators' random numbers: one int64 drawn from a generator, kept as a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError

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
