"""The convolutional VAE: shapes, rebuilt from its tensors, a start at the principal components of patches."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from flowprior.extensions.latents.network import ConvolutionalVae
from tests.extensions.latents.pictures import pictures


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


@pytest.mark.parametrize("latent", [3, 12])
def test_it_starts_as_the_principal_components_of_patches(latent: int) -> None:
    """Against singular values: the error of the best linear map of patches, about each channel's mean."""
    x = pictures().x
    network = ConvolutionalVae(3, latent, widths="8")
    network.start_from(x)
    mean, log_variance = network.encode(x)
    centred = x - x.mean((0, 2, 3))[:, None, None]
    rows = functional.unfold(centred, 2, stride=2).transpose(1, 2).flatten(0, 1)
    left = torch.linalg.svdvals(rows.double())[latent:].square().sum() / x.numel()
    error = (network.decode(mean) - x).double().square().mean()
    torch.testing.assert_close(error, left, atol=1e-6, rtol=1e-3)
    kept = mean.transpose(0, 1).flatten(1)
    torch.testing.assert_close(kept.square().mean(1), torch.ones(latent), atol=1e-3, rtol=0)
    assert log_variance.max() < -5


def test_more_latents_than_numbers_of_a_patch_start_at_zero() -> None:
    x = pictures(channels=1).x
    network = ConvolutionalVae(1, latent=6, widths="8")
    network.start_from(x)
    mean, _ = network.encode(x)
    assert mean[:, 4:].abs().max() == 0
    torch.testing.assert_close(network.decode(mean), x, atol=1e-4, rtol=0)
