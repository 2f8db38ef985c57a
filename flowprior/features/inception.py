"""Features of FID's Inception v3, through torch-fidelity, with weights that the user has on disk.

The published definition of FID and KID: the port of TensorFlow's network with its own resizing to 299 × 299,
on 8-bit pictures, pooled features of 2048 numbers. The weights are torch-fidelity's
``pt_inception-2015-12-05-6726825d.pth``; nothing is downloaded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.features.base import FEATURES, NetworkFeatures, as_rgb
from flowprior.storage.digests import checked_file, file_sha256


@FEATURES.register("inception")
class InceptionFeatures(NetworkFeatures):
    """FID's Inception v3 by torch-fidelity: 2048 pooled features of 8-bit pictures.

    Args:
        path: torch-fidelity's file of weights.
        sha256: its digest, or the first 8 or more digits of it.

    Raises:
        OptionError: torch-fidelity is not installed.
        DataNotFoundError: no such file.
        InputError: another file than the digest says, or weights of another network.
    """

    def __init__(self, path: str, sha256: str) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise OptionError(
                "features 'inception' need torch-fidelity; run `pip install 'flowprior[inception]'`"
            ) from error
        weights = checked_file(path, sha256, "features 'inception'")
        _refuse_pickles(weights)
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
            )
        except RuntimeError as error:
            raise InputError(
                f"features 'inception': {weights} holds weights of another network; expected "
                "torch-fidelity's pt_inception-2015-12-05"
            ) from error
        super().__init__(network, "inception", dim=2048, recipe="uint8", digest=file_sha256(weights))

    def prepare(self, x: Tensor) -> Tensor:
        """Pictures ``[B, 1 or 3, H, W]`` in [-1, 1] as bytes."""
        return as_bytes(as_rgb(x, "inception"))

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features ``[B, 2048]``."""
        return self.network(self.prepare(x))[0]


def as_bytes(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] rounded to uint8 0..255."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _refuse_pickles(weights: object) -> None:
    """torch-fidelity would unpickle the file; see first that it holds nothing but tensors."""
    import pickle

    try:
        torch.load(weights, map_location="meta", weights_only=True)  # type: ignore[arg-type]
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(
            f"features 'inception': {weights} cannot be read as a file of tensors; expected torch-fidelity's "
            "pt_inception-2015-12-05"
        ) from error
