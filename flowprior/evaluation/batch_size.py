"""How many samples fit into memory at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, moved, repeated, rows
from flowprior.flow import Flow
from flowprior.flow.sampling import evaluating

LARGEST = 500
SHARE = 0.25
"""Of the free memory that activations may take; the rest is for samples, features and other programs."""
PROBE = 2
R = TypeVar("R")


def fitting_batch_size(flow: Flow, cond: Conditions | None = None, guidance: float = 1.0) -> int:
    """Samples at once that fit into a quarter of the free memory, at most 500.

    One evaluation of two samples is watched: what its layers put out, all together, is an upper bound of what
    is alive at any time. A plain function is not watched, and gets 500.

    Args:
        flow: on the device that it will run on.
        cond: conditions to take two of; None for a flow without.
        guidance: other than 1 doubles the batch inside.
    """
    if not isinstance(flow.model, nn.Module):
        return LARGEST
    device = flow.prior.event_dims.device
    x = torch.zeros(PROBE, *flow.event_shape, dtype=flow.dtype or torch.float32, device=device)
    few = moved(repeated(rows(cond, slice(1)), PROBE), device)
    times = torch.full((PROBE,), 0.5, dtype=x.dtype, device=device)
    count = 0

    def add(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal count
        count += output.numel() * output.element_size() if isinstance(output, Tensor) else 0

    layers = [module for module in flow.model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(add) for module in layers]
    try:
        with torch.no_grad(), evaluating(flow.model):
            flow.velocity(x, times, few, guidance)
    finally:
        for hook in hooks:
            hook.remove()
    each = max(count // PROBE, x[0].numel() * x.element_size(), 1)
    return int(max(1, min(LARGEST, SHARE * free_memory(device) // each)))


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system says
        return 2 * 1024**3


def halving(run: Callable[[int], R], size: int) -> tuple[R, int]:
    """``run(size)``, with half the size again while the device is out of memory; and the size that did."""
    while True:
        try:
            return run(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size //= 2
