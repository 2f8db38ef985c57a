"""The data sets: finite collections of data samples x1 and conditions, found by name, path or value."""

import flowprior.data.arrays
import flowprior.data.folder
import flowprior.data.huggingface
import flowprior.data.latents
from flowprior.data.base import DATA, Split, load_data
from flowprior.data.small import sample_eight_gaussians, sample_moons
from flowprior.streams.data import Data, Subset, TensorData

__all__ = [
    "DATA",
    "Data",
    "Split",
    "Subset",
    "TensorData",
    "load_data",
    "sample_eight_gaussians",
    "sample_moons",
]
