"""The flow-matching loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.operators import HALF, Context, Grad, compute_dtype, flat, is_differentiated, once, serves

Reduction = Literal["mean", "none"]
# True if the graph outlives a backward pass (``retain_graph``): then its tensors stay its own. It is taken as
# kept by a torch that does not tell.
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
    """Return the mean over batch and event of w ‖v − u‖² (Lipman et al. 2023, eq. 14), in at least float32.

    The native operator computes value and gradient in one pass over memory, and is differentiable once.

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
    targets = _targets(u, x0, x1)
    _check(v, targets, weight, reduction)
    if not _is_served(v, targets, weight):
        return plain_flow_matching_loss(v, targets, weight, reduction)
    v, *targets = _in_memory_order(v, targets)
    weight = None if weight is None else weight.to(compute_dtype(v.dtype))
    inputs = [v, *targets] if weight is None else [v, *targets, weight]
    u, x0, x1 = (*targets, None, None) if u is not None else (None, *targets)
    return NativeLoss.apply(v, u, x0, x1, weight, reduction == "mean", is_differentiated(*inputs))


def plain_flow_matching_loss(
    v: Tensor, targets: list[Tensor], weight: Tensor | None, reduction: Reduction
) -> Tensor:
    """Return the loss in torch, in at least float32; ``targets`` are [u] or [x0, x1]."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in (v, *targets)), torch.float32)
    v, *targets = (tensor.to(dtype) for tensor in (v, *targets))
    target = targets[0] if len(targets) == 1 else targets[1] - targets[0]
    squared = (v - target).square()
    if reduction == "mean" and weight is None:
        return squared.mean()
    errors = flat(squared).mean(1)
    if weight is not None:
        errors = errors * weight.to(dtype)
    return errors.mean() if reduction == "mean" else errors


def _targets(u: Tensor | None, x0: Tensor | None, x1: Tensor | None) -> list[Tensor]:
    """Return [u], or [x0, x1]."""
    if u is not None and x0 is None and x1 is None:
        return [u]
    if u is None and x0 is not None and x1 is not None:
        return [x0, x1]
    given = [name for name, tensor in (("u", u), ("x0", x0), ("x1", x1)) if tensor is not None]
    raise InputError(
        f"flow_matching_loss: expected u, or both x0 and x1, got {' and '.join(given) or 'none of them'}"
    )


def _check(v: Tensor, targets: list[Tensor], weight: Tensor | None, reduction: str) -> None:
    if (
        v.dim() == 0
        or any(target.shape != v.shape for target in targets)
        or (weight is not None and weight.shape != v.shape[:1])
    ):
        names = "u" if len(targets) == 1 else "x0 and x1"
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (v, *targets))
        raise InputError(
            f"flow_matching_loss: expected v and {names} of one shape [B, *event] and weight [B], got "
            f"{shapes} and {None if weight is None else list(weight.shape)}"
        )
    if any(tensor.device != v.device for tensor in (*targets, *([] if weight is None else [weight]))):
        devices = sorted({str(tensor.device) for tensor in (v, *targets, weight) if tensor is not None})
        raise InputError(f"flow_matching_loss: expected all on one device, got {devices}")
    if reduction not in ("mean", "none"):
        raise InputError(f"flow_matching_loss: expected reduction 'mean' or 'none', got {reduction!r}")


def _is_served(v: Tensor, targets: list[Tensor], weight: Tensor | None) -> bool:
    """Return True if the native operator takes the tensors: of one dtype, or v in 16 bits beside float32.

    Its gradients of the targets have v's digits, so that it serves no derivative in wider ones.
    """
    dtypes = {target.dtype for target in targets}
    wider = v.dtype in HALF and dtypes == {torch.float32} and not is_differentiated(*targets)
    fits = v.is_floating_point() and v.numel() > 0 and (wider or dtypes == {v.dtype})
    return fits and serves(v, *targets, *([] if weight is None else [weight]))


def _in_memory_order(v: Tensor, targets: list[Tensor]) -> list[Tensor]:
    """Return events with dimensions as they lie in v's memory, so that flattening an image copies nothing."""
    if v.dim() == 4 and not v.is_contiguous() and v.is_contiguous(memory_format=torch.channels_last):
        return [tensor.permute(0, 2, 3, 1) for tensor in (v, *targets)]
    return [v, *targets]


class NativeLoss(torch.autograd.Function):
    """The native operator, with its gradient: once, computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Context,
        v: Tensor,
        u: Tensor | None,
        x0: Tensor | None,
        x1: Tensor | None,
        weight: Tensor | None,
        mean: bool,
        with_gradient: bool,
    ) -> Tensor:
        rows = [None if tensor is None else flat(tensor) for tensor in (v, u, x0, x1)]
        loss, squared_error, gradient = torch.ops.flowprior.flow_matching_loss(
            *rows, weight, mean, with_gradient
        )
        if with_gradient:
            ctx.save_for_backward(squared_error, gradient.view(v.shape))
        ctx.count = len(v) if mean else 1
        return loss

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> tuple[Grad, ...]:
        squared_error, gradient = ctx.saved_tensors
        (grad,) = (each.detach() for each in grads)
        grad_v = gradient
        if _keep_graph() or grad.dim() or not grad.is_cpu or float(grad) != 1.0:
            of_rows = grad.view(-1, *[1] * (gradient.dim() - 1)) if grad.dim() else grad
            grad_v = (gradient * of_rows).to(gradient.dtype)
        needs_v, needs_u, needs_x0, needs_x1, needs_weight = ctx.needs_input_grad[:5]
        minus = -grad_v if needs_u or needs_x1 else None
        gradients = (
            grad_v if needs_v else None,
            minus if needs_u else None,
            grad_v if needs_x0 else None,
            minus if needs_x1 else None,
            grad * squared_error / ctx.count if needs_weight else None,
        )
        return *once("flow_matching_loss", *gradients), None, None
