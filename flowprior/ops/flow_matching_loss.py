"""The flow-matching loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from flowprior.errors import DerivativeError, InputError
from flowprior.ops.operators import (
    Context,
    Grad,
    fake,
    gradient,
    is_differentiated,
    is_native,
    is_simple,
    is_transformed,
    operators,
    run,
)
from flowprior.ops.shapes import compute_dtype, computed_like, contiguous_like, flat

Reduction = Literal["mean", "none"]
# Whether the graph outlives a backward pass (``retain_graph``): then its tensors stay its own. Where a torch
# does not tell, it is taken as kept.
_keep_graph: Callable[[], bool] = getattr(
    torch._C._autograd,  # pyright: ignore[reportAttributeAccessIssue]
    "_get_current_graph_task_keep_graph",
    lambda: True,
)


def flow_matching_loss(
    v: Tensor,
    u: Tensor | None = None,
    weight: Tensor | None = None,
    *,
    x0: Tensor | None = None,
    x1: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean over batch and event of w ‖v − u‖² (Lipman et al. 2023, eq. 14), in at least float32.

    The native operator computes value and gradient in one pass over memory; it is differentiable once.

    Args:
        v: predicted velocity ``[B, *event]``.
        u: velocity of the path ``[B, *event]``; None where ``x0`` and ``x1`` are given.
        weight: optional weights ``[B]``.
        x0, x1: source samples and data ``[B, *event]``, instead of u = x1 − x0 of the straight path.
        reduction: ``"mean"``, or ``"none"`` for the losses of each example, ``[B]``.

    Returns:
        A scalar, or ``[B]``, in the wider of float32 and the inputs' dtype.

    Raises:
        InputError: shapes or devices differ, or not one of u and (x0, x1).
    """
    targets = _targets(v, u, x0, x1)
    if reduction == "mean" and _is_direct(v, targets, weight):
        return _direct(v, u, x0, x1, weight)
    _check(v, targets, weight, reduction)
    v, targets, weight = _dtypes(v, targets, weight)
    if not _native(v, targets):
        return reference_flow_matching_loss(v, targets, weight, reduction)
    v, *targets = (flat(tensor) for tensor in _in_memory_order(v, targets))
    u, x0, x1 = (targets[0], None, None) if len(targets) == 1 else (None, *targets)
    inputs = [tensor for tensor in (v, *targets, weight) if tensor is not None]
    operator = operators(v.device).flow_matching_loss
    return operator(v, u, x0, x1, weight, reduction == "mean", is_differentiated(*inputs))[0]


def _is_direct(v: Tensor, targets: list[Tensor], weight: Tensor | None) -> bool:
    """Whether the operator may have the tensors as they are: of one shape and one dtype, rows in order."""
    shape, dtype = v.shape, v.dtype
    if len(shape) < 2 or not v.numel() or not v.is_floating_point() or not v.is_contiguous():
        return False
    if any(target.shape != shape or target.dtype != dtype for target in targets):
        return False
    if weight is None:
        return is_simple(v, *targets)
    return (
        weight.shape == shape[:1] and weight.dtype == compute_dtype(dtype) and is_simple(v, *targets, weight)
    )


def _direct(
    v: Tensor, u: Tensor | None, x0: Tensor | None, x1: Tensor | None, weight: Tensor | None
) -> Tensor:
    """The mean loss of tensors for which :func:`_is_direct` holds."""
    if is_differentiated(*[tensor for tensor in (v, u, x0, x1, weight) if tensor is not None]):
        return MeanLoss.apply(v, u, x0, x1, weight)  # pyright: ignore[reportReturnType]
    rows = [tensor if tensor is None or tensor.dim() == 2 else flat(tensor) for tensor in (v, u, x0, x1)]
    return run("flow_matching_loss", *rows, weight, True, False)[0]


