"""The short way into the native operators of the CPU.

torch's dispatcher enters Python for an operator whose gradient is registered from Python, and that takes
longer than the operator where tensors are small. Faces therefore first hand tensors of which no derivative
can be asked straight to the operator, which checks its arguments itself. What it refuses, and what is not as
simple, takes the long way, whose checks say in words what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from flowprior.ops.backend import native_devices

# Private names of torch; without them the short way is a little longer, or not taken.
_below_autograd: Callable[[], Any] = getattr(torch._C, "_AutoDispatchBelowAutograd", nullcontext)
_transforms_active: Callable[[], bool] = torch._C._are_functorch_transforms_active

# Known at import, as in flowprior.ops.operators.
_is_served = "cpu" in native_devices()
_TYPES = (Tensor, torch.nn.Parameter)


def is_simple(*tensors: Tensor) -> bool:
    """Whether all are torch's own tensors on the CPU and the native library serves them, in eager mode."""
    if torch.compiler.is_compiling() or not _is_served or _transforms_active() or _has_tangents():
        return False
    return all(type(tensor) in _TYPES and tensor.is_cpu for tensor in tensors)


def is_differentiated(*tensors: Tensor) -> bool:
    """Whether a derivative of what is made of them may be asked for in backward mode."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def is_plain(*tensors: Tensor) -> bool:
    """Whether all are simple, and no derivative can be asked for."""
    return is_simple(*tensors) and not is_differentiated(*tensors)


def attempt(name: str, *arguments: Any) -> Any:
    """What the native operator makes of plain tensors; None where it refuses them."""
    try:
        return run(name, *arguments)
    except RuntimeError:
        return None


def run(name: str, *arguments: Any) -> Any:
    """What the native operator makes of simple tensors, without a graph."""
    with _below_autograd():
        return _overload(name)(*arguments)


@cache
def _overload(name: str) -> Any:
    return getattr(torch.ops.flowprior, name).default


def _has_tangents() -> bool:
    """Whether forward mode is at work: only within a level have tensors tangents."""
    return getattr(forward_ad, "_current_level", 0) >= 0
