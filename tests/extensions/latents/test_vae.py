"""What every latent encoder does: shapes, sides that are padded and cropped, identities, errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from flowprior.errors import CheckpointError, DataNotFoundError, InputError, OptionError
from flowprior.extensions.latents.training import measure_reconstruction
from flowprior.extensions.latents.vae import SHIPPED, IdentityEncoder, VaeEncoder
from flowprior.models import Encoder
from flowprior.storage.tensor_files import save_tensors
from tests.extensions.latents.pictures import pictures, small_vae


@pytest.fixture(scope="module")
def vae() -> VaeEncoder:
    return small_vae()


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
    z = vae.encode(torch.rand(2, *shape))
    assert z.shape[1:] == vae.latent_shape(shape) == (2, math.ceil(height / 4), math.ceil(width / 4))
    assert vae.decode(z, shape).shape[1:] == shape
    assert vae.decode(z).shape[2:] == (4 * z.shape[2], 4 * z.shape[3])


def test_what_is_padded_is_the_edge(vae: VaeEncoder) -> None:
    x = torch.rand(1, 3, 8, 7)
    assert torch.equal(vae.encode(x), vae.encode(torch.cat([x, x[..., -1:]], dim=3)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8), (3, 0, 8)])
def test_other_events_are_refused(vae: VaeEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"encoder 'vae': expected images \[3, height, width\], got"):
        vae.encode(torch.zeros(2, *shape))


def test_other_latents_are_refused(vae: VaeEncoder) -> None:
    with pytest.raises(InputError, match=r"expected latents \[B, 2, 2, 2\], got \[5, 2, 3, 2\]"):
        vae.decode(torch.zeros(5, 2, 3, 2), torch.Size([3, 8, 8]))


def test_the_identity_is_that_of_the_weights(vae: VaeEncoder) -> None:
    assert vae.identity() == small_vae().identity()
    assert vae.identity() != small_vae(seed=1).identity()
    assert vae.identity().startswith("vae sha256 ")
    assert small_vae().double().identity() == vae.identity()


def test_weights_come_back_from_their_file_bit_for_bit(vae: VaeEncoder, tmp_path: Path) -> None:
    file = tmp_path / "vae.safetensors"
    vae.save(file)
    loaded = Encoder.create("vae", weights=str(file))
    assert loaded.identity() == vae.identity()
    assert torch.equal(loaded.encode(pictures().x), vae.encode(pictures().x))
    assert loaded.spec == f"vae:weights={file}"
    assert VaeEncoder.of_tensors(vae.state_dict()).identity() == vae.identity()


def test_files_that_are_no_weights_are_refused_in_one_line(vae: VaeEncoder, tmp_path: Path) -> None:
    file = tmp_path / "vae.safetensors"
    with pytest.raises(DataNotFoundError, match="no file"):
        Encoder.create("vae", weights=str(file))
    save_tensors(file, {"a": torch.zeros(2)})
    with pytest.raises(InputError, match="expected the tensors of a convolutional VAE"):
        Encoder.create("vae", weights=str(file))
    vae.save(file)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="truncated or corrupted"):
        Encoder.create("vae", weights=str(file))


@pytest.mark.parametrize(
    "missing", ["shift", "scale", "network.posterior.weight", "network.down.0.conv.weight"]
)
def test_weights_with_a_tensor_missing_are_refused(vae: VaeEncoder, missing: str) -> None:
    tensors = {name: value for name, value in vae.state_dict().items() if name != missing}
    with pytest.raises(InputError, match="expected the tensors of a convolutional VAE"):
        VaeEncoder.of_tensors(tensors)


@pytest.mark.parametrize("name", ["vae.pt", "vae", "."])
def test_weights_are_written_under_a_name_that_says_so(name: str) -> None:
    with pytest.raises(OptionError, match=r"ends in \.safetensors"):
        VaeEncoder.check_file(name)


def test_the_weights_in_the_package_are_small_and_rebuild_emoji() -> None:
    assert SHIPPED.stat().st_size < 2_000_000
    encoder = Encoder.create("vae")
    assert encoder.spec == "vae"
    x = torch.ones(2, 3, 32, 32)
    x[:, :, 8:24, 8:24] = torch.tensor([0.9, 0.2, -0.8]).view(3, 1, 1)
    back = encoder.decode(encoder.encode(x), x.shape[1:])
    assert (back - x).square().mean() < 0.02
