"""What the page asks for follows from the flow; what it shows is what ``flow.sample`` and the prior give."""

from __future__ import annotations

import copy

import pytest
import torch

from flowprior.errors import InputError
from flowprior.extensions.demo.answer import (
    PICTURES,
    POINTS,
    Field,
    Wanted,
    answer,
    condition_of,
    fields_of,
    stages,
)
from flowprior.flow import Flow
from flowprior.pictures.saving import figure_bytes
from tests.extensions.conftest import refused
from tests.words import WordEncoder

TEXT = "a sleepy red cat"


def test_the_result_is_what_the_flow_samples_with_that_seed(caption_flow: Flow) -> None:
    found = stages(caption_flow, TEXT, 3, seed=5, nfe=50, guidance=2.0, owner="demo")
    for place, options in ((-1, {"nfe": 50, "guidance": 2.0}), (0, {"nfe": 0})):
        generator = torch.Generator().manual_seed(5)
        expected = caption_flow.sample([TEXT] * 3, generator=generator, **options)
        torch.testing.assert_close(found.states[place], expected, rtol=0, atol=0)
    mean = caption_flow.prior.mean(WordEncoder().encode([TEXT]).pooled)
    torch.testing.assert_close(found.mean, mean)
    assert (found.nfe, found.states.shape) == (50, (6, 3, 3, 6, 6)), "a few are kept, with both ends"
    assert found.times == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1], abs=1e-6)


def test_the_states_on_the_way_follow_the_velocity(label_flow: Flow) -> None:
    """Euler's method by hand, from the same source samples."""
    labels = torch.tensor([1, 1])
    found = stages(label_flow, labels, 2, seed=0, nfe=3, sampler="euler", owner="demo")
    x = found.states[0]
    for step in range(3):
        with torch.no_grad():
            x = x + label_flow.velocity(x, torch.full((2,), step / 3), labels) / 3
        torch.testing.assert_close(found.states[step + 1], x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("flow", ["caption_flow", "label_flow", "point_flow"])
@pytest.mark.parametrize("nfe", [0, 1, 15])
def test_every_stage_is_a_picture(flow: str, nfe: int, request: pytest.FixtureRequest) -> None:
    own = request.getfixturevalue(flow)
    fields = fields_of(own)
    values = [TEXT if field.kind == "caption" else 1 for field in fields]
    found = answer(own, fields, values, Wanted(nfe=nfe, samples=POINTS if not fields else 4))
    assert set(found.figures) == set(PICTURES)
    assert all(figure_bytes(figure).startswith(b"\x89PNG") for figure in found.figures.values())
    assert found.spent.startswith(f"{nfe} evaluation")


def test_guidance_of_a_flow_that_cannot_be_guided_is_refused(label_flow: Flow) -> None:
    with refused("condition dropout"):
        answer(label_flow, fields_of(label_flow), [0], Wanted(guidance=2.0))


CLASS = Field("", "class", ("dark", "bright"))


@pytest.mark.parametrize(
    ("flow", "fields"),
    [("caption_flow", [Field("", "caption")]), ("label_flow", [CLASS]), ("point_flow", [])],
)
def test_a_flow_asks_for_its_condition(
    flow: str, fields: list[Field], request: pytest.FixtureRequest
) -> None:
    assert fields_of(request.getfixturevalue(flow)) == fields


def test_classes_without_names_have_numbers(label_flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(label_flow.metadata, "data")
    assert fields_of(label_flow)[0].choices == ("0", "1")


def test_values_of_fields_are_a_condition() -> None:
    caption, style = Field("caption", "caption"), Field("style", "class", ("noto", "twemoji"))
    assert [field.title for field in (caption, style, Field("", "caption"))] == [
        "Caption",
        "Style",
        "Caption",
    ]
    assert condition_of([Field("", "caption")], ["  a red cat \n"], 3) == "a red cat"
    assert condition_of([Field("", "caption")], [None], 3) == ""
    assert condition_of([CLASS], [1], 3).tolist() == [1, 1, 1]
    assert condition_of([], [], 3) is None
    found = condition_of([caption, style], ["a cat", 1], 2)
    assert (found["caption"], found["style"].tolist()) == ("a cat", [1, 1])
    with refused("at most 10,000 characters, got 10,001"):
        condition_of([caption], ["x" * 10_001], 2)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [(None, r"demo: .*does not say which encoder.*--encoder minilm"), (WordEncoder(9), "gives 9 numbers")],
)
def test_embeddings_without_their_encoder_say_how_to_name_one(
    caption_flow: Flow, encoder: WordEncoder | None, message: str
) -> None:
    flow = copy.deepcopy(caption_flow)
    flow.text_encoder = encoder
    with refused(message, InputError):
        fields_of(flow)
