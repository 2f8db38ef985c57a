"""Where an operator runs: the native library on the devices it was built for, the reference elsewhere.

Both libraries hold operators of the same names and arguments, so each operator's file writes its fake and its
gradient once (:func:`fake`, :func:`gradient`), and :func:`complete_library` registers them with a library. To
torch.compile and autograd the reference is as opaque as the native one; inside it may work in place and
chunk by chunk.

torch's dispatcher enters Python for an operator whose gradient is registered from Python, and that takes
longer than the operator where tensors are small. Faces therefore first hand tensors of which no derivative
can be asked straight to the native operator of the CPU (:func:`attempt`), which checks its arguments itself.
What it refuses, and what is not as simple, takes the long way, whose checks say in words what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map_only

from flowprior.errors import DerivativeError
from flowprior.ops.backend import announce_fallback, native_devices

NATIVE = "flowprior"
REFERENCE = "flowprior_reference"
WITHOUT_FLOAT64 = frozenset({"mps"})
LIBRARY = torch.library.Library(REFERENCE, "DEF")

Function = TypeVar("Function", bound=Callable[..., Any])
Grad = Tensor | None
Context = Any
"""torch's FunctionCtx: saved_tensors, needs_input_grad, and what a gradient's setup left on it."""

FAKES: dict[str, Callable[..., Any]] = {}
GRADIENTS: dict[str, tuple[Callable[..., Any], Callable[..., None] | None]] = {}

# Known at import, and so a constant to torch.compile.
_native_devices = native_devices()
_PLAIN_TYPES = (Tensor, torch.nn.Parameter)

# Private names of torch; without them the short way is a little longer, or not taken.
_below_autograd: Callable[[], Any] = getattr(torch._C, "_AutoDispatchBelowAutograd", nullcontext)
_transforms_active: Callable[[], bool] = torch._C._are_functorch_transforms_active


def reference(name: str) -> Callable[[Function], Function]:
    """Register a pure-torch function as the reference operator ``name``, on every device.

    It runs on the CPU for tensors of a device that has no float64.
    """

    def register(function: Function) -> Function:
        def run(*arguments: Any) -> Any:
            device = next(value.device for value in arguments if isinstance(value, Tensor))
            if device.type not in WITHOUT_FLOAT64:
                return function(*arguments)
            return tree_map_only(Tensor, lambda x: x.to(device), function(*_on_cpu(arguments)))

        LIBRARY.define(name + torch.library.infer_schema(function, mutates_args=()))
        LIBRARY.impl(name, run, "CompositeExplicitAutograd")
        return function

    return register


def fake(name: str) -> Callable[[Function], Function]:
    """Mark a function as what torch.compile is told of operator ``name``: its outputs, without numbers."""

    def mark(function: Function) -> Function:
        FAKES[name] = function
        return function

    return mark


def gradient(name: str, setup: Callable[..., None] | None = None) -> Callable[[Function], Function]:
    """Mark ``backward(library, ctx, *grads)`` as the gradient of operator ``name``.

    ``library`` holds the operators of the same back end, for a backward pass that is an operator itself.
    ``setup(ctx, inputs, output)`` keeps what the backward pass needs.
    """

    def mark(backward: Function) -> Function:
        GRADIENTS[name] = (backward, setup)
        return backward

    return mark


def refuse_gradient(name: str, reason: str, owner: str | None = None) -> None:
    """Have the backward pass of operator ``name`` raise DerivativeError, in the name of ``owner``."""

    @gradient(name)
    def refuse(library: Any, ctx: Context, *grads: Grad) -> NoReturn:
        raise DerivativeError(f"{owner or name}: {reason}")


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


def is_transformed(*tensors: Tensor) -> bool:
    """Whether ``torch.func`` or forward mode is at work, which only torch's own operators serve."""
    if torch.compiler.is_compiling():
        return False
    if _transforms_active():
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def runs_natively(*tensors: Tensor) -> bool:
    """Whether a native operator without derivatives may make something of tensors on one device."""
    if torch.compiler.is_compiling() or not is_native(tensors[0].device):
        return False
    return not is_differentiated(*tensors) and not is_transformed(*tensors)


def complete_libraries() -> None:
    """Register fakes and gradients with the libraries, once all operators are there."""
    for namespace in (REFERENCE, *([NATIVE] if _native_devices else [])):
        complete_library(namespace)


def complete_library(namespace: str) -> None:
    """Register fake and gradient of every operator that the library ``namespace`` has."""
    library = getattr(torch.ops, namespace)
    for name, function in FAKES.items():
        if hasattr(library, name):
            torch.library.register_fake(f"{namespace}::{name}", function)
    for name, (backward, setup) in GRADIENTS.items():
        if hasattr(library, name):
            torch.library.register_autograd(
                f"{namespace}::{name}", partial(backward, library), setup_context=setup
            )


def is_simple(*tensors: Tensor) -> bool:
    """Whether all are torch's own tensors on the CPU and the native library serves them, in eager mode."""
    if torch.compiler.is_compiling() or "cpu" not in _native_devices:
        return False
    # Forward mode is at work within its levels: elsewhere no tensor has a tangent.
    if _transforms_active() or getattr(forward_ad, "_current_level", 0) >= 0:
        return False
    return all(type(tensor) in _PLAIN_TYPES and tensor.is_cpu for tensor in tensors)


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


def _on_cpu(arguments: tuple[Any, ...]) -> Any:
    return tree_map_only(Tensor, lambda x: x.cpu(), arguments)


@cache
def _overload(name: str) -> Any:
    return getattr(torch.ops.flowprior, name).default
