"""Points and velocities of affine probability paths: x_t = α x1 + σ x0, u_t = α' x1 + σ' x0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.operators import (
    Context,
    Grad,
    attempt,
    fake,
    gradient,
    is_differentiated,
    is_native,
    is_plain,
    is_transformed,
    operators,
)
from flowprior.ops.shapes import check_tensors, compute_dtype, contiguous_like, flat


def affine_path(
    x0: Tensor, x1: Tensor, coefficients: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """x_t = α x1 + σ x0 and u_t = α' x1 + σ' x0.

    Differentiable any number of times in all arguments, in forward mode too.

    Args:
        x0: source samples ``[B, *event]``.
        x1: data ``[B, *event]``.
        coefficients: α, σ, α', σ', each ``[B]``.

    Returns:
        x_t and u_t ``[B, *event]``, in the wider dtype of x0 and x1.

    Raises:
        InputError: shapes or devices that do not fit.
    """
    pair = _at_once("affine_path", x0, x1, *coefficients)
    if pair is not None:
        return pair
    x0, x1 = _alike("affine_path", x0, x1, *coefficients)
    alpha, sigma, alpha_dot, sigma_dot = (c.to(compute_dtype(x1.dtype)) for c in coefficients)
    if not is_native(x1.device) or _differentiated(x0, x1, alpha, sigma, alpha_dot, sigma_dot):
        return reference_affine_path(x0, x1, alpha, sigma, alpha_dot, sigma_dot)
    x_t, u_t = operators(x1.device).affine_path(flat(x0), flat(x1), alpha, sigma, alpha_dot, sigma_dot)
    return x_t.reshape(x1.shape), u_t.reshape(x1.shape)


def interpolate(x0: Tensor, x1: Tensor, t: Tensor, sigma_min: float = 0.0) -> tuple[Tensor, Tensor]:
    """The straight path: x_t = t x1 + (1 − (1 − σ_min) t) x0 and u_t = x1 − (1 − σ_min) x0.

    (Lipman et al. 2023, eq. 22.) Differentiable as :func:`affine_path`.

    Args:
        x0: source samples ``[B, *event]``.
        x1: data ``[B, *event]``.
        t: times ``[B]`` in [0, 1].
        sigma_min: share of the source sample that is left at t = 1.

    Returns:
        x_t and u_t ``[B, *event]``, in the wider dtype of x0 and x1.

    Raises:
        InputError: shapes or devices that do not fit.
    """
    pair = _at_once("interpolate", x0, x1, t, sigma_min=sigma_min)
    if pair is not None:
        return pair
    x0, x1 = _alike("interpolate", x0, x1, t)
    t = t.to(compute_dtype(x1.dtype))
    if not is_native(x1.device) or _differentiated(x0, x1, t):
        return reference_interpolate(x0, x1, t, sigma_min)
    x_t, u_t = operators(x1.device).interpolate(flat(x0), flat(x1), t, sigma_min)
    return x_t.reshape(x1.shape), u_t.reshape(x1.shape)


def reference_affine_path(
    x0: Tensor, x1: Tensor, alpha: Tensor, sigma: Tensor, alpha_dot: Tensor, sigma_dot: Tensor
) -> tuple[Tensor, Tensor]:
    """The formulas of :func:`affine_path` in torch, rounded once; coefficients in the compute dtype."""
    dtype, compute = x1.dtype, compute_dtype(x1.dtype)
    x0, x1 = x0.to(compute), x1.to(compute)
    alpha, sigma, alpha_dot, sigma_dot = (
        c.to(compute).view(-1, *[1] * (x1.dim() - 1)) for c in (alpha, sigma, alpha_dot, sigma_dot)
    )
    x_t = torch.addcmul(sigma * x0, alpha, x1)
    u_t = torch.addcmul(sigma_dot * x0, alpha_dot, x1)
    return x_t.to(dtype), u_t.to(dtype)


def reference_interpolate(x0: Tensor, x1: Tensor, t: Tensor, sigma_min: float) -> tuple[Tensor, Tensor]:
    """The formulas of :func:`interpolate` in torch, rounded once."""
    dtype, compute = x1.dtype, compute_dtype(x1.dtype)
    x0, x1 = x0.to(compute), x1.to(compute)
    slope = 1.0 - sigma_min
    t = t.to(compute).view(-1, *[1] * (x1.dim() - 1))
    x_t = torch.addcmul((1.0 - slope * t) * x0, t, x1)
    return x_t.to(dtype), torch.sub(x1, x0, alpha=slope).to(dtype)


def _at_once(
    name: str, x0: Tensor, x1: Tensor, *times: Tensor, **options: float
) -> tuple[Tensor, Tensor] | None:
    """What the native operator makes of plain tensors of one dtype and two or more dimensions, if it can."""
    if not is_plain(x0, x1, *times):
        return None
    shape, dtype = x1.shape, x1.dtype
    if x0.shape != shape or len(shape) < 2:
        return None
    if any(time.dtype != dtype for time in times):
        return None
    if len(shape) == 2:
        return attempt(name, x0, x1, *times, *options.values())
    pair = attempt(name, flat(x0), flat(x1), *times, *options.values())
    return pair and (pair[0].view(shape), pair[1].view(shape))


def _alike(owner: str, x0: Tensor, x1: Tensor, *times: Tensor) -> tuple[Tensor, Tensor]:
    """x0 and x1 in one dtype, checked."""
    names = ("t",) if len(times) == 1 else ("alpha", "sigma", "alpha_dot", "sigma_dot")
    check_tensors(owner, x0=x0, x1=x1, **dict(zip(names, times, strict=True)))
    if x0.shape != x1.shape or x1.dim() == 0 or any(t.shape != x1.shape[:1] for t in times):
        raise InputError(
            f"{owner}: expected x0 and x1 of one shape [B, *event] and "
            f"{'t' if len(times) == 1 else 'coefficients'} [B], got "
            f"{list(x0.shape)}, {list(x1.shape)} and {', '.join(str(list(t.shape)) for t in times)}"
        )
    dtype = torch.promote_types(x0.dtype, x1.dtype)
    tensors = (x0, x1, *times)
    if not dtype.is_floating_point or any(tensor.device != x1.device for tensor in tensors):
        held = ", ".join(f"{tensor.dtype} on {tensor.device}" for tensor in tensors)
        raise InputError(f"{owner}: expected floating-point tensors on one device, got {held}")
    return x0.to(dtype), x1.to(dtype)


def _differentiated(*tensors: Tensor) -> bool:
    """Whether a derivative may be asked of the result; only torch's own operators give every kind."""
    return is_differentiated(*tensors) or is_transformed(*tensors)


