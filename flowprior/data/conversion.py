"""Whatever a user has at hand, as a data set."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from flowprior.data.base import Data, load_data
from flowprior.data.tensors import tensor_data
from flowprior.data.torch_dataset import DatasetData
from flowprior.errors import InputError


def as_data(value: Any) -> Data:
    """Turn ``value`` into a :class:`Data`.

    Args:
        value: a Data (returned as it is); a name, spec string or path (its training split, see
            :func:`load_data`); events as a tensor or numpy array ``[N, *event]``; a pair (events,
            condition) of these; or a map-style torch Dataset.

    Raises:
        InputError: something else, or tensors that do not fit together or are not finite.
    """
    if isinstance(value, Data):
        return value
    if isinstance(value, (str, os.PathLike)):
        return load_data(os.fspath(value))
    if isinstance(value, TensorDataset):
        value = value.tensors
    if isinstance(value, (Tensor, np.ndarray)):
        return tensor_data(_tensor(value))
    if isinstance(value, (tuple, list)) and 1 <= len(value) <= 2 and _is_array(value[0]):
        cond = value[1] if len(value) == 2 else None
        return tensor_data(_tensor(value[0]), None if cond is None else _tensor(cond))
    if isinstance(value, Dataset) and hasattr(value, "__len__"):
        return DatasetData(value)
    raise InputError(
        "data: expected a data set's name or path, a tensor [N, *event], a pair (x, cond) or a map-style "
        f"torch Dataset, got {type(value).__name__}"
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _tensor(value: Any) -> Tensor:
    try:
        return value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"data: expected arrays of numbers, got {type(value).__name__} ({error})") from error
