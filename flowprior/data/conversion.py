"""Whatever a user has at hand, as a data set."""

from __future__ import annotations

import os
from typing import Any

from torch.utils.data import Dataset, TensorDataset

from flowprior.data.base import Data, load_data
from flowprior.data.tensors import tensor_data
from flowprior.data.torch_dataset import DatasetData
from flowprior.data.user_tensors import is_array
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
    if is_array(value):
        return tensor_data(value)
    if isinstance(value, (tuple, list)) and 1 <= len(value) <= 2 and is_array(value[0]):
        return tensor_data(*value)
    if isinstance(value, Dataset) and hasattr(value, "__len__"):
        return DatasetData(value)
    raise InputError(
        "data: expected a data set's name or path, a tensor [N, *event], a pair (x, cond) or a map-style "
        f"torch Dataset, got {type(value).__name__}"
    )
