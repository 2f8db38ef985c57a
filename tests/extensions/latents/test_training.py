"""The small VAE learns pictures; its latents are standardised; the same seed gives the same weights."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import TensorData
from flowprior.errors import InputError, OptionError, TrainingDiverged
from flowprior.extensions.latents.training import VaeTraining, measure_reconstruction, train_vae
from tests.extensions.latents.pictures import SHORT, pictures


def test_training_brings_pictures_back_that_it_has_not_seen() -> None:
    unseen = pictures(seed=1)
    long = VaeTraining(latent=4, widths="8-16", steps=200, batch_size=16, lr=5e-3)
    before = measure_reconstruction(train_vae(pictures(), SHORT), unseen)
    after = measure_reconstruction(train_vae(pictures(200), long), unseen)
    assert after.psnr > before.psnr + 10
    variance = unseen.x.var().item()
    assert after.mse < 0.08 * variance, "most of the variance comes back from a twelfth of the numbers"


def test_latents_have_mean_0_and_variance_1_in_each_channel() -> None:
    encoder = train_vae(pictures(), SHORT)
    z = encoder.encode(pictures().x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=0.01, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(2), atol=0.01, rtol=0)


def test_a_seed_decides_the_weights_and_no_global_state_changes() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = train_vae(pictures(), SHORT).identity()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert train_vae(pictures(), SHORT).identity() == first


def test_sizes_that_four_does_not_divide_are_padded() -> None:
    data = pictures(size=7, channels=1)
    encoder = train_vae(data, SHORT)
    assert encoder.latent_shape(data.event_shape) == (2, 2, 2)
    assert encoder.decode(encoder.encode(data.x), data.event_shape).shape == data.x.shape


def test_half_precision_learns_as_well() -> None:
    errors = {}
    for precision in ("float32", "bfloat16"):
        training = VaeTraining(latent=2, widths="4-8", steps=40, batch_size=8, precision=precision)
        encoder = train_vae(pictures(), training)
        assert encoder.dtype == torch.float32
        errors[precision] = measure_reconstruction(encoder, pictures()).mse
    assert errors["bfloat16"] == pytest.approx(errors["float32"], rel=0.1)
    assert errors["bfloat16"] != errors["float32"]


def test_fewer_pictures_than_a_batch_will_do() -> None:
    assert train_vae(pictures(3), SHORT).latent_channels == 2


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
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        train_vae(pictures(), VaeTraining(**options))


def test_data_that_are_no_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="expected images, 'points' has events"):
        train_vae(TensorData(torch.zeros(5, 2), name="points"), SHORT)


def test_a_loss_that_is_not_finite_stops() -> None:
    data = pictures()
    data.x[:] = float("nan")
    with pytest.raises(TrainingDiverged, match=r"squared error of a number in \[-1, 1\] is nan; lower lr=0"):
        train_vae(data, SHORT)


def test_a_loss_beyond_what_pictures_can_differ_stops() -> None:
    with pytest.raises(TrainingDiverged, match=r"to step 100 the squared error .* lower lr=30"):
        train_vae(pictures(), VaeTraining(widths="4-4", steps=100, lr=30.0))


def test_more_halvings_than_the_pictures_have_are_refused_at_once() -> None:
    data = TensorData(torch.zeros(4, 3, 32, 16), name="small", is_image=True)
    with pytest.raises(InputError, match=r"widths=4-4-4-4-4 need sides of 32 pixels or more, 'small' has"):
        train_vae(data, VaeTraining(widths="4-4-4-4-4", steps=1))
    train_vae(data, VaeTraining(widths="4-4-4-4", steps=1))
