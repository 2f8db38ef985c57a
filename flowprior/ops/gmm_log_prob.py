"""Log-density of diagonal Gaussian mixtures, and each component's share in it.

    joint_k = log π_k − ½ Σ_d ((x_d − μ_kd) / σ_kd)² − Σ_d log σ_kd − ½ D log 2π
    log p = logsumexp_k joint_k,   p(k | x) = softmax_k joint_k

in the centred form, which neither cancels nor overflows. No ``[B, K, D]`` array is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import (
    Context,
    Grad,
    attempt,
    fake,
    gradient,
    is_plain,
    operators,
    reference,
    refuse_gradient,
)
from flowprior.ops.shapes import (
    check_alike,
    check_labels,
    chunks,
    compute_dtype,
    computed_like,
    contiguous_like,
    flat,
    flat_mixture,
    known_labels,
)

CHUNK = 65_536
"""Numbers of an array that stays in the cache."""


def gmm_log_prob(
    x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
) -> tuple[Tensor, Tensor]:
    """log p(x | c) of each row's own condition, and the responsibilities p(k | x, c).

    Differentiable once in x, logits, mean and scale.

    Args:
        x: ``[B, *event]``, in the tables' dtype.
        logits: log weights ``[C, K]``, not necessarily normalised; -inf excludes a component.
        mean: μ ``[C, K, *event]``.
        scale: standard deviations σ ``[C, K, *event]``, or ``[C, K, 1]``.
        cond: rows of the tables, int64 ``[B]``.

    Returns:
        Log-densities ``[B]`` in nats and responsibilities ``[B, K]``; in float64 for float64, else float32.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, or (on the CPU) an unknown label.
    """
    return _densities("gmm_log_prob", x, logits, mean, scale, cond)


def gmm_log_prob_all(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x | c) under every condition, and the responsibilities p(k | x, c).

    Args:
        x, logits, mean, scale: as in :func:`gmm_log_prob`.

    Returns:
        Log-densities ``[B, C]`` in nats and responsibilities ``[B, C, K]``.

    Raises:
        InputError: shapes, dtypes or devices that do not fit.
    """
    return _densities("gmm_log_prob_all", x, logits, mean, scale)


def _densities(
    name: str, x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, *cond: Tensor
) -> tuple[Tensor, Tensor]:
    if mean.dim() == 3 and is_plain(x, logits, mean, scale, *cond):
        found = attempt(name, x, logits, mean, scale, *cond)
        if found is not None:
            return found
    flat_mean, flat_scale = flat_mixture(name, logits, mean, scale)
    if x.dim() < 2 or x.shape[1:] != mean.shape[2:]:
        raise InputError(
            f"{name}: expected x [B, *event] with the event of mean [C, K, *event], got {list(x.shape)} and "
            f"{list(mean.shape)}"
        )
    check_alike(name, x=x, mean=mean)
    rows = [check_labels(name, labels, logits.shape[0], mean) for labels in cond]
    if rows and rows[0].shape != x.shape[:1]:
        raise InputError(
            f"{name}: expected one label for each row of x, got {list(rows[0].shape)} for {list(x.shape)}"
        )
    return getattr(operators(x.device), name)(flat(x), logits, flat_mean, flat_scale, *rows)


# -- the pure-torch operators ------------------------------------------------------------------


@reference("gmm_log_prob")
def reference_gmm_log_prob(
    x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
) -> tuple[Tensor, Tensor]:
    """The pure-torch operator behind :func:`gmm_log_prob`."""
    cond, known = known_labels("gmm_log_prob", cond, logits.shape[0])
    joint = _constants(logits, scale, x.shape[1])[cond]
    _subtract_squares(joint, x, mean, scale, cond)
    if known is not None:
        joint.masked_fill_(~known[:, None], torch.nan)
    compute = compute_dtype(x.dtype)
    return joint.logsumexp(1).to(compute), joint.softmax(1).to(compute)


