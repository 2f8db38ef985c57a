"""What every latent encoder does: shapes, sides that are padded and cropped, identities, errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from flowprior.errors import CheckpointError, DataNotFoundError, InputError, OptionError
from flowprior.extensions.latents.training import measure_reconstruction
from flowprior.extensions.latents.vae import SHIPPED, IdentityEncoder, VaeEncoder
from flowprior.models import Encoder
from flowprior.storage.tensor_files import save_tensors
from tests.extensions.conftest import refused
from tests.extensions.latents.pictures import pictures, small_vae


def test_identity_gives_the_pictures_themselves() -> None:
    x = pictures().x
    encoder = IdentityEncoder()
    assert torch.equal(encoder.encode(x), x)
    assert torch.equal(encoder.decode(x, x.shape[1:]), x)
    assert encoder.latent_shape(x.shape[1:]) == x.shape[1:]
    found = measure_reconstruction(encoder, pictures())
    assert (found.psnr, found.mse, found.pictures) == (math.inf, 0.0, 40)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (1, 3)])
def test_sides_that_the_factor_does_not_divide_are_padded_and_cropped(
    vae: VaeEncoder, height: int, width: int
) -> None:
    shape = torch.Size([3, height, width])
    x = torch.rand(2, *shape)
    z = vae.encode(x)
    assert z.shape[1:] == vae.latent_shape(shape) == (2, math.ceil(height / 4), math.ceil(width / 4))
    assert vae.decode(z, shape).shape[1:] == shape
    assert vae.decode(z).shape[2:] == (4 * z.shape[2], 4 * z.shape[3])
    edges = functional.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
    assert torch.equal(vae.encode(edges), z)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8), (3, 0, 8)])
def test_other_events_are_refused(vae: VaeEncoder, shape: tuple[int, ...]) -> None:
    with refused(r"encoder 'vae': expected images \[3, height, width\], got", InputError):
        vae.encode(torch.zeros(2, *shape))
    with refused(r"expected latents \[B, 2, 2, 2\], got \[5, 2, 3, 2\]", InputError):
        vae.decode(torch.zeros(5, 2, 3, 2), torch.Size([3, 8, 8]))


def test_the_identity_is_that_of_the_weights(vae: VaeEncoder) -> None:
    assert vae.identity() == small_vae().identity()
    assert vae.identity() != small_vae(seed=1).identity()
    assert vae.identity().startswith("vae sha256 ")
    assert small_vae().double().identity() == vae.identity()


def test_weights_come_back_from_their_file_bit_for_bit(vae: VaeEncoder, tmp_path: Path) -> None:
    file = tmp_path / "vae.safetensors"
    with refused("no file", DataNotFoundError):
        Encoder.create("vae", weights=str(file))
    vae.save(file)
    loaded = Encoder.create("vae", weights=str(file))
    assert (loaded.spec, loaded.identity()) == (f"vae:weights={file}", vae.identity())
    assert torch.equal(loaded.encode(pictures().x), vae.encode(pictures().x))
    assert VaeEncoder.of_tensors(vae.state_dict()).identity() == vae.identity()
    file.write_bytes(file.read_bytes()[:-50])
    with refused("truncated or corrupted", CheckpointError):
        Encoder.create("vae", weights=str(file))


@pytest.mark.parametrize(
    "missing", ["shift", "scale", "network.posterior.weight", "network.down.0.conv.weight", ""]
)
def test_a_file_that_lacks_a_tensor_is_refused(vae: VaeEncoder, missing: str, tmp_path: Path) -> None:
    tensors = {name: value for name, value in vae.state_dict().items() if missing and name != missing}
    save_tensors(tmp_path / "vae.safetensors", tensors or {"a": torch.zeros(2)})
    with refused("expected the tensors of a convolutional VAE", InputError):
        Encoder.create("vae", weights=str(tmp_path / "vae.safetensors"))
    for name in ("vae.pt", "vae", "."):
        with refused(r"ends in \.safetensors", OptionError):
            VaeEncoder.check_file(name)


def test_the_weights_in_the_package_are_small_and_rebuild_emoji() -> None:
    assert SHIPPED.stat().st_size < 2_000_000
    encoder = Encoder.create("vae")
    assert encoder.spec == "vae"
    x = torch.ones(2, 3, 32, 32)
    x[:, :, 8:24, 8:24] = torch.tensor([0.9, 0.2, -0.8]).view(3, 1, 1)
    back = encoder.decode(encoder.encode(x), x.shape[1:])
    assert (back - x).square().mean() < 0.02
