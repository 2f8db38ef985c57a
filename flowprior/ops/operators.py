"""The choice of what runs an operator: the native library on devices it was built for, else plain torch.

Plain torch also serves ``torch.compile``, which fuses it, and every kind of derivative but the first.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad

from flowprior.errors import DerivativeError
from flowprior.ops.backend import announce_fallback, native_devices

Grad = Tensor | None
Context = Any
"""torch's FunctionCtx: saved_tensors, needs_input_grad, and what a forward pass left on it."""

_native_devices = native_devices()


HALF = (torch.bfloat16, torch.float16)
"""The dtypes of 16 bits, whose native operators run on CUDA alone."""


def is_native(device: torch.device) -> bool:
    """Return True if the native operators serve ``device``; a warning says once that they do not."""
    if device.type in _native_devices:
        return True
    announce_fallback(device.type)
    return False


def is_transformed(*tensors: Tensor) -> bool:
    """Return True if ``torch.func`` or forward mode is at work, which only torch's own operators serve."""
    if torch.compiler.is_dynamo_compiling():
        return False
    if torch._C._are_functorch_transforms_active():
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def is_differentiated(*tensors: Tensor) -> bool:
    """Return True if a derivative in one of the tensors may be asked for in backward mode."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def serves(*tensors: Tensor) -> bool:
    """Return True if the native operators that have a gradient serve these tensors of one device.

    Numbers of 16 bits are served on CUDA alone.

    ``torch.compiler.is_compiling`` is not asked: it is true, too, where another thread compiles.
    """
    if torch.compiler.is_dynamo_compiling():
        return False
    if tensors[0].is_cpu and any(tensor.dtype in HALF for tensor in tensors):
        return False
    return is_native(tensors[0].device) and not is_transformed(*tensors)


def serves_values(*tensors: Tensor) -> bool:
    """Return True if native operators without a gradient serve these tensors of one device."""
    return serves(*tensors) and not is_differentiated(*tensors)


def once(owner: str, *gradients: Grad) -> tuple[Grad, ...]:
    """Return gradients whose own derivative raises where a graph of them is being built."""
    if not torch.is_grad_enabled():
        return gradients
    return tuple(
        None if gradient is None else _Once.apply(gradient.detach().requires_grad_(), owner)
        for gradient in gradients
    )


class _Once(torch.autograd.Function):
    """The identity, without a derivative."""

    @staticmethod
    def forward(ctx: Context, gradient: Tensor, owner: str) -> Tensor:
        ctx.owner = owner
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> NoReturn:
        raise DerivativeError(
            f"{ctx.owner}: the native operator is differentiable once, and its second derivative was asked "
            "for; FLOWPRIOR_OPS=torch takes plain torch, which has it"
        )
