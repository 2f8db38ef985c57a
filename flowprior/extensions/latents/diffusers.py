"""The autoencoders of diffusers (extra ``diffusers``) in a local folder; nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.models import Encoder, LatentEncoder
from flowprior.models.diffusers import class_of_diffusers
from flowprior.storage.reading import TEXT_LIMIT, bounded_bytes
from flowprior.storage.tensor_files import SizedBy, sizes_in
from flowprior.storage.writing import one_line

CONFIGURATION = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
WITHIN_A_PIPELINE = ("vae", "vqvae")
"""The sub-folders of a pipeline that hold an autoencoder."""


class DiffusersEncoder(LatentEncoder):
    """The base class of encoders that are a model of diffusers: z = (encoded − shift) · scale.

    Scale and shift are the configuration's ``scaling_factor`` and ``shift_factor``. Without a path, which is
    what listing the components makes, every use is refused.

    Args:
        path: folder that ``save_pretrained`` wrote, or that of a pipeline which holds it.

    Raises:
        OptionError: diffusers is not installed.
        DataNotFoundError: no such folder, or it lacks one of the files.
        InputError: a model of another class, or files that cannot be read or do not fit together.
    """

    network_class: ClassVar[str]

    def __init__(self, path: str | None = None) -> None:
        super().__init__()
        self.path = path
        self.scale, self.shift = 1.0, 0.0
        if path is not None:
            self.network = load_model(path, self.network_class, f"encoder '{self.kind}'")
            self._read(self.network.config)
        self.fix()

    def check_ready(self) -> None:
        if self.path is None:
            raise OptionError(
                f"encoder '{self.kind}': path is missing; write {self.kind}:path=FOLDER of a model that "
                "diffusers saved"
            )

    def _read(self, config: Any) -> None:
        """Read the shape and the scale of the latents from the configuration."""
        self.channels, self.latent_channels = config.in_channels, config.latent_channels
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.scale = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)

    def _decode(self, z: Tensor) -> Tensor:
        return self.network.decode(z / self.scale + self.shift).sample

    def _settings(self) -> Mapping[str, Any]:
        return {"scale": self.scale, "shift": self.shift}


@Encoder.register("autoencoder-kl")
class AutoencoderKLEncoder(DiffusersEncoder):
    """AutoencoderKL of diffusers from a local folder: z = (posterior mean − shift) · scale.

    Rombach et al. 2022 (arXiv 2112.10752, sec. 3.1 and app. G). Scale and shift are the ``scaling_factor``
    and ``shift_factor`` of the model's configuration, as in the library's own pipelines.

    Args:
        path: folder that ``save_pretrained`` wrote, or that of a pipeline with a sub-folder ``vae``.
    """

    network_class = "AutoencoderKL"

    def _encode(self, x: Tensor) -> Tensor:
        return (self.network.encode(x).latent_dist.mode() - self.shift) * self.scale


@Encoder.register("vq-model")
class VQModelEncoder(DiffusersEncoder):
    """VQModel of diffusers from a local folder: latents before quantisation, which decoding does.

    Esser et al. 2021 (arXiv 2012.09841). A flow works on the continuous latents, and the codebook is the
    first layer of the decoder (Rombach et al. 2022, arXiv 2112.10752, sec. 3.1). They are multiplied by the
    ``scaling_factor`` of the model's configuration.

    Args:
        path: folder that ``save_pretrained`` wrote, or that of a pipeline with a sub-folder ``vqvae``.
    """

    network_class = "VQModel"

    def _read(self, config: Any) -> None:
        super()._read(config)
        self.latent_channels = config.get("vq_embed_dim") or config.latent_channels

    def _encode(self, x: Tensor) -> Tensor:
        return (self.network.encode(x).latents - self.shift) * self.scale


def load_model(path: str, kind: str, owner: str) -> Any:
    """Load the model of class ``kind`` that ``save_pretrained`` wrote to the folder ``path``, in float32.

    Raises:
        OptionError: diffusers is not installed.
        DataNotFoundError: no such folder, or it lacks one of the files.
        InputError: a model of another class, or files that cannot be read or do not fit together.
    """
    folder = _folder(path, owner)
    _check_class(folder / CONFIGURATION, kind, owner)
    if not (folder / WEIGHTS).is_file():
        raise DataNotFoundError(f"{owner}: no {folder / WEIGHTS}; save the model with safetensors")
    network = class_of_diffusers(kind, owner)
    options = {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}
    try:
        with SizedBy(sizes_in([folder / WEIGHTS]), f"model that {folder / CONFIGURATION} describes"):
            model, found = network.from_pretrained(str(folder), output_loading_info=True, **options)
    except Exception as error:  # What the library makes of damaged files is its own affair.
        raise InputError(f"{owner}: {folder} cannot be read ({one_line(error)})") from error
    for names, problem in (("missing_keys", "lacks"), ("unexpected_keys", "has one too many,")):
        if found[names]:
            first = sorted(found[names])[0]
            raise InputError(
                f"{owner}: {folder / WEIGHTS} {problem} {first}; it does not fit {CONFIGURATION}"
            )
    return model.float()


def _folder(path: str, owner: str) -> Path:
    given = Path(str(path)).expanduser()
    for folder in (given, *(given / name for name in WITHIN_A_PIPELINE)):
        if (folder / CONFIGURATION).is_file():
            return folder
    raise DataNotFoundError(f"{owner}: no {given / CONFIGURATION}; pass path= the folder of a saved model")


def _check_class(file: Path, kind: str, owner: str) -> None:
    try:
        found = json.loads(bounded_bytes(file, TEXT_LIMIT)).get("_class_name")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{owner}: {file} cannot be read ({one_line(error)})") from error
    if found != kind:
        raise InputError(f"{owner}: expected a model of class {kind} in {file.parent}, got {found}")
