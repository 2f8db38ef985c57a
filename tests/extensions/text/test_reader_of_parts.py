"""Captions where a condition is token states, or has several parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.rows import as_value
from flowprior.couplings import Coupling
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior
from tests.extensions.conftest import refused
from tests.words import WordEncoder

SIZE = WordEncoder().size
TOKENS = Condition("tokens", SIZE)
TEXTS = (("caption", Condition("embeddings", SIZE)), ("words", TOKENS))
STYLED = Condition("parts", parts=(*TEXTS, ("style", Condition("labels", 4))))
PLAIN = Condition("parts", parts=TEXTS)


class Net(nn.Module):
    """v = −x + a constant of the condition; padding would show in the number of places."""

    def forward(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        total = torch.zeros(len(x), 1)
        for name in cond.names if isinstance(cond, Parts) else [""]:
            part: Any = cond[name] if name else cond
            if isinstance(part, TokenStates):
                total = total + (part.states.sum(2) * part.mask).sum(1, keepdim=True)
            else:
                total = total + part.reshape(len(x), -1).float().sum(1, keepdim=True) * len(name)
        return total - x


def flow_of(condition: Condition) -> Flow:
    prior = Prior.create("gaussian").fit(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))
    flow = Flow(Net(), prior, Coupling.create("condot"), Path.create("condot"), condition)
    flow.text_encoder = WordEncoder()
    return flow


def drawn(flow: Flow, cond: Any, n: int | None = None, **options: Any) -> Tensor:
    return flow.sample(cond, n, nfe=3, generator=torch.Generator().manual_seed(1), **options)


def test_texts_stand_for_their_token_states() -> None:
    flow, captions = flow_of(TOKENS), ["a cat", "dogs", "a very sleepy cat"]
    encoding = WordEncoder().encode(captions)
    expected = drawn(flow, TokenStates(encoding.tokens, encoding.mask))
    torch.testing.assert_close(drawn(flow, captions), expected)
    torch.testing.assert_close(drawn(flow, captions, batch_size=1), expected)
    assert drawn(flow, "a cat", 3).shape == (3, 2)


def test_the_empty_text_is_the_null_condition_of_each_part_of_texts() -> None:
    for condition in (TOKENS, PLAIN):
        flow = flow_of(condition)
        null = condition.null(as_value(flow.words.read(["a cat on a mat"] * 2, None, "test")))
        torch.testing.assert_close(drawn(flow, ["", " "]), drawn(flow, null))
        beside = drawn(flow, ["", "a cat"], guidance=0)
        torch.testing.assert_close(drawn(flow, ["", ""])[0], beside[0])


def test_texts_alone_or_by_the_name_of_their_part() -> None:
    captions, style = ["a cat", "dogs"], torch.tensor([3, 1])
    encoding = WordEncoder().encode(captions)
    texts = {"caption": encoding.pooled, "words": TokenStates(encoding.tokens, encoding.mask)}
    torch.testing.assert_close(drawn(flow_of(PLAIN), captions), drawn(flow_of(PLAIN), texts))
    flow, expected = flow_of(STYLED), drawn(flow_of(STYLED), texts | {"style": style})
    named = {"caption": captions, "words": captions, "style": style}
    torch.testing.assert_close(drawn(flow, named), expected)
    one = {"caption": "dogs", "words": "dogs", "style": style}
    torch.testing.assert_close(drawn(flow, one)[1], expected[1])


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (["a cat"], r"got texts alone, but 'style' is none; pass \{\"caption\": …, "),
        ({"caption": ["a"], "words": ["a"], "style": ["b"]}, r"expected int64 labels \[B\] in .*, got 'b'"),
        ({"colour": ["a"]}, "no part 'colour'"),
    ],
)
def test_a_part_of_labels_has_to_be_named(cond: Any, message: str) -> None:
    with refused(message):
        flow_of(STYLED).sample(cond)


def test_a_negative_caption_leaves_the_other_parts_as_they_are() -> None:
    flow, style = flow_of(STYLED), torch.tensor([3, 1])
    wanted, unwanted = (
        flow.words.read({"caption": text, "words": text, "style": style}, None, "test")
        for text in ("a cat", "very long")
    )
    x, t = torch.zeros(2, 2), torch.full((2,), 0.5)
    away = flow.words.negative("very long", "test")
    assert sorted(away) == ["caption", "words"]
    without = flow.velocity(x, t, Parts(unwanted))
    expected = without + 2 * (flow.velocity(x, t, Parts(wanted)) - without)
    torch.testing.assert_close(flow.velocity(x, t, Parts(wanted), 2.0, Parts(away)), expected)
    guided = drawn(flow, wanted, guidance=2, negative="very long")
    torch.testing.assert_close(drawn(flow, wanted, guidance=2, negative="very long", batch_size=1), guided)
    named = {"caption": "very long", "words": "very long"}
    torch.testing.assert_close(drawn(flow, wanted, guidance=2, negative=named), guided)
    assert not torch.allclose(drawn(flow, wanted, guidance=2, negative={"style": torch.tensor([0])}), guided)
