"""What the page shows is what ``flow.sample`` and the prior give, drawn."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowprior.errors import FlowpriorError, OptionError
from flowprior.extensions.demo.answer import PICTURES, POINTS, Wanted, answer, refusal_of_guidance
from flowprior.extensions.demo.fields import fields_of
from flowprior.flow import Flow
from flowprior.flow.showing import stages
from flowprior.pictures import figure_bytes
from tests.cli.conftest import Call

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


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"nfe": 101}, "nfe=101 is not possible; choose a whole number of 0 to 100"),
        ({"nfe": -1}, "nfe=-1"),
        ({"samples": 0}, "samples=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**31}, "seed=2147483648"),
    ],
)
def test_numbers_out_of_range_are_refused(values: dict[str, int], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        Wanted(**values)


def test_guidance_of_a_flow_that_cannot_be_guided_is_refused(label_flow: Flow, caption_flow: Flow) -> None:
    assert refusal_of_guidance(caption_flow) is None
    assert "condition dropout" in (refusal_of_guidance(label_flow) or "")
    with pytest.raises(FlowpriorError, match="condition dropout") as caught:
        answer(label_flow, "r", fields_of(label_flow), [0], Wanted(guidance=2.0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, "x", -0.1, float("nan"), float("inf"), True])
def test_a_temperature_that_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"temperature=.* is not possible; choose a number, 0 or more"):
        Wanted(temperature=wrong)
