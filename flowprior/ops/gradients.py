"""Gradients of the operators, registered for the native library and the reference alike.

An operator whose backward pass is an operator itself, or was computed in the forward pass, is
differentiable once. ``create_graph=True`` is served; the second derivative raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from flowprior.errors import DerivativeError
from flowprior.ops.direct import run
from flowprior.ops.shapes import flat

Grad = Tensor | None
# Where a torch does not tell, the graph is taken as kept.
_keep_graph: Callable[[], bool] = getattr(
    torch._C._autograd,  # pyright: ignore[reportAttributeAccessIssue]
    "_get_current_graph_task_keep_graph",
    lambda: True,
)
Context = Any
"""torch's FunctionCtx: saved_tensors, needs_input_grad, and what setup left on it."""


def register_gradients(namespace: str) -> None:
    """Register the gradients of every operator that the library ``namespace`` has."""
    library = getattr(torch.ops, namespace)
    for name, (backward, setup) in _formulas(library).items():
        if hasattr(library, name):
            torch.library.register_autograd(f"{namespace}::{name}", backward, setup_context=setup)


def _formulas(library: Any) -> dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]]:
    """Backward function and setup of every operator."""

    def log_prob(ctx: Context, grad: Grad, grad_responsibilities: Grad) -> tuple[Grad, ...]:
        return _log_prob_backward(ctx, grad, grad_responsibilities, library.gmm_log_prob_backward)

    def log_prob_all(ctx: Context, grad: Grad, grad_responsibilities: Grad) -> tuple[Grad, ...]:
        return _log_prob_all_backward(ctx, grad, grad_responsibilities, library.gmm_log_prob_all_backward)

    draw = "a draw is not differentiable; use mean + scale * noise, with noise from standard_normal"
    twice = "the log-density is differentiable once, and its second derivative was asked for"
    return {
        "standard_normal": (_no_gradient, _mark_noise),
        "gmm_sample": (_refusal("gmm_sample", draw), None),
        "gmm_path": (_refusal("gmm_path", draw + ", and interpolate"), None),
        "gmm_log_prob": (log_prob, _save_log_prob),
        "gmm_log_prob_all": (log_prob_all, _save_log_prob),
        "gmm_log_prob_backward": (_refusal("gmm_log_prob", twice), None),
        "gmm_log_prob_all_backward": (_refusal("gmm_log_prob_all", twice), None),
        "affine_path": (_affine_path_backward, _save_inputs),
        "interpolate": (_interpolate_backward, _save_interpolate),
        "flow_matching_loss": (_loss_backward, _save_loss),
    }


def _refusal(owner: str, reason: str) -> Callable[..., NoReturn]:
    def backward(ctx: Context, *grads: Grad) -> NoReturn:
        raise DerivativeError(f"{owner}: {reason}")

    return backward


def _mark_noise(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.mark_non_differentiable(output)


def _no_gradient(ctx: Context, grad: Grad) -> tuple[None, ...]:
    """Noise does not depend on the tensor that gave its dtype and device."""
    return None, None, None, None, None


# -- log-densities -----------------------------------------------------------------------------


def _save_log_prob(ctx: Context, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.set_materialize_grads(False)


def _log_prob_backward(
    ctx: Context, grad: Grad, grad_responsibilities: Grad, backward: Callable[..., Any]
) -> tuple[Grad, ...]:
    x, logits, mean, scale, cond, responsibilities = ctx.saved_tensors
    joint = _joint_gradient(responsibilities, grad, grad_responsibilities)
    needs_x, needs_logits, needs_mean, needs_scale = ctx.needs_input_grad[:4]
    grad_x = grad_logits = grad_mean = grad_scale = None
    if needs_x or needs_mean or needs_scale:
        grad_x, grad_mean, grad_scale = backward(joint, x, mean, scale, cond)
    if needs_logits:
        share = joint - logits.to(joint.dtype).softmax(1)[cond] * joint.sum(1, keepdim=True)
        # index_put sums in a fixed order on CUDA, too, as index_add does not.
        grad_logits = torch.zeros_like(logits, dtype=joint.dtype).index_put((cond,), share, accumulate=True)
        grad_logits = grad_logits.to(logits.dtype)
    return grad_x, grad_logits, grad_mean, grad_scale, None


def _log_prob_all_backward(
    ctx: Context, grad: Grad, grad_responsibilities: Grad, backward: Callable[..., Any]
) -> tuple[Grad, ...]:
    x, logits, mean, scale, responsibilities = ctx.saved_tensors
    joint = _joint_gradient(responsibilities, grad, grad_responsibilities)
    needs_x, needs_logits, needs_mean, needs_scale = ctx.needs_input_grad[:4]
    grad_x = grad_logits = grad_mean = grad_scale = None
    if needs_x or needs_mean or needs_scale:
        grad_x, grad_mean, grad_scale = backward(joint, x, mean, scale)
    if needs_logits:
        total = joint.sum(0)
        share = total - logits.to(joint.dtype).softmax(1) * total.sum(1, keepdim=True)
        grad_logits = share.to(logits.dtype)
    return grad_x, grad_logits, grad_mean, grad_scale


def _joint_gradient(responsibilities: Tensor, grad: Grad, grad_responsibilities: Grad) -> Tensor:
    """Gradient in log π_k + log N_k ``[B, (C,) K]`` from those of log-density and responsibilities r.

    d log p / d joint_k = r_k, and d r_l / d joint_k = r_l (δ_lk − r_k).
    """
    slope = (
        torch.zeros_like(responsibilities) if grad is None else grad.unsqueeze(-1).expand_as(responsibilities)
    )
    if grad_responsibilities is not None:
        along = (responsibilities * grad_responsibilities).sum(-1, keepdim=True)
        slope = slope + grad_responsibilities - along
    return responsibilities * slope


# -- paths -------------------------------------------------------------------------------------


def _save_inputs(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _save_interpolate(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, sigma_min = inputs
    ctx.save_for_backward(*tensors)
    ctx.slope = 1.0 - sigma_min


def _affine_path_backward(ctx: Context, grad_x_t: Tensor, grad_u_t: Tensor) -> tuple[Grad, ...]:
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


def _interpolate_backward(ctx: Context, grad_x_t: Tensor, grad_u_t: Tensor) -> tuple[Grad, ...]:
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


# -- the loss ----------------------------------------------------------------------------------


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
        return _loss_backward(ctx, grads[0])[:5]


def _loss_backward(ctx: Context, grad: Grad, *_: Grad) -> tuple[Grad, ...]:
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
    if _is_one(factor) and not _is_kept():
        return gradient
    return (gradient * (factor if factor.dim() == 0 else factor[:, None])).to(gradient.dtype)


def _is_one(factor: Tensor) -> bool:
    """Whether the factor is known to be 1 without synchronising, tracing or losing a graph."""
    plain = type(factor) is Tensor and factor.is_cpu and not torch.compiler.is_compiling()
    return plain and factor.dim() == 0 and not torch.is_grad_enabled() and factor.item() == 1.0


def _is_kept() -> bool:
    """Whether the graph outlives this backward pass (``retain_graph``): then its tensors stay its own."""
    return _keep_graph()
