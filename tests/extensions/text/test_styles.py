"""A condition of caption and style, from emoji to pictures: labels of a part by name, number, or all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.conditions import Parts
from flowprior.data import load_data
from flowprior.extensions.demo.answer import fields_of
from flowprior.flow import Flow
from tests.cli.conftest import SHORT, Call, drawn, succeed
from tests.extensions.text.conftest import in_place_of_minilm
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


@pytest.fixture(autouse=True, scope="module")
def without_weights() -> Iterator[None]:
    with in_place_of_minilm(Stand):
        yield


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


def test_the_demos_page_offers_styles_by_name(styled: Path) -> None:
    fields = fields_of(Flow.load(styled))
    assert [(field.kind, field.choices) for field in fields] == [("caption", ()), ("class", tuple(STYLES))]
