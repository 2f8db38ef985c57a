"""Tensors as a checked data set: lengths, dtypes, labels and finiteness are looked at once, at load."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowprior.data.base import TensorData
from flowprior.data.picture_arrays import picture_events
from flowprior.data.user_tensors import check_finite, plain_condition, plain_tensor
from flowprior.errors import InputError


def tensor_data(
    x: Any,
    cond: Any = None,
    *,
    name: str = "tensors",
    classes: int | None = None,
    class_names: list[str] | None = None,
) -> TensorData:
    """A :class:`TensorData` of checked tensors.

    Args:
        x: events ``[N, *event]``, a tensor or a NumPy array. Bytes (uint8) of two or three dimensions,
            channels first or last, are pictures and come out in [-1, 1]; floating-point ones, channels first
            or last, are pictures if they have 1 or 3 channels and lie in [-1, 1]. Pictures come out with
            channels first, and everything as float32.
        cond: labels ``[N]`` or ``[N, 1]`` (any integer type), embeddings ``[N, E]`` or ``[N]``, or None.
        name: for messages and tables.
        classes: number of classes where the labels may not show them all.
        class_names: one for each class, which then counts them.

    Raises:
        InputError: no events; non-finite numbers; labels out of range, or 100,000 and more; lengths that
            differ; sparse, quantised or meta tensors; or pictures that are neither bytes nor scaled.
    """
    x = plain_tensor(x, "events x", name)
    if x.dim() < 2 or not x.numel():
        raise InputError(f"{name}: expected events x [N, *event] with N >= 1, got {list(x.shape)}")
    if x.is_floating_point():
        x = x.float()  # first, so that what is too large for it is found to be infinite
        check_finite(x, "x", name)
    x, is_image = picture_events(x, name)
    cond = None if cond is None else check_condition(cond, len(x), name)
    if cond is None or cond.is_floating_point():
        classes = class_names = None
    elif class_names is not None:
        classes = len(class_names)
    if cond is not None and classes is not None and int(cond.max()) >= classes:
        raise InputError(f"{name}: expected labels 0..{classes - 1}, got {int(cond.max())}")
    return TensorData(x, cond, name=name, classes=classes, class_names=class_names, is_image=is_image)


def check_condition(cond: Any, count: int, name: str) -> Tensor:
    """Labels as int64 ``[N]``, embeddings as float32 ``[N, E]``.

    Raises:
        InputError: see :func:`flowprior.data.user_tensors.plain_condition`.
    """
    cond = plain_condition(cond, count, name)
    if not cond.is_floating_point():
        return cond
    cond = cond.float()
    check_finite(cond, "condition", name)
    return cond
