"""Data sets: finite collections of events and conditions, looked up by name."""

from flowprior.data.base import DATA, Data, DataBatches, Split, TensorData, load_data
from flowprior.data.digits import digits
from flowprior.data.fashion_mnist import fashion_mnist

__all__ = [
    "DATA",
    "Data",
    "DataBatches",
    "Split",
    "TensorData",
    "digits",
    "fashion_mnist",
    "load_data",
]
