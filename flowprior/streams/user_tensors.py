"""The checks of a user's tensors and arrays, each refused in one line.

Everything that takes data or conditions from outside (``train``, ``prior.fit``, ``evaluate``, ``inspect`` and
the readers of files) goes through these functions once; what lies behind them takes dense tensors of real
numbers for granted. Which events are pictures is decided here, too, and how they become [channels, height,
width] in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.condition import MOST_LABELS
from flowprior.errors import InputError
from flowprior.streams.data import TensorData

MOST_EXPANDED_BYTES = 1 << 30
"""Memory that a tensor may claim beyond what it holds, as ``torch.zeros(1).expand(n)`` does."""
_WIDER_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
PICTURE_CHANNELS = (1, 3)
_SMALLEST_SIDE = 5
"""A side below it may be a number of channels; pictures with transparency have four."""
_HIGHEST = 2.0
"""Pictures in [0, 1] or [-1, 1] stay below it, those in 0 … 255 do not."""


def plain_tensor(value: Any, what: str, owner: str) -> Tensor:
    """Return ``value`` as a dense tensor of real numbers, without its gradient; shape and numbers stay.

    Args:
        value: a tensor or a NumPy array.
        what: its part in the message, such as ``"events x"``.
        owner: who asks, such as ``"gmm.fit"``, or the file it came from.

    Raises:
        InputError: something else; a sparse, nested, quantised or meta tensor; complex numbers; text or
            objects; a masked array; or a tensor expanded far beyond the memory that it holds.
    """
    if isinstance(value, np.ndarray):
        value = _tensor_of_array(value, what, owner)
    if not isinstance(value, Tensor):
        raise InputError(f"{owner}: expected a tensor or an array as {what}, got {type(value).__name__}")
    _check_dense(value, what, owner)
    if value.is_complex():
        raise InputError(f"{owner}: expected real {what}, got {value.dtype}; pass real and imaginary parts")
    plain = value.detach()
    if plain.dtype in _WIDER_UNSIGNED:
        return plain.long()
    return plain.float() if plain.is_floating_point() and plain.element_size() == 1 else plain


def plain_rows(cond: Any, owner: str) -> Tensor:
    """Return labels as int64 ``[B]``, embeddings of one number as ``[B, 1]``; anything else in its own shape.

    Raises:
        InputError: as of :func:`plain_tensor`, or labels in floating point.
    """
    cond = plain_tensor(cond, "condition", owner)
    if not cond.is_floating_point():
        return (cond[:, 0] if cond.dim() == 2 and cond.shape[1] == 1 else cond).long()
    if cond.dim() != 1:
        return cond
    if len(cond) and bool((cond == cond.round()).all()):  # they would pass as embeddings of one number
        raise InputError(
            f"{owner}: got whole numbers as {cond.dtype} {list(cond.shape)}; pass labels as integers "
            "(.long()), or an embedding of one number as [N, 1]"
        )
    return cond[:, None]


def tensor_data(
    x: Any,
    cond: Any = None,
    x0: Any = None,
    *,
    name: str = "tensors",
    classes: int | None = None,
    class_names: list[str] | None = None,
) -> TensorData:
    """Return a :class:`TensorData` of checked tensors.

    Args:
        x: events ``[N, *event]``, a tensor or a NumPy array. Bytes (uint8) of two or three dimensions,
            channels first or last, are pictures and come out in [-1, 1]; floating-point ones, channels first
            or last, are pictures if they have 1 or 3 channels and lie in [-1, 1]. Pictures come out with
            channels first, and everything as float32.
        cond: labels ``[N]`` or ``[N, 1]`` (any integer type), embeddings ``[N, E]`` or ``[N]``, token states,
            a mapping of named parts of these, or None.
        x0: source samples, one for each event, in the form of x; or None.
        name: for messages and tables.
        classes: number of classes where the labels may not show them all.
        class_names: one for each class, which then counts them.

    Raises:
        InputError: no events; non-finite numbers; labels out of range, or 100,000 and more; lengths that
            differ; sparse, quantised or meta tensors; or pictures that are neither bytes nor scaled.
    """
    x, is_image = _events(x, "x", name)
    x0 = None if x0 is None else _events(x0, "x0", name)[0]
    if x0 is not None and x0.shape != x.shape:
        raise InputError(f"{name}: expected x0 like x {list(x.shape)}, got {list(x0.shape)}")
    cond = None if cond is None else check_condition(cond, len(x), name)
    if not isinstance(cond, Tensor) or cond.is_floating_point():
        classes = class_names = None
    elif class_names is not None:
        classes = len(class_names)
    if isinstance(cond, Tensor) and classes is not None and int(cond.max()) >= classes:
        raise InputError(f"{name}: expected labels 0..{classes - 1}, got {int(cond.max())}")
    return TensorData(x, cond, x0, name=name, classes=classes, class_names=class_names, is_image=is_image)


def _events(x: Any, what: str, name: str) -> tuple[Tensor, bool]:
    """Return events ``[N, *event]`` as float32, and whether they are pictures."""
    x = plain_tensor(x, f"events {what}", name)
    if x.dim() < 2 or not x.numel():
        raise InputError(f"{name}: expected events {what} [N, *event] with N >= 1, got {list(x.shape)}")
    if x.is_floating_point():
        x = x.float()  # first, so that what is too large for it is found to be infinite
        check_finite(x, what, name)
    return picture_events(x, name)


def check_condition(cond: Any, count: int, owner: str) -> Any:
    """Return labels as int64 ``[count]``, numbers as float32 ``[count, …]``; token states, and parts.

    Args:
        cond: labels ``[N]`` or ``[N, 1]`` of any integer type; embeddings ``[N, E]``, or one number each
            ``[N]``; pictures, series and the like ``[N, …]``; as a tensor or a NumPy array;
            :class:`TokenStates`, which keep half precision; or a mapping of named parts of these.
        count: rows that it belongs to.
        owner: who asks, for messages.

    Raises:
        InputError: another shape or length, labels outside 0 … 99,999, labels in floating point, numbers
            that are not finite, or a row without an attended token.
    """
    if isinstance(cond, Mapping | Parts):
        return Parts(
            {name: check_condition(part, count, f"{owner}, '{name}'") for name, part in cond.items()}
        )
    if isinstance(cond, TokenStates):
        return _plain_tokens(cond, count, owner)
    cond = plain_rows(cond, owner)
    is_label = not cond.is_floating_point()
    fits = cond.dim() == 1 if is_label else cond.dim() > 1 and 0 not in cond.shape[1:]
    if not fits or len(cond) != count:
        raise InputError(
            f"{owner}: expected labels [{count}], embeddings [{count}, E] or a floating-point tensor "
            f"[{count}, …], got {cond.dtype} {list(cond.shape)}"
        )
    if is_label:
        check_labels(cond, owner)
        return cond
    cond = cond.float()  # first, so that what is too large for it is found to be infinite
    check_finite(cond, "condition", owner)
    return cond


def picture_events(x: Tensor, name: str) -> tuple[Tensor, bool]:
    """Return events as float32 with channels first, and True if they are images.

    Images are bytes, and floating-point events ``[N, C, H, W]`` or ``[N, H, W, C]`` that have one or three
    channels and lie in [-1, 1].

    Args:
        x: dense events ``[N, *event]`` of real numbers, finite.
        name: for messages.

    Raises:
        InputError: as of :func:`channels_first`; or events of a picture's shape in 0 … 255, which are neither
            bytes nor scaled.
    """
    x = channels_first(x, name)
    is_shaped = x.dim() == 4 and x.shape[1] in PICTURE_CHANNELS and x.numel() > 0
    if is_shaped:
        check_picture_range(x, name)
    return x, is_shaped and float(x.abs().max()) <= 1


def channels_first(x: Tensor, name: str) -> Tensor:
    """Return events as float32, images with channels first.

    Bytes ``[N, H, W]``, ``[N, C, H, W]`` or ``[N, H, W, C]`` are images and come out in [-1, 1].

    Raises:
        InputError: bytes or square events whose channels come last and are neither one nor three.
    """
    if x.dtype == torch.uint8 and x.dim() == 3 and min(x.shape[1:]) >= _SMALLEST_SIDE:
        x = x[:, None]
    if x.dim() != 4:
        return x.float()
    _check_channels(x, name)
    first, _, last = x.shape[1:]
    if last in PICTURE_CHANNELS and first not in PICTURE_CHANNELS:
        x = x.permute(0, 3, 1, 2).contiguous()
    return x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float()


def is_array(value: Any) -> bool:
    """Return whether ``value`` is a tensor or an array, which :func:`plain_tensor` may take."""
    return isinstance(value, (Tensor, np.ndarray))


def check_labels(labels: Tensor, owner: str) -> None:
    """Refuse negative labels, and those that tables of one row a label have no room for.

    Raises:
        InputError: a label outside 0 … 99,999.
    """
    if not len(labels):
        return
    least, most = int(labels.min()), int(labels.max())
    if least < 0:
        raise InputError(f"{owner}: expected labels from 0 on, got {least}")
    if most >= MOST_LABELS:
        raise InputError(
            f"{owner}: cond has label {most}, too high where at most {MOST_LABELS:,} labels are possible; "
            "number the labels 0, 1, 2, …"
        )


def check_finite(values: Tensor, what: str, owner: str) -> None:
    """Refuse NaN and infinity in rows ``[N, …]``.

    Raises:
        InputError: there are some; the message counts them and names the first row.
    """
    bad = ~torch.isfinite(values).flatten(1).all(dim=1)
    if bad.any():
        first = int(torch.nonzero(bad)[0])
        raise InputError(
            f"{owner}: {what} has NaN or infinite numbers in {int(bad.sum())} of {len(values)} rows, "
            f"first in row {first}; drop or repair them"
        )


def check_picture_range(x: Tensor, name: str) -> None:
    """Refuse events of a picture's shape ``[N, C, H, W]`` that look like unscaled bytes.

    Raises:
        InputError: nothing is negative and something is above 2.
    """
    if not x.numel():
        return
    least, most = float(x.min()), float(x.max())
    if least >= 0 and most > _HIGHEST:
        raise InputError(
            f"{name}: expected pictures as bytes (uint8) or scaled to [-1, 1], got {x.dtype} "
            f"{list(x.shape[1:])} from {least:g} to {most:g}; pass x / 127.5 - 1 for 0 to 255, "
            "or take the mean off what is no picture"
        )


def _plain_tokens(tokens: TokenStates, count: int, owner: str) -> TokenStates:
    """Return token states of one row each, with zeros where no token is attended."""
    states = plain_tensor(tokens.states, "token states", owner)
    mask = plain_tensor(tokens.mask, "mask of token states", owner)
    if len(states) != count:
        raise InputError(f"{owner}: expected token states [{count}, T, F], got {list(states.shape)}")
    condition = Condition("tokens", states.shape[2])
    tokens = condition.check(TokenStates(states, mask), owner)
    check_finite(tokens.states, "token states", owner)
    return tokens.to(torch.float32) if tokens.states.dtype == torch.float64 else tokens


def _check_dense(value: Tensor, what: str, owner: str) -> None:
    dense = value.layout == torch.strided and not (value.is_nested or value.is_meta or value.is_quantized)
    if dense and "bits" not in str(value.dtype):
        claimed = value.numel() * value.element_size()
        if claimed <= max(MOST_EXPANDED_BYTES, value.untyped_storage().nbytes()):
            return
    raise InputError(
        f"{owner}: expected a dense tensor as {what}, got a sparse, nested, quantised, meta or expanded one "
        f"({value.layout}, {value.dtype}, on {value.device}); convert it first, as with .to_dense(), "
        ".dequantize() or .contiguous()"
    )


def _tensor_of_array(array: np.ndarray, what: str, owner: str) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{owner}: expected a plain array as {what}, got a masked one; fill its gaps first")
    if array.dtype.kind not in "biufc":
        raise InputError(f"{owner}: expected numbers in {what}, got dtype {array.dtype}")
    is_long = array.dtype.kind == "f" and array.dtype.itemsize > 8
    dtype = np.dtype(np.float64) if is_long else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _check_channels(x: Tensor, name: str) -> None:
    """Refuse channels in the last place that would be taken for the width of a picture."""
    first, second, last = x.shape[1:]
    is_certain = x.dtype == torch.uint8 or first == second
    if is_certain and last in (2, 4) and first >= _SMALLEST_SIDE and second >= _SMALLEST_SIDE:
        raise InputError(
            f"{name}: expected 1 or 3 channels, got {x.dtype} {list(x.shape[1:])}, with {last} in "
            "the last place; lay transparency on white, or move them to the front"
        )
