"""The U-Net and the transformer: shapes, attention by its formula, what reads token states."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.errors import InputError, OptionError
from flowprior.models import DiT, UNet, build_model
from flowprior.models.dit import grid_positions
from flowprior.models.tokens import CrossAttention, TokenContext
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


# -- the transformer ------------------------------------------------------------------------------


TOKENS = Condition("tokens", 6)


def small(event: tuple[int, ...] = (2, 6, 5), condition: Condition | None = None, **options) -> DiT:
    sizes = {"patch": 2, "width": 16, "depth": 2, "heads": 2}
    return DiT(torch.Size(event), condition or Condition(), **{**sizes, **options})


def test_patches_are_put_back_where_they_were_taken():
    model = small()
    x = torch.randn(3, 2, 6, 5)
    rows = model._rows(x)
    assert rows.shape == (3, 3 * 3, 2 * 4), "5 columns take three patches of 2"
    assert torch.equal(model._events(rows), x)


def test_a_block_starts_as_the_identity():
    model = small(condition=TOKENS)
    tokens = TokenStates(torch.randn(3, 4, 6), torch.ones(3, 4, dtype=torch.bool))
    rows = torch.randn(3, 9, 16)
    for block in model.blocks:
        assert torch.equal(block(rows, torch.randn(3, 16), model.context(tokens)), rows)


def test_positions_tell_rows_and_columns_apart():
    positions = grid_positions(3, 4, 16)
    assert positions.shape == (12, 16)
    assert positions.unique(dim=0).shape[0] == 12
    grid = positions.view(3, 4, 2, 8)
    assert torch.equal(grid[:, 0, 0], grid[:, 3, 0]), "the first half is the row's"
    assert torch.equal(grid[0, :, 1], grid[2, :, 1]), "the second the column's"
    assert torch.allclose(positions.square().sum(1), torch.full((12,), 8.0))
    assert "positions" not in small().state_dict()


def test_moved_patches_are_seen_where_they_are():
    model = small((1, 8, 8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    x, t = torch.randn(2, 1, 8, 8), torch.zeros(2)
    rolled = model(x.roll(2, 3), t).roll(-2, 3)
    assert not torch.allclose(rolled, model(x, t), atol=1e-3)


def test_another_size_is_refused():
    model = build_model("dit:width=16,heads=2,depth=1", torch.Size([1, 8, 8]), Condition())
    with pytest.raises(InputError, match=r"dit: expected x \[B, C, 8, 8\], got \[2, 1, 8, 9\]"):
        model(torch.zeros(2, 1, 8, 9), torch.zeros(2))


# -- token states ---------------------------------------------------------------------------------


OF_SIX = Condition("tokens", 6)
TWO = Condition("parts", parts=(("long", Condition("tokens", 5)), ("short", OF_SIX)))


def tokens(count: int, length: int, size: int) -> TokenStates:
    generator = torch.Generator().manual_seed(length)
    mask = torch.arange(length) < (torch.arange(count) % length + 1)[:, None]
    return TokenStates(torch.randn(count, length, size, generator=generator), mask)


def test_attention_to_tokens_matches_the_formula():
    attention = CrossAttention(width=8, context=6, heads=2)
    torch.nn.init.normal_(attention.projection.weight)
    rows, told = torch.randn(3, 5, 8), tokens(3, 4, 6)
    query = attention.query(rows).view(3, 5, 2, 4)
    key, value = attention.key_value(told.states).view(3, 4, 2, 2, 4).unbind(2)
    logits = torch.einsum("bqhd,bkhd->bhqk", query, key) / 2
    share = logits.masked_fill(~told.mask[:, None, None], -torch.inf).softmax(-1)
    expected = attention.projection(torch.einsum("bhqk,bkhd->bqhd", share, value).reshape(3, 5, 8))
    torch.testing.assert_close(attention(rows, told), expected)


def test_the_tokens_of_several_parts_are_one_sequence():
    context = TokenContext(TWO, 8)
    cond = Parts({"short": tokens(3, 2, 6), "long": tokens(3, 4, 5)})
    told = context(cond)
    assert told.states.shape == (3, 6, 8)
    assert torch.equal(told.mask, torch.cat([cond["long"].mask, cond["short"].mask], 1))
    with pytest.raises(InputError, match="expected parts long: token states"):
        context(Parts({"short": torch.zeros(3, 6), "long": torch.zeros(3, 5)}))


def test_the_widths_of_token_states_are_found_by_the_name_of_the_part():
    assert OF_SIX.token_widths == {"": 6}
    assert TWO.token_widths == {"long": 5, "short": 6}
    assert Condition("labels", 3).token_widths == {}


def test_the_unet_attends_at_the_two_lowest_resolutions():
    network = build_model("unet:widths=8-8-16,patch=1", torch.Size([1, 8, 8]), OF_SIX)
    places = [name for name, module in network.named_modules() if isinstance(module, CrossAttention)]
    assert len(places) == 3
    assert not any(name.startswith(("encoders.0", "decoders.1")) for name in places)


def test_heads_that_do_not_divide_an_attending_width_are_refused():
    with pytest.raises(OptionError, match="heads=3 does not divide the width 8, where positions attend"):
        build_model("unet:widths=8-12,heads=3", torch.Size([1, 8, 8]), OF_SIX)
    build_model("unet:widths=8-12,heads=3", torch.Size([1, 8, 8]), Condition())
