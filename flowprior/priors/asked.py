"""What a prior is asked for, checked at its boundary: how many samples, and events of which shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowprior.conditions import Conditions, Parts, TokenStates, describe_value
from flowprior.errors import InputError


def count_of(owner: str, cond: Conditions | None, n: int | None) -> int:
    """How many samples are asked for, by their conditions or by ``n``.

    Raises:
        InputError: neither says so, or they disagree; ``owner`` is named.
    """
    if cond is None and n is None:
        raise InputError(f"{owner}: expected cond or n, got neither; pass n= for an unconditional draw")
    if isinstance(cond, Tensor) and not cond.dim():
        raise InputError(f"{owner}: expected one condition for each sample, got a single {cond.dtype}")
    if cond is not None and n is not None and n != len(cond):
        raise InputError(f"{owner}: cond has {len(cond)} rows but n={n}; pass one of them")
    if cond is None and n is not None and n < 0:
        raise InputError(f"{owner}: expected n >= 0, got {n}")
    return len(cond) if cond is not None else int(n or 0)


def check_events(owner: str, x: Tensor, event_shape: Sequence[int], cond: Conditions | None = None) -> None:
    """Check events x ``[B, *event]``, and that there is one condition for each of them.

    Raises:
        InputError: what was expected, and what came; ``owner`` is named.
    """
    if x.shape[1:] != torch.Size(event_shape) or not x.is_floating_point():
        event = ", ".join(map(str, event_shape))
        got = f"{x.dtype} of shape {list(x.shape)}"
        raise InputError(f"{owner}: expected floating-point x of shape [B, {event}], got {got}")
    expected = f"{owner}: expected one condition for each row, x has {len(x)} rows but cond has"
    if isinstance(cond, Tensor) and cond.shape[:1] != x.shape[:1]:
        raise InputError(f"{expected} shape {list(cond.shape)}")
    if isinstance(cond, Parts | TokenStates) and len(cond) != len(x):
        raise InputError(f"{expected} {len(cond)} ({describe_value(cond)})")


def check_finite(x: Tensor, method: str) -> None:
    """Refuse rows ``[B, *event]`` with NaN or infinity; one sum where all is well.

    Raises:
        InputError: how many rows hold some.
    """
    if bool(torch.isfinite(x.detach().sum())):
        return
    bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
    if bad:
        raise InputError(
            f"{method}: expected finite x1, got NaN or infinity in {bad} of {len(x)} rows; clean or drop them"
        )
