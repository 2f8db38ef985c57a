"""Where an operator runs: in the native library on the devices it was built for, in plain torch elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from flowprior.ops.backend import announce_fallback, native_devices

Function = TypeVar("Function", bound=Callable[..., Any])
Grad = Tensor | None
Context = Any
"""torch's FunctionCtx: saved_tensors, needs_input_grad, and what a forward pass left on it."""

FAKES: dict[str, Callable[..., Any]] = {}
"""The outputs of each native operator without numbers, for torch.compile, by the operator's name."""

# Known at import, and so a constant to torch.compile.
_native_devices = native_devices()


def fake(name: str) -> Callable[[Function], Function]:
    """Give torch.compile a function that makes the outputs of the native operator ``name`` without numbers."""

    def register(function: Function) -> Function:
        FAKES[name] = function
        if _native_devices:
            torch.library.register_fake(f"flowprior::{name}", function)
        return function

    return register


def is_native(device: torch.device) -> bool:
    """Return True if the native operators serve ``device``; a warning says once that they do not."""
    if device.type in _native_devices:
        return True
    if not torch.compiler.is_compiling():
        announce_fallback(device.type)
    return False


def is_transformed(*tensors: Tensor) -> bool:
    """Return True if ``torch.func`` or forward mode is at work, which only torch's own operators serve."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._are_functorch_transforms_active():
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def is_differentiated(*tensors: Tensor) -> bool:
    """Return True if a derivative in one of the tensors may be asked for in backward mode."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def serves(*tensors: Tensor) -> bool:
    """Return True if the native operators that have a gradient serve these tensors of one device."""
    return is_native(tensors[0].device) and not is_transformed(*tensors)


def serves_values(*tensors: Tensor) -> bool:
    """Return True if native operators without a gradient serve these tensors of one device."""
    return serves(*tensors) and not is_differentiated(*tensors)
