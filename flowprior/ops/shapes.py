"""Events as flat rows, mixtures as flat tables, and the checks that every operator shares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowprior.errors import InputError


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
