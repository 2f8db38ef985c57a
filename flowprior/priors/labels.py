"""Labels that a mixture prior is fitted with and asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError


def check_fit_labels(cond: Tensor | None) -> None:
    """Refuse a condition that is neither labels ``[B]`` nor None.

    Raises:
        InputError: it is floating-point, or has another shape.
    """
    if cond is not None and (cond.is_floating_point() or cond.dim() != 1):
        raise InputError(
            f"gmm.fit: expected labels as integers [B] or None, got {cond.dtype} {list(cond.shape)}; "
            "embeddings need the prior 'learned-mean'"
        )


def table_rows(cond: Tensor | None, usable: Tensor, *, pooled: bool, method: str) -> Tensor:
    """Rows of the parameter tables, int64 ``[B]``, for labels ``[B]``.

    Args:
        cond: labels.
        usable: whether each label has a row of its own, bool ``[C]``.
        pooled: whether the others get row C, that of the pooled moments.
        method: what was called, for messages.

    Raises:
        InputError: no labels ``[B]``, or one without a row.
    """
    if cond is None:
        raise InputError(f"gmm.{method}: the prior was fitted with labels; pass cond, int64 [B]")
    if cond.is_floating_point() or cond.dim() != 1:
        raise InputError(
            f"gmm.{method}: expected labels as int64 [B], got {cond.dtype} {list(cond.shape)}; "
            "embeddings need the prior 'learned-mean'"
        )
    rows = cond.long().to(usable.device)
    known = len(usable)
    seen = (rows >= 0) & (rows < known)
    seen = seen & usable[rows.clamp(0, known - 1)]
    if bool(seen.all()):
        return rows
    if pooled:
        return torch.where(seen, rows, known)
    label = int(rows[~seen][0])
    why = "had no example" if 0 <= label < known else f"is not among labels 0..{known - 1}"
    raise InputError(
        f"gmm.{method}: cond has label {label}, which {why} when the prior was fitted; "
        'pass unseen="pooled" to start unseen labels from the pooled prior'
    )
