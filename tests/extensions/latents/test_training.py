"""The small VAE learns pictures; its latents are standardised; the same seed gives the same weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flowprior.data import TensorData
from flowprior.errors import TrainingDiverged
from flowprior.extensions.latents.training import VaeTraining, measure_reconstruction, train_vae
from tests.extensions.conftest import refused
from tests.extensions.latents.pictures import SHORT, pictures


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
