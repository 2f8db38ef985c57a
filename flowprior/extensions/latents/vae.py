"""The encoders ``vae``, a small convolutional autoencoder from a file or the package, and ``identity``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.extensions.latents.network import ConvolutionalVae
from flowprior.models import Encoder, LatentEncoder
from flowprior.storage.tensor_files import SizedBy, load_tensors, part_of, save_tensors, sizes_of
from flowprior.storage.user_paths import existing_file
from flowprior.storage.writing import check_place

SHIPPED = Path(__file__).parent / "weights" / "vae-emoji-32.safetensors"
"""The weights in the package, for emoji of 32 pixels."""
SUFFIX = ".safetensors"


@Encoder.register("identity")
class IdentityEncoder(LatentEncoder):
    """The identity encoder: the latents are the pixels."""

    def _encode(self, x: Tensor) -> Tensor:
        return x

    def _decode(self, z: Tensor) -> Tensor:
        return z


class VaeEncoder(LatentEncoder):
    """A trained convolutional autoencoder: z = (posterior mean − shift) / scale.

    Args:
        network: trained.
        shift: mean of the latents of the data that it was trained on, by channel ``[c]``.
        scale: their standard deviation ``[c]``.
    """

    travels = True
    shift: Tensor
    scale: Tensor

    def __init__(self, network: ConvolutionalVae, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self.channels, self.latent_channels, self.factor = network.channels, network.latent, network.factor
        self.fix()

    @property
    def kind(self) -> str:
        return "vae"

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> VaeEncoder:
        return VaeEncoder(*_parts(tensors))

    def save(self, path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
        """Write the weights in half precision; ``vae:weights=PATH`` reads them again.

        Raises:
            CheckpointError: the file cannot be written.
        """
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        save_tensors(path, tensors, {**(metadata or {}), "encoder": self.kind})

    @staticmethod
    def check_file(path: Path | str) -> None:
        """Refuse a file name under which the weights could not be read again, before training.

        Raises:
            OptionError: it does not end in .safetensors, or is that of a folder.
            CheckpointError: its folder cannot be written into.
        """
        check_place(path)
        if Path(path).suffix != SUFFIX or Path(path).is_dir():
            raise OptionError(
                f"encoder 'vae': cannot write '{path}'; choose the name of a file that ends in {SUFFIX}"
            )

    def _encode(self, x: Tensor) -> Tensor:
        mean, _ = self.network.encode(x)
        return (mean - self.shift[:, None, None]) / self.scale[:, None, None]

    def _decode(self, z: Tensor) -> Tensor:
        return self.network.decode(z * self.scale[:, None, None] + self.shift[:, None, None])


@Encoder.register("vae")
class StoredVaeEncoder(VaeEncoder):
    """A small convolutional VAE; by default the one for emoji of 32 pixels in the package.

    Args:
        weights: file that ``flowprior train-encoder`` wrote; None takes the one that comes with flowprior.

    Raises:
        DataNotFoundError: no such file.
        CheckpointError: it is damaged.
        InputError: it holds something else.
    """

    def __init__(self, weights: str | None = None) -> None:
        owner = "encoder 'vae'"
        file = SHIPPED if weights is None else existing_file(weights, owner, "file of weights")
        try:
            parts = _parts(load_tensors(file)[0])
        except InputError as error:
            raise InputError(f"{file}: {error}; pass a file that flowprior train-encoder wrote") from error
        super().__init__(*parts)
        self.weights = weights


def _parts(tensors: Mapping[str, Tensor]) -> tuple[ConvolutionalVae, Tensor, Tensor]:
    """Return the network, shift and scale of a ``state_dict``.

    Raises:
        InputError: tensors of something else.
    """
    try:
        own = part_of(tensors, "network")
        with SizedBy(sizes_of(own), "encoder 'vae'"):
            network = ConvolutionalVae.of_tensors(own)
        shift, scale = tensors["shift"].float(), tensors["scale"].float()
        if shift.shape != (network.latent,) or scale.shape != shift.shape or not bool((scale > 0).all()):
            raise ValueError(f"a shift and a scale for each of {network.latent} channels")
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise InputError("expected the tensors of a convolutional VAE, got others") from error
    return network, shift, scale
