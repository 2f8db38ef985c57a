"""Tensors as a checked data set: lengths, dtypes, labels and finiteness are looked at once, at load."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.data.base import TensorData
from flowprior.errors import InputError

PICTURE_CHANNELS = (1, 3)


def tensor_data(
    x: Tensor,
    cond: Tensor | None = None,
    *,
    name: str = "tensors",
    classes: int | None = None,
    class_names: list[str] | None = None,
) -> TensorData:
    """A :class:`TensorData` of checked tensors.

    Args:
        x: events ``[N, *event]``. uint8 events of three dimensions, channels first or last, are pictures
            and come out in [-1, 1]; floating-point ones are pictures if they have 1 or 3 channels and
            lie in [-1, 1]. Everything becomes float32.
        cond: labels ``[N]`` or ``[N, 1]`` (any integer type), embeddings ``[N, E]`` or ``[N]``, or None.
        name: for messages and figures.
        classes: number of classes where the labels may not show them all.
        class_names: one for each class, which then counts them.

    Raises:
        InputError: no events, non-finite numbers, labels out of range, or lengths that differ.
    """
    if x.dim() < 2 or not len(x):
        raise InputError(f"{name}: expected events x [N, *event] with N >= 1, got {list(x.shape)}")
    if x.is_complex():
        raise InputError(f"{name}: expected real events x, got {x.dtype}")
    x = _pictures_of_bytes(x) if x.dtype == torch.uint8 and x.dim() == 4 else x.float()
    check_finite(x, "x", name)
    is_image = x.dim() == 4 and x.shape[1] in PICTURE_CHANNELS and float(x.abs().max()) <= 1
    cond = check_condition(cond, len(x), name)
    if cond is None or cond.is_floating_point():
        classes = class_names = None
    elif class_names is not None:
        classes = len(class_names)
    if cond is not None and classes is not None and int(cond.max()) >= classes:
        raise InputError(f"{name}: expected labels 0..{classes - 1}, got {int(cond.max())}")
    return TensorData(x, cond, name=name, classes=classes, class_names=class_names, is_image=is_image)


def check_condition(cond: Tensor | None, count: int, name: str) -> Tensor | None:
    """Labels as int64 ``[N]``, embeddings as float32 ``[N, E]``.

    Raises:
        InputError: another shape or length, negative labels, or non-finite numbers.
    """
    if cond is None:
        return None
    if cond.is_floating_point():
        cond = cond.float().reshape(-1, 1) if cond.dim() == 1 else cond.float()
        check_finite(cond, "condition", name)
    elif cond.dim() == 2 and cond.shape[1] == 1:
        cond = cond[:, 0].long()
    else:
        cond = cond.long()
    expected = 2 if cond.is_floating_point() else 1
    if cond.dim() != expected or len(cond) != count:
        raise InputError(
            f"{name}: expected labels [{count}] or embeddings [{count}, E], "
            f"got {cond.dtype} {list(cond.shape)}"
        )
    if expected == 1 and int(cond.min()) < 0:
        raise InputError(f"{name}: expected labels from 0 on, got {int(cond.min())}")
    return cond


def check_finite(values: Tensor, what: str, name: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: there are some; the message counts them and names the first row.
    """
    bad = ~torch.isfinite(values).flatten(1).all(dim=1)
    if bad.any():
        first = int(torch.nonzero(bad)[0])
        raise InputError(
            f"{name}: {what} has NaN or infinite numbers in {int(bad.sum())} of {len(values)} rows, "
            f"first in row {first}; drop or repair them"
        )


def _pictures_of_bytes(x: Tensor) -> Tensor:
    channels_last = x.shape[3] in PICTURE_CHANNELS and x.shape[1] not in PICTURE_CHANNELS
    if channels_last:
        x = x.permute(0, 3, 1, 2).contiguous()
    return x.float() / 127.5 - 1
