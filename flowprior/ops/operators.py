"""Where an operator runs: the native library on the devices it was built for, the reference elsewhere.

Both libraries hold operators of the same names and arguments, so that fakes and gradients are written
once (:mod:`flowprior.ops.fakes`, :mod:`flowprior.ops.gradients`). To torch.compile and autograd the
reference is as opaque as the native one; inside it may work in place and chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map_only

from flowprior.ops.backend import announce_fallback, native_devices
from flowprior.ops.fakes import register_fakes
from flowprior.ops.gradients import register_gradients

NATIVE = "flowprior"
REFERENCE = "flowprior_reference"
WITHOUT_FLOAT64 = frozenset({"mps"})
LIBRARY = torch.library.Library(REFERENCE, "DEF")

Function = TypeVar("Function", bound=Callable[..., Any])

# Known at import, and so a constant to torch.compile.
_native_devices = native_devices()


def reference(name: str) -> Callable[[Function], Function]:
    """Register a pure-torch function as the reference operator ``name``, on every device."""

    def register(function: Function) -> Function:
        LIBRARY.define(name + torch.library.infer_schema(function, mutates_args=()))
        LIBRARY.impl(name, _with_float64(function), "CompositeExplicitAutograd")
        return function

    return register


def _with_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, run on the CPU for tensors of a device that has no float64."""

    def run(*arguments: Any) -> Any:
        device = next(value.device for value in arguments if isinstance(value, torch.Tensor))
        if device.type not in WITHOUT_FLOAT64:
            return function(*arguments)
        return tree_map_only(torch.Tensor, lambda x: x.to(device), function(*_on_cpu(arguments)))

    return run


def _on_cpu(arguments: tuple[Any, ...]) -> Any:
    return tree_map_only(torch.Tensor, lambda x: x.cpu(), arguments)


def is_native(device: torch.device) -> bool:
    """Whether the native operators serve tensors on ``device``; where not, that is said once."""
    if device.type in _native_devices:
        return True
    if not torch.compiler.is_compiling():
        announce_fallback(device.type)
    return False


def operators(device: torch.device) -> Any:
    """The operators for ``device``: ``torch.ops.flowprior``, or ``torch.ops.flowprior_reference``."""
    return getattr(torch.ops, NATIVE if is_native(device) else REFERENCE)


def native_operators() -> Any:
    """``torch.ops.flowprior``, for those operators whose fallback is plain torch."""
    return getattr(torch.ops, NATIVE)


def is_transformed(*tensors: torch.Tensor) -> bool:
    """Whether ``torch.func`` or forward mode is at work, which only torch's own operators serve."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._are_functorch_transforms_active():
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def complete_libraries() -> None:
    """Register fakes and gradients, once all operators are there."""
    for namespace in (REFERENCE, *([NATIVE] if _native_devices else [])):
        register_fakes(namespace)
        register_gradients(namespace)
