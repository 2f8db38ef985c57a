"""A condition of caption and style, from emoji to pictures: labels of a part by name, number, or all."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.conditions import Parts
from flowprior.data import load_data
from flowprior.extensions.demo.answer import Field, Wanted, answer, command_of, fields_of
from flowprior.extensions.text.encoders import MiniLMEncoder
from flowprior.flow import Flow
from flowprior.models import Encoder
from tests.cli.conftest import SHORT, Call, drawn, succeed
from tests.words import WordEncoder

DATA = "emoji:condition=caption+style"
PARTS = ["--prior", "learned-mean:reads=caption,epochs=1,hidden=8,depth=1,holdout=0", "--coupling", "condot"]
PARTS += ["--model", "unet:widths=8-16,patch=4", "--steps", "2", *SHORT, "--set", "training.sample_every=0"]
STYLES = load_data(DATA).label_names["style"]  # type: ignore[index]


class Stand(WordEncoder):
    """Without weights, under the name and identity of the encoder of emoji."""

    def __init__(self) -> None:
        super().__init__(384)

    def identity(self) -> str:
        return load_data("emoji").text_encoder_identity or ""


@pytest.fixture(autouse=True)
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Encoder.registry._records.items()
    records = {name: record for name, record in kept if record.factory is not MiniLMEncoder}
    monkeypatch.setattr(Encoder.registry, "_records", records)
    Encoder.register("minilm")(Stand)


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "styled"
    succeed("train", "--data", DATA, "--out", out, *PARTS)
    return out


def test_the_data_have_both_parts() -> None:
    both, caption, style = (load_data(f"emoji:condition={c}") for c in ("style+caption", "caption", "style"))
    rows = torch.tensor([5, 0, 4000])
    x, cond = both.batch(rows)
    assert isinstance(cond, Parts)
    assert torch.equal(x, caption.batch(rows)[0])
    assert torch.equal(cond["caption"], caption.batch(rows)[1])  # type: ignore[arg-type]
    assert torch.equal(cond["style"], style.batch(rows)[1])  # type: ignore[arg-type]
    assert both.text_encoder_identity == caption.text_encoder_identity
    assert style.text_encoder is None
    assert [STYLES[label] for label in cond["style"]] == [both.styles[row] for row in rows]  # type: ignore[union-attr, attr-defined]


def test_a_caption_in_a_style_by_name_number_and_from_python(styled: Path, tmp_path: Path) -> None:
    label = STYLES.index("noto")
    options = ["--text", "a sleepy cat", "--n", "2", "--seed", "3", "--nfe", "2"]
    found = drawn(styled, tmp_path / "a.npz", *options, "--part", "style=noto")
    assert found["x"].shape == (2, 3, 32, 32)
    assert found["cond.style"].tolist() == [label, label]
    np.testing.assert_allclose(found["cond.caption"], Stand().encode(["a sleepy cat"] * 2).pooled)
    again = drawn(styled, tmp_path / "b.npz", *options, "--part", f"style={label}")
    assert np.array_equal(again["x"], found["x"])
    other = drawn(styled, tmp_path / "c.npz", *options, "--part", "style=twemoji")
    assert not np.array_equal(other["x"], found["x"])
    for value in ("noto", torch.tensor([label] * 2)):
        cond = {"caption": "a sleepy cat", "style": value}
        x = Flow.load(styled).sample(cond, 2, nfe=2, generator=torch.Generator().manual_seed(3))
        np.testing.assert_allclose(x.numpy(), found["x"], rtol=1e-5, atol=1e-6)


def test_several_styles_are_rows_of_their_own(styled: Path, tmp_path: Path) -> None:
    captions = ["--nfe", "2", "--text", "a cat", "--text", "a dog"]
    found = drawn(styled, tmp_path / "s.npz", *captions, "--part", "style=noto,twemoji", "--n", "2")
    noto, twemoji = STYLES.index("noto"), STYLES.index("twemoji")
    assert found["cond.style"].tolist() == 2 * [noto, noto, twemoji, twemoji]
    cats, dogs = found["cond.caption"][:4], found["cond.caption"][4:]
    assert (cats == cats[0]).all()
    assert not (cats[0] == dogs[0]).all()
    every = drawn(styled, tmp_path / "t.npz", "--text", "a cat", "--part", "style=all", "--n", "1")
    assert every["cond.style"].tolist() == list(range(len(STYLES)))


def test_a_sheet_names_caption_and_style(styled: Path, tmp_path: Path) -> None:
    options = ["--text", "a cat", "--part", "style=noto,twemoji", "--negative", "a dog", "--guidance", "2"]
    out = ["--n", "2", "--nfe", "1", "--show-prior", "--out", tmp_path / "s.png"]
    succeed("sample", styled, *options, *out)
    with Image.open(tmp_path / "s.png") as picture:
        notes = dict(picture.text)  # type: ignore[attr-defined]
    assert json.loads(notes["captions"]) == ["a cat", "a cat"]
    assert json.loads(notes["style"]) == ["noto", "twemoji"]
    assert notes["negative"] == "a dog"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--text", "a cat"], "without 'style'"),
        (["--part", "style=noto"], "without 'caption'"),
        (["--text", "a cat", "--part", "style=notto"], "no label is named 'notto'; did you mean 'noto'?"),
        (["--text", "a cat", "--part", "stile=noto"], "no part of labels of this name; did you mean 'style'"),
        (["--text", "a cat", "--part", "caption=x"], "--part caption: no part of labels of this name"),
        (["--text", "a cat", "--part", "noto"], "--part 'noto' is not possible; write NAME=VALUE"),
        (["--text", "a", "--part", "style=a", "--part", "style=b"], "the part 'style' is given twice"),
        (["--cond", "1", "--part", "style=noto"], "--part and --cond exclude each other"),
        (["--cond", "1"], "flowprior sample --help"),
    ],
)
def test_mistakes_are_one_line(
    call: Call, styled: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    answer = call("sample", styled, *options, "--out", tmp_path / "s.png")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert problem in line
    assert not list(tmp_path.iterdir())


def test_the_demos_page_offers_styles_by_name_and_its_command_asks_for_them(styled: Path) -> None:
    flow = Flow.load(styled)
    fields = fields_of(flow)
    assert [(field.kind, field.choices) for field in fields] == [("caption", ()), ("class", tuple(STYLES))]
    found = answer(flow, str(styled), fields, ["a sleepy cat", 2], Wanted(nfe=2, samples=3, seed=7))
    assert "--text 'a sleepy cat' --part style=2 --nfe 2 --n 3 --seed 7" in str(found.command)


def test_the_demos_page_has_no_command_for_two_captions() -> None:
    """``--text`` fills all parts that are made of texts."""
    fields = [Field("caption", "caption"), Field("tokens", "caption"), Field("style", "class", ("noto",))]
    assert command_of("RUN", fields, ["a cat", "a dog", 0], Wanted()) is None
    told = command_of("RUN", fields, ["a cat", "a cat ", 0], Wanted())
    assert told is not None
    assert shlex.split(told)[3:7] == ["--text", "a cat", "--part", "style=0"]