def reference_flow_matching_loss(
    v: Tensor, targets: list[Tensor], weight: Tensor | None, reduction: Reduction
) -> Tensor:
    """The formula in torch, in at least float32; ``targets`` are [u] or [x0, x1]."""
    dtype = torch.promote_types(torch.promote_types(v.dtype, targets[0].dtype), torch.float32)
    v, *targets = (tensor.to(dtype) for tensor in (v, *targets))
    squared = (v - (targets[0] if len(targets) == 1 else targets[1] - targets[0])).square()
    if reduction == "mean" and weight is None:
        return squared.mean()
    errors = flat(squared).mean(1)
    if weight is not None:
        errors = errors * weight.to(dtype)
    return errors.mean() if reduction == "mean" else errors


def _targets(v: Tensor, u: Tensor | None, x0: Tensor | None, x1: Tensor | None) -> list[Tensor]:
    """[u], or [x0, x1]."""
    if u is not None and x0 is None and x1 is None:
        return [u]
    if u is None and x0 is not None and x1 is not None:
        return [x0, x1]
    given = [name for name, tensor in (("u", u), ("x0", x0), ("x1", x1)) if tensor is not None]
    raise InputError(
        f"flow_matching_loss: expected u, or both x0 and x1, got {' and '.join(given) or 'none of them'}"
    )


def _check(v: Tensor, targets: list[Tensor], weight: Tensor | None, reduction: str) -> None:
    names = "u" if len(targets) == 1 else "x0 and x1"
    if (
        v.dim() == 0
        or any(target.shape != v.shape for target in targets)
        or (weight is not None and weight.shape != v.shape[:1])
    ):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (v, *targets))
        raise InputError(
            f"flow_matching_loss: expected v and {names} of one shape [B, *event] and weight [B], got "
            f"{shapes} and {None if weight is None else list(weight.shape)}"
        )
    devices = {tensor.device for tensor in (v, *targets, weight) if tensor is not None}
    if len(devices) > 1:
        raise InputError(f"flow_matching_loss: expected all on one device, got {sorted(map(str, devices))}")
    if reduction not in ("mean", "none"):
        raise InputError(f"flow_matching_loss: expected reduction 'mean' or 'none', got {reduction!r}")


