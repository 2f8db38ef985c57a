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
