"""From captions to pictures, end to end: a tiny data set, a few steps, samples by text, their notes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.data import TensorData
from flowprior.extensions.text.encoders import HuggingFaceEncoder
from flowprior.flow import Flow
from flowprior.training import train
from tests.cli.conftest import Call, drawn, succeed
from tests.text_models import save_bert, save_clip

COLOURS = {"red": (1.0, -1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
CAPTIONS = [
    f"a {mood} {colour} {animal}"
    for mood in ("sleepy", "happy")
    for colour in COLOURS
    for animal in ("cat", "dog")
]
TRAINING = {"steps": 30, "batch_size": 16, "warmup": 5, "device": "cpu", "sample_every": 0}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def caption_run(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """Plain pictures of the colours that their captions name."""
    encoder, out = HuggingFaceEncoder(str(bert)), tmp_path_factory.mktemp("runs") / "colours"
    captions = CAPTIONS * 8
    shades = torch.tensor(
        [next(rgb for word, rgb in COLOURS.items() if word in caption) for caption in captions]
    )
    x = 0.8 * shades[:, :, None, None].expand(-1, 3, 4, 4).contiguous()
    data = TensorData(x, encoder.encode(captions).pooled, name="colours", is_image=True)
    data.text_encoder = f"hugging-face:path={bert}"
    data.text_encoder_identity = encoder.identity()
    train(
        data,
        prior="learned-mean:epochs=40,hidden=32",
        coupling="condot",
        model="mlp:width=32",
        out=out,
        **TRAINING,
    )
    return out


def notes(file: Path) -> dict[str, str]:
    with Image.open(file) as image:
        return dict(image.text)  # type: ignore[attr-defined]


def test_python_and_the_command_line_draw_the_same(caption_run: Path, tmp_path: Path) -> None:
    options = ["--text", "a sleepy red cat", "--n", "4", "--nfe", "3", "--guidance", "2", "--seed", "5"]
    found = drawn(caption_run, tmp_path / "s.npz", *options)
    flow = Flow.load(caption_run)
    generator = torch.Generator().manual_seed(5)
    expected = flow.sample("a sleepy red cat", 4, nfe=3, guidance=2, generator=generator)
    np.testing.assert_allclose(found["x"], expected.numpy(), rtol=1e-5, atol=1e-6)
    assert found["cond"].shape == (4, 32)


def test_a_caption_decides_the_picture(caption_run: Path) -> None:
    flow = Flow.load(caption_run)
    x = flow.sample(
        ["a happy red dog"] * 8 + ["a happy blue dog"] * 8, nfe=4, generator=torch.Generator().manual_seed(0)
    )
    red, blue = x.mean((2, 3)).split(8)
    assert (red[:, 0] > red[:, 2]).all()
    assert (blue[:, 2] > blue[:, 0]).all()


def test_the_picture_says_what_it_was_made_from(caption_run: Path, tmp_path: Path) -> None:
    options = ["--text", "a sleepy red cat", "--negative", "a blue dog", "--n", "4", "--nfe", "3"]
    succeed("sample", caption_run, *options, "--guidance", "2", "--seed", "7", "--out", tmp_path / "cat.png")
    found = notes(tmp_path / "cat.png")
    expected = {
        "caption": "a sleepy red cat",
        "negative": "a blue dog",
        "seed": "7",
        "nfe": "3",
        "guidance": "2.0",
    }
    assert expected.items() <= found.items()
    assert found["run"] == "colours"
    assert found["sampler"]


def test_labels_are_noted_too(call: Call, run: Path, tmp_path: Path) -> None:
    assert call("sample", run, "--cond", "1,2", "--nfe", "1", "--out", tmp_path / "s.png").code == 0
    assert notes(tmp_path / "s.png")["condition"] == "1,2"
    assert "caption" not in notes(tmp_path / "s.png")


def test_a_file_of_captions_one_a_line(call: Call, caption_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa red cat\r\n\n  a blue dog \n", encoding="utf-8")
    found = drawn(caption_run, tmp_path / "s.npz", "--prompts", file, "--n", "2", "--nfe", "1")
    several = ["--text", "a red cat", "--text", "a blue dog"]
    assert np.array_equal(
        found["x"], drawn(caption_run, tmp_path / "t.npz", *several, "--n", "2", "--nfe", "1")["x"]
    )
    assert found["x"].shape == (4, 3, 4, 4)
    assert call("sample", caption_run, "--prompts", file, "--nfe", "1", "--out", tmp_path / "s.png").code == 0
    assert json.loads(notes(tmp_path / "s.png")["captions"]) == ["a red cat", "a blue dog"]


def test_the_prior_is_shown_beside_the_result(caption_run: Path, tmp_path: Path) -> None:
    options = ["--text", "a red cat", "--text", "a blue dog", "--n", "6", "--nfe", "1"]
    widths = {}
    for name, more in {"plain": [], "prior": ["--show-prior"]}.items():
        succeed("sample", caption_run, *options, *more, "--out", tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            widths[name] = image.size[0]
    assert widths["prior"] > widths["plain"] + 6 * 52, "thirteen columns of pictures in place of six"


@pytest.mark.parametrize("source", ["run", "caption_run"])
def test_the_prior_of_labels_and_of_one_embedding_too(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cond = ["--cond", ",".join(["0.5"] * 32)] if source == "caption_run" else ["--cond", "0,1"]
    run = request.getfixturevalue(source)
    succeed("sample", run, *cond, "--nfe", "1", "--n", "2", "--show-prior", "--out", tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        assert image.text["condition"] == cond[1]


@pytest.mark.parametrize(
    ("caption", "known"),
    [
        ("眠い猫", True),
        ("gato 🦄 soñoliento", False),
        ("a cat\n\tasleep", True),
        ("$x^2$ [bold] \\", False),
        ("", True),
    ],
)
def test_letters_that_no_font_has_are_escaped(
    caption_run: Path, tmp_path: Path, caption: str, known: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Matplotlib's, of letters that a font lacks.
        answer = succeed(
            "sample", caption_run, "--text", caption, "--n", "1", "--nfe", "1", "--out", tmp_path / "s.png"
        )
    lines = answer.err.splitlines()
    assert len(lines) == (not known), answer.err
    assert known or "knows no word of 1 of 1 texts" in lines[0]
    assert notes(tmp_path / "s.png")["caption"] == caption


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--text", "a", "--cond", "1"], "--text and --cond exclude each other"),
        (["--text", "a", "--prompts", "p.txt"], "--text and --prompts exclude each other"),
        (["--prompts", "no-such-file.txt"], "no-such-file.txt: cannot be read"),
        (["--prompts", "{empty}"], "holds no caption; write one a line"),
        (["--prompts", "{bytes}"], "expected text in UTF-8"),
        (["--prompts", "{folder}"], "cannot be read"),
        (["--prompts", "/dev/zero"], "cannot be read (it is no regular file)"),
        ([], "nothing is asked for: this flow's condition is floating-point embeddings"),
        (["--text", "a", "--seed", str(2**64)], "expected 9223372036854775807 or less"),
        (
            ["--text", "a", "--temperature", "1e38"],
            "samples have NaN or infinite numbers; use less",
        ),
        (["--text", "a", "--out", "{empty}/s.png"], "empty.txt is a file, not a folder"),
        (["--text", "a", "--negative", "b"], "does nothing at guidance=1"),
        (["--text", "a", "--encoder", "no-such"], "unknown encoder 'no-such'"),
        (
            ["--text", "a", "--encoder", "hugging-face:path={folder}"],
            "pass the folder of a transformers model",
        ),
        (["--text", "a", "--encoder", "clip:path={clip}"], "gives 24 numbers"),
        (["--text", "a", "--encoder", "hugging-face:path={other}"], "trained on embeddings of"),
        (["--text", "a", "--show-prior", "--out", "{folder}/s.npz"], "--show-prior draws a figure"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    call: Call, caption_run: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    made = {"empty": tmp_path / "empty.txt", "bytes": tmp_path / "bytes.txt", "folder": tmp_path}
    made["empty"].write_text("\n \n")
    made["bytes"].write_bytes(b"\xff\xfe\x00")
    if "{clip}" in str(options):
        made["clip"] = save_clip(tmp_path / "clip")
    if "{other}" in str(options):
        made["other"] = save_bert(tmp_path / "other", seed=1)
    before = sorted(tmp_path.rglob("*"))
    answer = call(
        "sample", caption_run, "--out", tmp_path / "s.png", *(part.format(**made) for part in options)
    )
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert problem in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_an_encoder_says_how_to_name_one(call: Call, run: Path, tmp_path: Path) -> None:
    answer = call("sample", run, "--text", "a three", "--out", tmp_path / "s.png")
    assert (answer.code, "this flow's condition is int64 labels" in answer.err) == (2, True)
    x, cond = torch.zeros(8, 2), torch.rand(8, 3)
    train((x, cond), prior="gaussian", coupling="condot", model="mlp:width=8", out=tmp_path / "r", **TRAINING)
    answer = call("sample", tmp_path / "r", "--text", "a three", "--out", tmp_path / "s.png")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "does not say which encoder" in line
    assert "--encoder minilm" in line
