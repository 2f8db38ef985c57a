"""The parts that operators share: the choice of what runs them, checks and shapes, and random numbers.

The native library runs an operator on the devices that it was built for, plain torch on the others. Plain
torch also serves ``torch.compile``, which fuses it, and every kind of derivative but the first.

Random numbers come from torch's own generators, of any device, for tensors of any device. A generator draws
on its own device, and the numbers are moved to where they are wanted. On one back end draws are reproducible,
whatever the number of threads; another device, or the native operators, draw other numbers of the same
distribution.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad

from flowprior.errors import DerivativeError, InputError
from flowprior.ops.backend import announce_fallback, native_devices

Grad = Tensor | None
Context = Any
"""torch's FunctionCtx: saved_tensors, needs_input_grad, and what a forward pass left on it."""
HALF = (torch.bfloat16, torch.float16)
"""The dtypes of 16 bits, whose native operators run on CUDA alone."""
WITHOUT_FLOAT64 = frozenset({"mps"})
"""Types of the devices that have no float64."""
LEAST_SEED, MOST_SEED = -(1 << 63), (1 << 63) - 1

_native_devices = native_devices()


# -- what runs an operator ------------------------------------------------------------------------


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


# -- shapes and checks ----------------------------------------------------------------------------


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that operators on ``dtype`` compute in: float64 for itself, float32 for the others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def flat(x: Tensor) -> Tensor:
    """Return events ``[B, *event]`` as rows ``[B, D]``, of empty batches too."""
    return x if x.dim() == 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


def flat_mixture(owner: str, logits: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return tables ``mean [C, K, D]`` and ``scale [C, K, D]`` or ``[C, K, 1]`` of a mixture, checked.

    Raises:
        InputError: shapes, dtypes or devices that do not fit.
    """
    # [C, K, 1], or [C, K, 1, …, 1] with as many dimensions as the mean.
    one_each = scale.shape[:2] == logits.shape and scale.shape.numel() == logits.shape.numel()
    fits = (
        logits.dim() == 2
        and mean.dim() >= 3
        and mean.shape[:2] == logits.shape
        and mean.shape.numel() > 0
        and (scale.shape == mean.shape or (one_each and scale.dim() in (3, mean.dim())))
    )
    if not fits:
        raise InputError(
            f"{owner}: expected logits [C, K], mean [C, K, *event] and scale [C, K, *event] or [C, K, 1], "
            f"none of them empty, got {list(logits.shape)}, {list(mean.shape)} and {list(scale.shape)}"
        )
    check_alike(owner, logits=logits, mean=mean, scale=scale)
    conditions, components = logits.shape
    dim = math.prod(mean.shape[2:])
    width = dim if scale.shape == mean.shape else 1
    return mean.reshape(conditions, components, dim), scale.reshape(conditions, components, width)


def check_tensors(owner: str, **values: object) -> None:
    """Refuse what is no tensor, such as one number for the times of all rows.

    Raises:
        InputError: the message names the first one.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{owner}: expected a tensor for {name}, got {type(value).__name__}; write it as a tensor "
                "with one entry a row, such as torch.full([B], 0.5)"
            )


def check_alike(owner: str, **tensors: Tensor) -> None:
    """Refuse floating-point tensors that do not share dtype and device.

    Raises:
        InputError: they differ, or are no floating-point numbers.
    """
    first = next(iter(tensors.values()))
    if not first.is_floating_point() or any(
        tensor.dtype != first.dtype or tensor.device != first.device for tensor in tensors.values()
    ):
        held = ", ".join(f"{name} {tensor.dtype} on {tensor.device}" for name, tensor in tensors.items())
        raise InputError(
            f"{owner}: expected one floating-point dtype and one device, got {held}; "
            "cast or move them with .to(…)"
        )


def check_labels(owner: str, cond: Tensor, conditions: int, like: Tensor) -> Tensor:
    """Return labels int64 ``[B]``, checked; their range only on the CPU, where that needs no synchronisation.

    Raises:
        InputError: not integers ``[B]`` on the tensors' device, or a label outside 0 … C − 1.
    """
    if cond.dim() != 1 or cond.is_floating_point() or cond.is_complex() or cond.device != like.device:
        raise InputError(
            f"{owner}: expected cond as int64 [B] on {like.device}, got {cond.dtype} {list(cond.shape)} "
            f"on {cond.device}"
        )
    cond = cond.long()
    if cond.device.type == "cpu" and not torch.compiler.is_dynamo_compiling() and len(cond):
        least, most = (int(label) for label in torch.aminmax(cond))
        if least < 0 or most >= conditions:
            label = least if least < 0 else most
            raise InputError(
                f"{owner}: cond has label {label}, but the tables hold conditions 0..{conditions - 1}"
            )
    return cond


# -- random numbers -------------------------------------------------------------------------------


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
