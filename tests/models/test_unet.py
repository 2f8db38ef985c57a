"""U-Net: sizes, folding, memory format, and the network of the Fashion-MNIST benchmark."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from flowprior.conditions import Condition
from flowprior.errors import InputError
from flowprior.models import UNet
from flowprior.models.unet import SelfAttention


def off_zero(model: torch.nn.Module) -> torch.nn.Module:
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize(("height", "width", "patch"), [(1, 3, 1), (5, 8, 2), (12, 3, 3), (12, 8, 1)])
def test_sizes_that_nothing_divides_are_padded_and_cropped(height, width, patch):
    model = UNet(torch.Size([2, height, width]), Condition(), widths="8-16-16", patch=patch)
    x = torch.randn(2, 2, height, width)
    assert off_zero(model)(x, torch.rand(2)).shape == x.shape


def test_padding_does_not_leak_into_sizes_that_fit():
    """A padded picture and the same picture, padded by hand, agree inside."""
    model = off_zero(UNet(torch.Size([1, 6, 6]), Condition(), widths="8-16"))
    x, t = torch.randn(2, 1, 6, 6), torch.rand(2)
    by_hand = model(functional.pad(x, (0, 2, 0, 2)), t)[..., :6, :6]
    torch.testing.assert_close(model(x, t), by_hand)


def test_patch_folds_pixels_into_channels():
    model = UNet(torch.Size([3, 8, 8]), Condition(), widths="16", patch=4)
    assert model.input.in_channels == 3 * 16
    assert model.output.out_channels == 3 * 16
    assert len(model.encoders) == 0


def test_attention_is_at_the_lowest_resolution_only():
    model = UNet(torch.Size([1, 16, 16]), Condition(), widths="16-16-32", patch=1)
    seen = []
    [attention] = [module for module in model.modules() if isinstance(module, SelfAttention)]
    attention.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    model(torch.randn(2, 1, 16, 16), torch.rand(2))
    assert seen == [(2, 32, 4, 4)]


def test_attention_matches_the_formula():
    torch.manual_seed(0)
    layer = off_zero(SelfAttention(32, heads=2))
    x = torch.randn(3, 32, 2, 5)
    rows = layer.norm(x).flatten(2).transpose(1, 2)
    q, k, v = (part.view(3, 10, 2, 16).transpose(1, 2) for part in layer.qkv(rows).chunk(3, dim=2))
    mixed = ((q @ k.mT / 4).softmax(dim=-1) @ v).transpose(1, 2).reshape(3, 10, 32)
    expected = x + layer.projection(mixed).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_events_without_channels_are_refused():
    with pytest.raises(InputError, match=r"expected x \[B, C, H, W\], got \[2, 8, 8\]"):
        UNet(torch.Size([1, 8, 8]), Condition(), widths="16")(torch.randn(2, 8, 8), torch.rand(2))