def _dtypes(
    v: Tensor, targets: list[Tensor], weight: Tensor | None
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Targets in v's dtype or float32, whichever is wider; all in float64 where one of them is."""
    dtype = v.dtype
    for target in targets:
        dtype = torch.promote_types(dtype, target.dtype)
    if dtype == torch.float64:
        v = v.to(dtype)
    elif dtype != v.dtype:
        dtype = torch.float32
    compute = torch.promote_types(dtype, torch.float32)
    weight = None if weight is None else weight.to(compute)
    return v, [target.to(dtype) for target in targets], weight


def _native(v: Tensor, targets: list[Tensor]) -> bool:
    """Whether the native operator serves: its gradients of the targets have v's digits, and no more."""
    if not is_native(v.device) or not v.is_floating_point() or v.shape[1:].numel() == 0:
        return False
    if is_transformed(v, *targets):
        return False
    wider = any(target.dtype != v.dtype and target.requires_grad for target in targets)
    return not (wider and torch.is_grad_enabled())


def _in_memory_order(v: Tensor, targets: list[Tensor]) -> list[Tensor]:
    """The events' dimensions as they lie in v's memory, so that flattening a picture does not copy it."""
    if v.dim() == 4 and not v.is_contiguous() and v.is_contiguous(memory_format=torch.channels_last):
        return [tensor.permute(0, 2, 3, 1) for tensor in (v, *targets)]
    return [v, *targets]


# -- what torch.compile is told, and the gradient: once, computed in the forward pass --------------


@fake("flow_matching_loss")
def _outputs(
    v: Tensor,
    u: Tensor | None,
    x0: Tensor | None,
    x1: Tensor | None,
    weight: Tensor | None,
    mean: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    loss = computed_like(v) if mean else computed_like(v, v.shape[0])
    return loss, computed_like(v, v.shape[0]), contiguous_like(v) if with_gradient else v.new_empty(0)


def _save_loss(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    v, u, _, x1, weight, mean, ctx.with_gradient = inputs
    _, squared_error, gradient = output
    ctx.mark_non_differentiable(squared_error, gradient)
    # Otherwise every backward pass would be handed a tensor of zeros as large as v for ``gradient``.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(squared_error if weight is not None else None, gradient)
    ctx.target = (x1 if u is None else u).dtype
    ctx.count = v.shape[0] if mean else None


class MeanLoss(torch.autograd.Function):
    """The mean loss of events of one dtype; what the registered gradient does, without its way there."""

    @staticmethod
    def forward(
        ctx: Context, v: Tensor, u: Tensor | None, x0: Tensor | None, x1: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        rows = [None if tensor is None else flat(tensor) for tensor in (v, u, x0, x1)]
        loss, squared_error, gradient = run("flow_matching_loss", *rows, weight, True, True)
        ctx.save_for_backward(squared_error if weight is not None else None, gradient.view(v.shape))
        ctx.with_gradient, ctx.target, ctx.count = True, v.dtype, v.shape[0]
        return loss

    @staticmethod
    def backward(ctx: Context, *grads: Grad) -> tuple[Grad, ...]:
        return _loss_gradient(None, ctx, grads[0])[:5]


@gradient("flow_matching_loss", setup=_save_loss)
def _loss_gradient(library: Any, ctx: Context, grad: Grad, *_: Grad) -> tuple[Grad, ...]:
    if grad is None:
        return None, None, None, None, None, None, None
    if not ctx.with_gradient:
        raise DerivativeError(
            "flow_matching_loss: it was computed without its gradient; pass with_gradient=True"
        )
    squared_error, gradient = ctx.saved_tensors
    needs_v, needs_u, needs_x0, needs_x1, needs_weight = ctx.needs_input_grad[:5]
    grad_v = minus = grad_weight = None
    if needs_v or needs_u or needs_x0 or needs_x1:
        grad_v = _once(_scaled(gradient, grad))
        minus = -grad_v.to(ctx.target) if needs_u or needs_x1 else None
    if needs_weight:
        grad_weight = _once(grad * squared_error / (1 if ctx.count is None else ctx.count))
    return (
        grad_v if needs_v else None,
        minus if needs_u else None,
        grad_v.to(ctx.target) if needs_x0 and grad_v is not None else None,
        minus if needs_x1 else None,
        grad_weight,
        None,
        None,
    )


def _once(gradient: Tensor) -> Tensor:
    """``gradient``, whose own derivative raises where a graph of it is being built."""
    if not torch.is_grad_enabled():
        return gradient
    return _Once.apply(gradient.detach().requires_grad_())  # pyright: ignore[reportReturnType]


class _Once(torch.autograd.Function):
    """The identity, without a derivative."""

    @staticmethod
    def forward(ctx: Context, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> NoReturn:
        raise DerivativeError(
            "flow_matching_loss: the loss is differentiable once, and its second derivative was asked for; "
            "write ((v - u) ** 2).mean() in torch where you need it"
        )


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """``gradient`` ``[B, D]`` times ``factor`` ``[]`` or ``[B]``; itself if that is 1 and nobody keeps it."""
    if _is_one(factor) and not _keep_graph():
        return gradient
    return (gradient * (factor if factor.dim() == 0 else factor[:, None])).to(gradient.dtype)


def _is_one(factor: Tensor) -> bool:
    """Whether the factor is known to be 1 without synchronising, tracing or losing a graph."""
    plain = type(factor) is Tensor and factor.is_cpu and not torch.compiler.is_compiling()
    return plain and factor.dim() == 0 and not torch.is_grad_enabled() and factor.item() == 1.0
