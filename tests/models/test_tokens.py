"""Cross-attention to token states, against the formula; where the U-Net attends."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.errors import InputError, OptionError
from flowprior.models import build_model
from flowprior.models.tokens import CrossAttention, TokenContext

TOKENS = Condition("tokens", 6)
TWO = Condition("parts", parts=(("long", Condition("tokens", 5)), ("short", TOKENS)))


def tokens(count: int, length: int, size: int) -> TokenStates:
    generator = torch.Generator().manual_seed(length)
    mask = torch.arange(length) < (torch.arange(count) % length + 1)[:, None]
    return TokenStates(torch.randn(count, length, size, generator=generator), mask)


def test_attention_matches_the_formula():
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
    assert TOKENS.token_widths == {"": 6}
    assert TWO.token_widths == {"long": 5, "short": 6}
    assert Condition("labels", 3).token_widths == {}


def test_the_unet_attends_at_the_two_lowest_resolutions():
    network = build_model("unet:widths=8-8-16,patch=1", torch.Size([1, 8, 8]), TOKENS)
    places = [name for name, module in network.named_modules() if isinstance(module, CrossAttention)]
    assert len(places) == 3
    assert not any(name.startswith(("encoders.0", "decoders.1")) for name in places)


def test_heads_that_do_not_divide_an_attending_width_are_refused():
    with pytest.raises(OptionError, match="heads=3 does not divide the width 8, where positions attend"):
        build_model("unet:widths=8-12,heads=3", torch.Size([1, 8, 8]), TOKENS)
    build_model("unet:widths=8-12,heads=3", torch.Size([1, 8, 8]), Condition())