# -- what torch.compile is told, and gradients --------------------------------------------------


@fake("affine_path")
@fake("interpolate")
def _outputs(x0: Tensor, x1: Tensor, *times: Tensor | float) -> tuple[Tensor, Tensor]:
    return contiguous_like(x1), contiguous_like(x1)


@gradient("affine_path", setup=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
def _affine_path_gradient(library: Any, ctx: Context, grad_x_t: Tensor, grad_u_t: Tensor) -> tuple[Grad, ...]:
    x0, x1, alpha, sigma, alpha_dot, sigma_dot = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        _weighted(grad_x_t, sigma, grad_u_t, sigma_dot) if needs[0] else None,
        _weighted(grad_x_t, alpha, grad_u_t, alpha_dot) if needs[1] else None,
        _dot(grad_x_t, x1, alpha) if needs[2] else None,
        _dot(grad_x_t, x0, sigma) if needs[3] else None,
        _dot(grad_u_t, x1, alpha_dot) if needs[4] else None,
        _dot(grad_u_t, x0, sigma_dot) if needs[5] else None,
    )


def _save_interpolate(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, sigma_min = inputs
    ctx.save_for_backward(*tensors)
    ctx.slope = 1.0 - sigma_min


@gradient("interpolate", setup=_save_interpolate)
def _interpolate_gradient(library: Any, ctx: Context, grad_x_t: Tensor, grad_u_t: Tensor) -> tuple[Grad, ...]:
    x0, x1, t = ctx.saved_tensors
    needs, slope = ctx.needs_input_grad, ctx.slope
    grad_t = None
    if needs[2]:
        grad_t = _dot(grad_x_t, x1, t) - slope * _dot(grad_x_t, x0, t)
    return (
        _weighted(grad_x_t, 1.0 - slope * t, grad_u_t, torch.full_like(t, -slope)) if needs[0] else None,
        _weighted(grad_x_t, t, grad_u_t, torch.ones_like(t)) if needs[1] else None,
        grad_t,
        None,
    )


def _weighted(first: Tensor, a: Tensor, second: Tensor, b: Tensor) -> Tensor:
    """a · first + b · second in the dtype of ``first`` ``[B, D]``; a and b ``[B]``."""
    return (a[:, None] * first + b[:, None] * second).to(first.dtype)


def _dot(grad: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """Σ_d grad · x ``[B]``, in the dtype of ``like``."""
    compute = torch.promote_types(like.dtype, torch.float32)
    return (grad.to(compute) * x.to(compute)).sum(1).to(like.dtype)
