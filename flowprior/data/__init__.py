"""The data sets: finite collections of data samples x1 and conditions, found by name, path or value."""

from flowprior.data.arrays import arrays
from flowprior.data.base import DATA, Split, as_data, load_data
from flowprior.data.folder import FolderData, PicturePairs, folder, picture_pairs
from flowprior.data.huggingface import HuggingFaceData, huggingface
from flowprior.data.imagenet64 import ImageNet64, imagenet64
from flowprior.data.latents import LatentRows, latents
from flowprior.data.small import (
    checkerboard,
    circle_of_centres,
    digits,
    eight_gaussians,
    eight_gaussians_to_moons,
    eight_gaussians_to_moons_continuous,
    eight_modes,
    fashion_mnist,
    moons,
    sample_eight_gaussians,
    sample_moons,
)
from flowprior.data.splits import Subset, split_indices, split_validation
from flowprior.streams.data import Data, DataBatches, EveryCondition, TensorData, every_condition
from flowprior.streams.datasets import DatasetData
from flowprior.streams.user_tensors import tensor_data

__all__ = [
    "DATA",
    "Data",
    "DataBatches",
    "DatasetData",
    "EveryCondition",
    "FolderData",
    "HuggingFaceData",
    "ImageNet64",
    "LatentRows",
    "PicturePairs",
    "Split",
    "Subset",
    "TensorData",
    "arrays",
    "as_data",
    "checkerboard",
    "circle_of_centres",
    "digits",
    "eight_gaussians",
    "eight_gaussians_to_moons",
    "eight_gaussians_to_moons_continuous",
    "eight_modes",
    "every_condition",
    "fashion_mnist",
    "folder",
    "huggingface",
    "imagenet64",
    "latents",
    "load_data",
    "moons",
    "picture_pairs",
    "sample_eight_gaussians",
    "sample_moons",
    "split_indices",
    "split_validation",
    "tensor_data",
]
