"""What the page asks for follows from the condition of the flow."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import FlowpriorError, InputError
from flowprior.extensions.demo.fields import Field, condition_of, fields_of
from flowprior.flow import Flow
from tests.words import WordEncoder


def test_a_flow_of_captions_asks_for_a_caption(caption_flow: Flow) -> None:
    (field,) = fields_of(caption_flow)
    assert (field.kind, field.title) == ("caption", "Caption")
    assert condition_of([field], ["  a red cat \n"], 3) == "a red cat"
    assert condition_of([field], [None], 3) == ""


def test_a_flow_of_labels_asks_for_one_of_its_classes_by_name(label_flow: Flow) -> None:
    (field,) = fields_of(label_flow)
    assert field == Field("", "class", ("dark", "bright"))
    assert condition_of([field], [1], 3).tolist() == [1, 1, 1]


def test_classes_without_names_have_numbers(label_flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(label_flow.metadata, "data")
    assert fields_of(label_flow)[0].choices == ("0", "1")


def test_a_flow_without_a_condition_asks_for_nothing(point_flow: Flow) -> None:
    assert fields_of(point_flow) == []
    assert condition_of([], [], 3) is None


def test_parts_have_a_field_each() -> None:
    fields = [Field("caption", "caption"), Field("style", "class", ("noto", "twemoji"))]
    found = condition_of(fields, ["a cat", 1], 2)
    assert found["caption"] == "a cat"
    assert torch.equal(found["style"], torch.tensor([1, 1]))
    assert [field.title for field in fields] == ["Caption", "Style"]


def test_embeddings_without_an_encoder_say_how_to_name_one(caption_flow: Flow) -> None:
    known = caption_flow.text_encoder
    try:
        caption_flow.text_encoder = None
        with pytest.raises(InputError, match=r"demo: .*does not say which encoder.*--encoder minilm"):
            fields_of(caption_flow)
        caption_flow.text_encoder = WordEncoder(size=9)
        with pytest.raises(FlowpriorError, match="gives 9 numbers"):
            fields_of(caption_flow)
    finally:
        caption_flow.text_encoder = known


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        (Field("", "class", ("dark", "bright")), 2, "no class 2; choose one of 0..1"),
        (Field("", "class", ("dark", "bright")), -1, "no class -1"),
        (Field("", "caption"), "x" * 10_001, "at most 10,000 characters, got 10,001"),
    ],
)
def test_what_is_out_of_range_is_said_in_one_line(field: Field, value: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        condition_of([field], [value], 2)
    assert "\n" not in str(caught.value)
