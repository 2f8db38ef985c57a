"""Conditions hold finite numbers: a network's answer to NaN is NaN, and does not say where it came from."""

from __future__ import annotations

import torch

from flowprior.conditions import Conditions, named_tensors
from flowprior.data.user_tensors import check_finite


def check_finite_condition(cond: Conditions | None, owner: str) -> None:
    """Refuse NaN and infinity in a condition or any of its parts.

    The sum of all numbers tells whether there may be some; rows are looked at only then.

    Args:
        cond: a tensor, token states (``[B, T, F]``, cleared where no token is attended), parts, or None.
        owner: who asks, for the message.

    Raises:
        InputError: there are some; the message names the part, counts the rows and says which is the first.
    """
    for name, tensor in named_tensors(cond).items():
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float32).isfinite()):
            check_finite(tensor, name, owner)