@reference("gmm_log_prob_all")
def reference_gmm_log_prob_all(
    x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The pure-torch operator behind :func:`gmm_log_prob_all`: all components as those of one condition."""
    joint = _constants(logits, scale, x.shape[1]).view(1, -1).repeat(x.shape[0], 1)
    _subtract_squares(joint, x, _as_one(mean), _as_one(scale), None)
    joint = joint.view(x.shape[0], *logits.shape)
    compute = compute_dtype(x.dtype)
    return joint.logsumexp(2).to(compute), joint.softmax(2).to(compute)


@reference("gmm_log_prob_backward")
def reference_gmm_log_prob_backward(
    grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of Σ_bk g_bk joint_bk in x, mean and scale, for ``grad_joint`` g ``[B, K]``."""
    cond, known = known_labels("gmm_log_prob_backward", cond, mean.shape[0])
    if known is not None:
        grad_joint = grad_joint * known[:, None]
    return _gradients(grad_joint, x, mean, scale, cond)


@reference("gmm_log_prob_all_backward")
def reference_gmm_log_prob_all_backward(
    grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of Σ_bck g_bck joint_bck in x, mean and scale, for ``grad_joint`` g ``[B, C, K]``."""
    grad_x, grad_mean, grad_scale = _gradients(grad_joint.flatten(1), x, _as_one(mean), _as_one(scale), None)
    return grad_x, grad_mean.view(mean.shape), grad_scale.view(scale.shape)


def _as_one(table: Tensor) -> Tensor:
    """``[C, K, D]`` as ``[1, C K, D]``."""
    return table.flatten(0, 1)[None]


def _constants(logits: Tensor, scale: Tensor, dim: int) -> Tensor:
    """What does not depend on x, ``[C, K]``, float64."""
    log_det = scale.double().log().expand(*logits.shape, dim).sum(2)
    return logits.double().log_softmax(1) - log_det - 0.5 * dim * LOG_2PI


def _blocks(x: Tensor, components: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and of components whose ``[rows, components, D]`` stays in the cache."""
    dim = x.shape[1]
    parts = chunks(components, dim, CHUNK, x.device)
    for rows in chunks(x.shape[0], dim * min(components, parts[0].stop), CHUNK, x.device):
        for part in parts:
            yield rows, part


def _rows_of(table: Tensor, part: slice, cond: Tensor | None, rows: slice, dtype: torch.dtype) -> Tensor:
    """Parameters ``[rows, part, D]`` of the rows' conditions; ``[1, part, D]`` where all share one."""
    chosen = table[:, part]
    return (chosen if cond is None else chosen[cond[rows]]).to(dtype)


def _subtract_squares(joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, cond: Tensor | None) -> None:
    """Take ½ Σ_d ((x − μ)/σ)² from ``joint`` ``[B, K]``, float64."""
    compute = compute_dtype(x.dtype)
    for rows, part in _blocks(x, mean.shape[1]):
        white = x[rows, None].to(compute) - _rows_of(mean, part, cond, rows, compute)
        white.div_(_rows_of(scale, part, cond, rows, compute)).square_()
        joint[rows, part].sub_(white.sum(2).double(), alpha=0.5)


def _gradients(
    grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, cond: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients in x, mean and scale: with d = x − μ, from sums of g d/σ², of g d and of g d².

    Terms are of the compute dtype; float64 adds them over rows, and brings in the scales they share.
    """
    compute, wide = compute_dtype(x.dtype), {"dtype": torch.float64, "device": x.device}
    grad_x, first, second = torch.zeros(x.shape, **wide), *torch.zeros(2, *mean.shape, **wide)
    for rows, part in _blocks(x, mean.shape[1]):
        sigma = _rows_of(scale, part, cond, rows, compute)
        difference = x[rows, None].to(compute) - _rows_of(mean, part, cond, rows, compute)
        pull = difference * grad_joint[rows, part, None].to(compute)
        grad_x[rows] -= (pull / sigma.square()).sum(1)
        for total, share in ((first[:, part], pull), (second[:, part], difference.mul_(pull))):
            _add_rows(total, share, cond, rows)
    total = torch.zeros(*mean.shape[:2], 1, **wide)
    _add_rows(total, grad_joint[:, :, None], cond, slice(0, len(x)))
    spread = second / scale.double().square() - total
    if scale.shape[2] == 1:
        spread = spread.sum(2, keepdim=True)
    grad_mean, grad_scale = first / scale.double().square(), spread / scale.double()
    return grad_x.to(x.dtype), grad_mean.to(mean.dtype), grad_scale.to(scale.dtype)


def _add_rows(total: Tensor, share: Tensor, cond: Tensor | None, rows: slice) -> None:
    """Add rows ``[rows, K, D]`` to the float64 sums ``[C, K, D]`` of their conditions."""
    if cond is None:
        total += share.sum(0, dtype=torch.float64)
    else:
        total.index_add_(0, cond[rows], share.double())


# -- what torch.compile is told ----------------------------------------------------------------


@fake("gmm_log_prob")
def _outputs(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
    return computed_like(x, x.shape[0]), computed_like(x, x.shape[0], logits.shape[1])


@fake("gmm_log_prob_all")
def _outputs_all(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return computed_like(x, x.shape[0], logits.shape[0]), computed_like(x, x.shape[0], *logits.shape)


@fake("gmm_log_prob_backward")
@fake("gmm_log_prob_all_backward")
def _outputs_backward(
    grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, cond: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    return contiguous_like(x), contiguous_like(mean), contiguous_like(scale)


# -- gradients: once, by operators of their own ------------------------------------------------

TWICE = "the log-density is differentiable once, and its second derivative was asked for"
refuse_gradient("gmm_log_prob_backward", TWICE, owner="gmm_log_prob")
refuse_gradient("gmm_log_prob_all_backward", TWICE, owner="gmm_log_prob_all")


def _save(ctx: Context, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.set_materialize_grads(False)


@gradient("gmm_log_prob", setup=_save)
def _gradient(library: Any, ctx: Context, grad: Grad, grad_responsibilities: Grad) -> tuple[Grad, ...]:
    x, logits, mean, scale, cond, responsibilities = ctx.saved_tensors
    joint = _joint_gradient(responsibilities, grad, grad_responsibilities)
    grad_logits, backward = None, library.gmm_log_prob_backward
    grad_x, grad_mean, grad_scale = _table_gradients(backward, ctx, joint, x, mean, scale, cond)
    if ctx.needs_input_grad[1]:
        share = joint - logits.to(joint.dtype).softmax(1)[cond] * joint.sum(1, keepdim=True)
        # index_put sums in a fixed order on CUDA, too, as index_add does not.
        grad_logits = torch.zeros_like(logits, dtype=joint.dtype).index_put((cond,), share, accumulate=True)
        grad_logits = grad_logits.to(logits.dtype)
    return grad_x, grad_logits, grad_mean, grad_scale, None


@gradient("gmm_log_prob_all", setup=_save)
def _gradient_all(library: Any, ctx: Context, grad: Grad, grad_responsibilities: Grad) -> tuple[Grad, ...]:
    x, logits, mean, scale, responsibilities = ctx.saved_tensors
    joint = _joint_gradient(responsibilities, grad, grad_responsibilities)
    grad_logits, backward = None, library.gmm_log_prob_all_backward
    grad_x, grad_mean, grad_scale = _table_gradients(backward, ctx, joint, x, mean, scale)
    if ctx.needs_input_grad[1]:
        total = joint.sum(0)
        share = total - logits.to(joint.dtype).softmax(1) * total.sum(1, keepdim=True)
        grad_logits = share.to(logits.dtype)
    return grad_x, grad_logits, grad_mean, grad_scale


def _table_gradients(backward: Any, ctx: Context, *tensors: Tensor) -> tuple[Grad, Grad, Grad]:
    """Gradients in x, mean and scale, where one of them is asked for."""
    needs_x, _, needs_mean, needs_scale = ctx.needs_input_grad[:4]
    return backward(*tensors) if needs_x or needs_mean or needs_scale else (None, None, None)


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
