"""The flow-matching loss."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError


def flow_matching_loss(v: Tensor, u: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over batch and event of w ‖v − u‖² (Lipman et al. 2023, eq. 14), in at least float32.

    Args:
        v: predicted velocity ``[B, *event]``.
        u: velocity of the path ``[B, *event]``.
        weight: optional weights ``[B]``.

    Returns:
        A scalar in the wider of float32 and the inputs' dtype.

    Raises:
        InputError: shapes differ.
    """
    if v.shape != u.shape or (weight is not None and weight.shape != v.shape[:1]):
        raise InputError(
            f"flow_matching_loss: expected v and u of one shape [B, *event] and weight [B], got "
            f"{list(v.shape)}, {list(u.shape)} and {None if weight is None else list(weight.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(v.dtype, u.dtype), torch.float32)
    squared = (v.to(dtype) - u.to(dtype)).square()
    if weight is None:
        return squared.mean()
    return (squared.flatten(1).mean(1) * weight.to(dtype)).mean()
