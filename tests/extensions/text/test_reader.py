"""Sampling from captions: the encoder that a flow remembers, its checks, negative captions, parts."""

from __future__ import annotations

import copy
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition, Parts, TokenStates
from flowprior.conditions.rows import as_value
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import FlowpriorError
from flowprior.flow import Flow
from flowprior.flow.readers import TEXT_ENCODER
from flowprior.models import Encoder
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.training import train
from tests.extensions.conftest import refused
from tests.words import WordEncoder

SIZE = WordEncoder().size


class Net(nn.Module):
    """v = A x + B c + t."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.c = nn.Linear(2, 2), nn.Linear(SIZE, 2)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.x(x) + self.c(cond) + t[:, None]


@pytest.fixture
def flow(generator: torch.Generator) -> Flow:
    x, cond = torch.randn(64, 2, generator=generator), torch.rand(64, SIZE, generator=generator)
    prior = Prior.create("gaussian").fit((x, cond))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Flow(
            Net(), prior, Coupling.create("condot"), Path.create("condot"), Condition("embeddings", SIZE)
        )


def drawn(flow: Flow, cond: Any, n: int | None = None, **options: Any) -> Tensor:
    return flow.sample(cond, n, nfe=3, generator=torch.Generator().manual_seed(1), **options)


def test_captions_stand_for_their_embeddings(flow: Flow) -> None:
    flow.text_encoder = WordEncoder()
    captions = ["a cat", "a dog", "a cat"]
    pooled = WordEncoder().encode(captions).pooled
    assert torch.equal(drawn(flow, captions), drawn(flow, pooled))
    assert torch.equal(drawn(flow, "a cat", 2), drawn(flow, pooled[[0, 0]]))
    assert drawn(copy.deepcopy(flow), "a cat").shape == (1, 2), "a copy has the encoder, too"
    x = torch.zeros(3, 2)
    assert torch.equal(flow.log_prob(x, captions), flow.log_prob(x, pooled))


def test_a_list_of_captions_and_n_have_to_agree(flow: Flow) -> None:
    flow.text_encoder = WordEncoder()
    with refused("expected one condition for each of 3 samples, got 2"):
        flow.sample(["a", "b"], 3)


AWAY = {"spec": "hugging-face:path=/no/where", "identity": WordEncoder().identity()}
OTHER = "trained on embeddings of 'words of 9 numbers', got encoder 'words of 6"


@pytest.mark.parametrize(
    ("encoder", "stored", "message"),
    [
        (None, None, r'flow\.sample: got texts, .* flow\.text_encoder = "minilm"'),
        (None, "words", "got texts, .* does not say which encoder"),
        (None, {"spec": 3}, "got texts, .* does not say which encoder"),
        (None, {"identity": "x"}, "got texts, .* does not say which encoder"),
        (None, AWAY, "that this flow remembers cannot be had: .*no /no/where.*--encoder"),
        (WordEncoder(7), None, r"encoder 'WordEncoder' gives 7 numbers, .*embeddings \[B, 6\]"),
        (WordEncoder(), {"spec": "no-such", "identity": "words of 9 numbers"}, OTHER),
    ],
)
def test_a_flow_whose_encoder_is_none_or_another_takes_no_captions(
    flow: Flow, encoder: WordEncoder | None, stored: Any, message: str
) -> None:
    if stored is not None:
        flow.metadata[TEXT_ENCODER] = stored
    if encoder is not None:
        flow.text_encoder = encoder
    with refused(message):
        flow.sample(["a cat"])
    if stored == AWAY:
        flow.text_encoder = WordEncoder()
        assert drawn(flow, ["a cat"]).isfinite().all(), "it can be named where it is"


class Latents(Encoder):
    """No texts."""

    def identity(self) -> str:
        return "latents"


@pytest.mark.parametrize("wrong", ["no-such-encoder", 5, "hugging-face:path=/no/where", Latents()])
def test_what_is_no_text_encoder_is_refused_at_once(flow: Flow, wrong: Any) -> None:
    with refused("encoder"):
        flow.text_encoder = wrong
    assert flow.text_encoder is None


def test_guidance_leads_away_from_a_negative_caption(flow: Flow, generator: torch.Generator) -> None:
    flow.text_encoder = encoder = WordEncoder()
    cond, negative = encoder.encode(["a cat", "a dog"]).pooled.split(1)
    x, t = torch.randn(1, 2, generator=generator), torch.tensor([0.3])
    wanted, unwanted = flow.velocity(x, t, cond), flow.velocity(x, t, negative)
    expected = unwanted + 2.5 * (wanted - unwanted)
    torch.testing.assert_close(flow.velocity(x, t, cond, 2.5, negative), expected)
    with_null = drawn(flow, ["a cat"] * 4, guidance=2.5)
    by_caption = drawn(flow, ["a cat"] * 4, guidance=2.5, negative="a dog")
    assert torch.equal(by_caption, drawn(flow, ["a cat"] * 4, guidance=2.5, negative=negative))
    assert not torch.allclose(by_caption, with_null)
    assert torch.equal(by_caption, drawn(flow, ["a cat"] * 4, guidance=2.5, negative="a dog", batch_size=3))
    zeros = torch.zeros(1, SIZE)
    torch.testing.assert_close(drawn(flow, ["a cat"] * 4, guidance=2.5, negative=zeros), with_null)


def test_a_negative_caption_needs_guidance_and_no_dropout(flow: Flow) -> None:
    flow.text_encoder = WordEncoder()
    flow.metadata["config"] = {"training": {"condition_dropout": 0.0}}
    for guidance, negative, message in (
        (1, "a dog", "does nothing at guidance=1; choose guidance=2"),
        (2, None, "never saw the null"),
        (2, " \n", "never saw the null"),
        (2, torch.zeros(2, SIZE), "expected one negative condition, got 2"),
    ):
        with refused(message):
            flow.sample(["a cat"], guidance=guidance, negative=negative)
    assert drawn(flow, ["a cat"], guidance=2, negative="a dog").isfinite().all()


# -- from the data to the file and back ----------------------------------------------------------


def captioned(generator: torch.Generator, encoder: str | None = "words") -> TensorData:
    """Points with captions, by the encoder of this name."""
    captions = ["a cat", "a dog", "", "a red dog"] * 8
    data = TensorData(torch.randn(32, 2, generator=generator), WordEncoder().encode(captions).pooled)
    data.text_encoder = encoder
    return data


def trained(data: TensorData, out: FilePath | None = None, **options: Any) -> Flow:
    """A few steps."""
    short: dict[str, Any] = {"steps": 3, "batch_size": 8, "warmup": 1, "device": "cpu", "sample_every": 0}
    parts = {"prior": "gaussian", "coupling": "condot", "model": "mlp:width=8"}
    return train(data, out=out, **parts, **short, **options)


def test_a_flow_remembers_the_encoder_of_its_data(
    words: type[WordEncoder], generator: torch.Generator, tmp_path: FilePath
) -> None:
    data = captioned(generator)
    data.text_encoder_identity = WordEncoder().identity()
    flow = trained(data, tmp_path / "run")
    assert flow.metadata[TEXT_ENCODER] == {"spec": "words", "identity": "words of 6 numbers"}
    expected = drawn(flow, ["a cat"], guidance=2)
    assert torch.equal(drawn(Flow.load(tmp_path / "run"), ["a cat"], guidance=2), expected)


def test_what_is_named_afterwards_is_saved_with_the_flow(
    words: type[WordEncoder], generator: torch.Generator, tmp_path: FilePath
) -> None:
    flow = trained(captioned(generator, encoder=None))
    flow.text_encoder = "words"
    flow.save(tmp_path / "flow")
    assert torch.equal(drawn(Flow.load(tmp_path / "flow"), ["a cat"]), drawn(flow, ["a cat"]))


def test_captions_are_dropped_in_training_by_default_and_the_share_is_recorded(
    words: type[WordEncoder], generator: torch.Generator, tmp_path: FilePath
) -> None:
    for encoder, options, share in (
        (None, {}, 0),
        ("words", {}, 0.1),
        ("words", {"condition_dropout": 0.25}, 0.25),
    ):
        config = trained(captioned(generator, encoder), **options).metadata["config"]
        assert config["training"]["condition_dropout"] == share
    trained(captioned(generator), tmp_path / "run")
    assert "condition_dropout = 0.1" in (tmp_path / "run" / "config.toml").read_text()
    with pytest.raises(FlowpriorError, match=r"condition_dropout 0\.1 -> 0\.0"):
        trained(captioned(generator, encoder=None), tmp_path / "run", resume=True)


# -- token states and parts -----------------------------------------------------------------------


TOKENS = Condition("tokens", SIZE)
TEXTS = (("caption", Condition("embeddings", SIZE)), ("words", TOKENS))
STYLED = Condition("parts", parts=(*TEXTS, ("style", Condition("labels", 4))))
PLAIN = Condition("parts", parts=TEXTS)


class SumOfParts(nn.Module):
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


def flow_reading(condition: Condition) -> Flow:
    prior = Prior.create("gaussian").fit(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))
    flow = Flow(SumOfParts(), prior, Coupling.create("condot"), Path.create("condot"), condition)
    flow.text_encoder = WordEncoder()
    return flow


def test_texts_stand_for_their_token_states() -> None:
    flow, captions = flow_reading(TOKENS), ["a cat", "dogs", "a very sleepy cat"]
    encoding = WordEncoder().encode(captions)
    expected = drawn(flow, TokenStates(encoding.tokens, encoding.mask))
    torch.testing.assert_close(drawn(flow, captions), expected)
    torch.testing.assert_close(drawn(flow, captions, batch_size=1), expected)
    assert drawn(flow, "a cat", 3).shape == (3, 2)


def test_the_empty_text_is_the_null_condition_of_each_part_of_texts() -> None:
    for condition in (TOKENS, PLAIN):
        flow = flow_reading(condition)
        null = condition.null(as_value(flow.words.read(["a cat on a mat"] * 2, None, "test")))
        torch.testing.assert_close(drawn(flow, ["", " "]), drawn(flow, null))
        beside = drawn(flow, ["", "a cat"], guidance=0)
        torch.testing.assert_close(drawn(flow, ["", ""])[0], beside[0])


def test_texts_alone_or_by_the_name_of_their_part() -> None:
    captions, style = ["a cat", "dogs"], torch.tensor([3, 1])
    encoding = WordEncoder().encode(captions)
    texts = {"caption": encoding.pooled, "words": TokenStates(encoding.tokens, encoding.mask)}
    torch.testing.assert_close(drawn(flow_reading(PLAIN), captions), drawn(flow_reading(PLAIN), texts))
    flow, expected = flow_reading(STYLED), drawn(flow_reading(STYLED), texts | {"style": style})
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
        flow_reading(STYLED).sample(cond)


def test_a_negative_caption_leaves_the_other_parts_as_they_are() -> None:
    flow, style = flow_reading(STYLED), torch.tensor([3, 1])
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
