"""The VAE: its network, its training, and what every latent encoder does: shapes, identities, errors."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from flowprior.data import TensorData
from flowprior.errors import CheckpointError, DataNotFoundError, InputError, OptionError, TrainingDiverged
from flowprior.extensions.latents.network import ConvolutionalVae
from flowprior.extensions.latents.training import VaeTraining, measure_reconstruction, train_vae
from flowprior.extensions.latents.vae import SHIPPED, VaeEncoder
from flowprior.models import Encoder
from flowprior.storage.tensor_files import save_tensors
from tests.extensions.conftest import refused
from tests.extensions.latents.pictures import SHORT, pictures, small_vae


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
    assert (encoder.decode(encoder.encode(x), x.shape[1:]) - x).square().mean() < 0.02


# -- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("widths", "factor"), [("8", 2), ("4-8", 4), ((4, 4, 8), 8)])
def test_each_width_halves_the_sides(widths: str | tuple[int, ...], factor: int) -> None:
    network = ConvolutionalVae(3, latent=5, widths=widths)
    assert network.factor == factor
    mean, log_variance = network.encode(torch.randn(2, 3, 16, 24))
    assert mean.shape == log_variance.shape == (2, 5, 16 // factor, 24 // factor)
    assert network.decode(mean).shape == (2, 3, 16, 24)


@pytest.mark.parametrize("options", [{}, {"latent": 7, "widths": "4-8-8", "blocks": 2}, {"widths": 6}])
def test_it_is_rebuilt_from_its_tensors_alone(options: dict) -> None:
    network = ConvolutionalVae(2, **options)
    again = ConvolutionalVae.of_tensors({name: value.half() for name, value in network.state_dict().items()})
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name


@pytest.mark.parametrize(("latent", "channels"), [(3, 3), (12, 3), (6, 1)])
def test_it_starts_as_the_principal_components_of_patches(latent: int, channels: int) -> None:
    """Against singular values: the error of the best linear map of patches, about each channel's mean."""
    x = pictures(channels=channels).x
    network = ConvolutionalVae(channels, latent, widths="8")
    network.start_from(x)
    mean, log_variance = network.encode(x)
    centred = x - x.mean((0, 2, 3))[:, None, None]
    rows = functional.unfold(centred, 2, stride=2).transpose(1, 2).flatten(0, 1)
    left = torch.linalg.svdvals(rows.double())[latent:].square().sum() / x.numel()
    error = (network.decode(mean) - x).double().square().mean()
    torch.testing.assert_close(error, left, atol=1e-6, rtol=1e-3)
    variances = torch.where(torch.arange(latent) < 4 * channels, 1.0, 0.0)  # more than a patch has start at 0
    torch.testing.assert_close(mean.square().mean((0, 2, 3)), variances, atol=1e-3, rtol=0)
    assert log_variance.max() < -5


# -- its training ---------------------------------------------------------------------------------


def test_training_brings_pictures_back_that_it_has_not_seen() -> None:
    unseen = pictures(seed=1)
    long = VaeTraining(latent=4, widths="8-16", steps=150, batch_size=16, lr=5e-3)
    before = measure_reconstruction(train_vae(pictures(), SHORT), unseen)
    after = measure_reconstruction(train_vae(pictures(200), long), unseen)
    assert after.psnr > before.psnr + 10
    variance = unseen.x.var().item()
    assert after.mse < 0.08 * variance, "most of the variance comes back from a twelfth of the numbers"


@pytest.mark.parametrize("data", [pictures(), pictures(3, size=7, channels=1)], ids=["many", "few, padded"])
def test_latents_have_mean_0_and_variance_1_in_each_channel(data: TensorData) -> None:
    """Also of fewer pictures than a batch, and of sides that four does not divide."""
    encoder = train_vae(data, SHORT)
    z = encoder.encode(data.x)
    assert encoder.latent_shape(data.event_shape) == z.shape[1:] == (2, 2, 2)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=0.01, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(2), atol=0.01, rtol=0)


def test_a_seed_decides_the_weights_and_no_global_state_changes() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = train_vae(pictures(), SHORT).identity()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert train_vae(pictures(), SHORT).identity() == first


def test_half_precision_learns_as_well() -> None:
    encoders = [
        train_vae(pictures(), dataclasses.replace(SHORT, steps=40, precision=precision))
        for precision in ("float32", "bfloat16")
    ]
    assert all(encoder.dtype == torch.float32 for encoder in encoders)
    exact, rounded = (measure_reconstruction(encoder, pictures()).mse for encoder in encoders)
    assert rounded == pytest.approx(exact, rel=0.1)
    assert rounded != exact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 is not possible"),
        ({"precision": "float8"}, "precision='float8' is not possible"),
        ({"latent": 0}, "latent=0 is not possible"),
        ({"blocks": 0}, "blocks=0 is not possible"),
        ({"widths": "8-x"}, "widths='8-x' is not possible"),
        ({"lr": 0.0}, "expected lr to be a number"),
        ({"kl": -1.0}, "expected kl to be a number"),
        ({"widths": "4-4", "steps": 100, "lr": 30.0}, r"to step 100 the squared error .* lower lr=30"),
        ({"widths": "4-4-4-4-4"}, r"widths=4-4-4-4-4 need sides of 32 pixels or more, 'pictures' has"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with refused(message):
        train_vae(pictures(size=16), VaeTraining(**options))


def test_data_that_cannot_be_learned_are_refused() -> None:
    with refused("expected images, 'points' has events"):
        train_vae(TensorData(torch.zeros(5, 2), name="points"), SHORT)
    nowhere = TensorData(torch.full((9, 3, 8, 8), torch.nan), is_image=True)
    with refused(r"squared error of a number in \[-1, 1\] is nan; lower lr=0", TrainingDiverged):
        train_vae(nowhere, SHORT)
