"""What the page asks for follows from the flow; what it shows is what ``flow.sample`` and the prior give."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.errors import FlowpriorError, InputError
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
from tests.cli.conftest import Call
from tests.words import WordEncoder

TEXT = "a sleepy red cat"


def test_the_result_is_what_the_flow_samples_with_that_seed(caption_flow: Flow) -> None:
    found = stages(caption_flow, TEXT, 3, seed=5, nfe=4, guidance=2.0, owner="demo")
    generator = torch.Generator().manual_seed(5)
    expected = caption_flow.sample([TEXT] * 3, nfe=4, guidance=2.0, generator=generator)
    torch.testing.assert_close(found.states[-1], expected, rtol=0, atol=0)
    start = caption_flow.sample([TEXT] * 3, nfe=0, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found.states[0], start, rtol=0, atol=0)
    encoder = caption_flow.text_encoder
    assert encoder is not None
    mean = caption_flow.prior.mean(encoder.encode([TEXT]).pooled)
    torch.testing.assert_close(found.mean, mean)
    assert (found.nfe, found.times) == (4, [0.0, 0.25, 0.5, 0.75, 1.0])


def test_the_states_on_the_way_follow_the_velocity(label_flow: Flow) -> None:
    """Euler's method by hand, from the same source samples."""
    labels = torch.tensor([1, 1])
    found = stages(label_flow, labels, 2, seed=0, nfe=3, sampler="euler", owner="demo")
    x = found.states[0]
    for step in range(3):
        with torch.no_grad():
            x = x + label_flow.velocity(x, torch.full((2,), step / 3), labels) / 3
        torch.testing.assert_close(found.states[step + 1], x, rtol=1e-4, atol=1e-5)


def test_of_many_states_a_few_are_kept_with_both_ends(caption_flow: Flow) -> None:
    found = stages(caption_flow, TEXT, 2, seed=0, nfe=50, owner="demo")
    assert found.states.shape == (6, 2, 3, 6, 6)
    assert found.times == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1], abs=1e-6)


@pytest.mark.parametrize("flow", ["caption_flow", "label_flow", "point_flow"])
@pytest.mark.parametrize("nfe", [0, 1, 15])
def test_every_stage_is_a_picture(flow: str, nfe: int, request: pytest.FixtureRequest) -> None:
    own = request.getfixturevalue(flow)
    fields = fields_of(own)
    values = [TEXT if field.kind == "caption" else 1 for field in fields]
    found = answer(own, "runs/mine", fields, values, Wanted(nfe=nfe, samples=POINTS if not fields else 4))
    assert set(found.figures) == set(PICTURES)
    assert all(figure_bytes(figure).startswith(b"\x89PNG") for figure in found.figures.values())
    assert found.spent.startswith(f"{nfe} evaluation")


@pytest.mark.parametrize("temperature", [1.0, 0.35])
def test_the_command_on_the_page_draws_the_same_samples(
    call: Call, label_flow: Flow, label_run: Path, tmp_path: Path, temperature: float
) -> None:
    wanted = Wanted(nfe=2, temperature=temperature, samples=3, seed=7)
    found = answer(label_flow, str(label_run), fields_of(label_flow), [1], wanted)
    assert found.command is not None
    words = [word for word in shlex.split(found.command)[1:] if word != "--show-prior"]
    words[words.index("sheet.png")] = str(tmp_path / "s.npz")
    drawn = call(*words)
    assert drawn.code == 0, drawn.err
    generator = torch.Generator().manual_seed(7)
    x = label_flow.sample(torch.tensor([1] * 3), nfe=2, temperature=temperature, generator=generator)
    with np.load(tmp_path / "s.npz") as stored:
        np.testing.assert_array_equal(stored["x"], x.numpy())


def test_the_command_names_an_encoder_that_the_run_does_not_remember(caption_flow: Flow) -> None:
    fields, wanted = fields_of(caption_flow), Wanted(nfe=0)
    told = [answer(caption_flow, "r", fields, ["a cat"], wanted, *more).command for more in ((), ("minilm",))]
    assert told[1] == f"{told[0]}".replace(" --show-prior", " --encoder minilm --show-prior")


def test_a_caption_with_quotes_survives_the_shell(caption_flow: Flow) -> None:
    text = 'a cat\'s "$HOME" `ls` ; rm'
    command = answer(caption_flow, "my runs/a", fields_of(caption_flow), [text], Wanted(nfe=0)).command
    assert command is not None
    words = shlex.split(command)
    assert words[words.index("--text") + 1] == text
    assert words[2] == "my runs/a"


def test_guidance_of_a_flow_that_cannot_be_guided_is_refused(label_flow: Flow) -> None:
    with pytest.raises(FlowpriorError, match="condition dropout") as caught:
        answer(label_flow, "r", fields_of(label_flow), [0], Wanted(guidance=2.0))
    assert "\n" not in str(caught.value)


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


def test_a_caption_that_is_too_long_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="at most 10,000 characters, got 10,001") as caught:
        condition_of([Field("", "caption")], ["x" * 10_001], 2)
    assert "\n" not in str(caught.value)
