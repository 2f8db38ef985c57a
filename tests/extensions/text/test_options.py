"""From captions to pictures, end to end: a tiny data set, a few steps, samples by text, their notes."""

from __future__ import annotations

import json
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
from tests.data_folders import write_texts
from tests.text_models import BERT_LIMIT, save_bert

COLOURS = {"red": (1.0, -1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
CAPTIONS = [
    f"a {mood} {colour} {animal}"
    for mood in ("sleepy", "happy")
    for colour in COLOURS
    for animal in ("cat", "dog")
]
TRAINING = {"steps": 30, "batch_size": 16, "warmup": 5, "device": "cpu", "sample_every": 0}


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
        prior="learned-mean:epochs=200,hidden=32",
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
    generator = torch.Generator().manual_seed(5)
    x = Flow.load(caption_run).sample("a sleepy red cat", 4, nfe=3, guidance=2, generator=generator)
    np.testing.assert_allclose(found["x"], x.numpy(), rtol=1e-5, atol=1e-6)
    assert found["cond"].shape == (4, 32)


def test_a_caption_decides_the_picture(caption_run: Path) -> None:
    flow = Flow.load(caption_run)
    x = flow.sample(
        ["a happy red dog"] * 8 + ["a happy blue dog"] * 8, nfe=4, generator=torch.Generator().manual_seed(0)
    )
    red, blue = x.mean((2, 3)).split(8)
    assert (red[:, 0] > red[:, 2]).all()
    assert (blue[:, 2] > blue[:, 0]).all()


def test_the_picture_says_what_it_was_made_from(caption_run: Path, run: Path, tmp_path: Path) -> None:
    options = ["--text", "a sleepy red cat", "--negative", "a blue dog", "--n", "4", "--nfe", "3"]
    succeed("sample", caption_run, *options, "--guidance", "2", "--seed", "7", "--out", tmp_path / "cat.png")
    expected = {"caption": "a sleepy red cat", "negative": "a blue dog", "run": "colours"}
    expected |= {"seed": "7", "nfe": "3", "guidance": "2.0"}
    found = notes(tmp_path / "cat.png")
    assert expected.items() <= found.items()
    assert found["sampler"]
    succeed("sample", run, "--cond", "1,2", "--nfe", "1", "--out", tmp_path / "s.png")
    labelled = notes(tmp_path / "s.png")
    assert (labelled["condition"], "caption" in labelled) == ("1,2", False)


def test_a_file_of_captions_one_a_line(caption_run: Path, tmp_path: Path) -> None:
    file, short = tmp_path / "prompts.txt", ["--n", "2", "--nfe", "1"]
    file.write_text("\ufeffa red cat\r\n\n  a blue dog \n", encoding="utf-8")
    found = drawn(caption_run, tmp_path / "s.npz", "--prompts", file, *short)
    several = ["--text", "a red cat", "--text", "a blue dog"]
    assert np.array_equal(found["x"], drawn(caption_run, tmp_path / "t.npz", *several, *short)["x"])
    succeed("sample", caption_run, "--prompts", file, *short, "--out", tmp_path / "s.png")
    assert json.loads(notes(tmp_path / "s.png")["captions"]) == ["a red cat", "a blue dog"]


@pytest.mark.parametrize(
    ("source", "cond"),
    [
        ("caption_run", ["--text", "a red cat", "--text", "a blue dog"]),
        ("run", ["--cond", "0,1"]),
    ],
    ids=["captions", "labels"],
)
def test_the_prior_is_shown_beside_the_result(
    source: str, cond: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    widths, run, out = [], request.getfixturevalue(source), tmp_path / "s.png"
    for more in ([], ["--show-prior"]):
        succeed("sample", run, *cond, "--n", "6", "--nfe", "1", *more, "--out", out)
        with Image.open(out) as image:
            widths.append(image.size[0])
    assert widths[1] > 1.8 * widths[0]


@pytest.mark.parametrize(
    ("caption", "warning"),
    [
        ("眠い猫", None),
        ("gato 🦄 soñoliento", "knows no word of 1 of 1 texts"),
        ("a cat\n\tasleep", None),
        ("$x^2$ [bold] \\", "knows no word of 1 of 1 texts"),
        ("", None),
        (("a sleepy red cat " * 600)[:10_000], f"more than the {BERT_LIMIT} tokens that the model takes"),
    ],
)
def test_strange_captions_are_drawn_with_one_line_at_most(
    caption_run: Path, tmp_path: Path, caption: str, warning: str | None
) -> None:
    """Not with Matplotlib's, of letters that a font lacks."""
    options = ["--text", caption, "--n", "1", "--nfe", "1", "--out", tmp_path / "s.png"]
    lines = succeed("sample", caption_run, *options).err.splitlines()
    assert len(lines) == (warning is not None), lines
    assert warning is None or warning in lines[0]
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
        (["--text", "a", "--seed", str(2**64)], "less than or equal to 9223372036854775807"),
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
    call: Call, caption_run: Path, clip: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    made = {
        "empty": tmp_path / "empty.txt",
        "bytes": tmp_path / "bytes.txt",
        "folder": tmp_path,
        "clip": clip,
    }
    made["empty"].write_text("\n \n")
    made["bytes"].write_bytes(b"\xff\xfe\x00")
    if "{other}" in str(options):
        made["other"] = save_bert(tmp_path / "other", seed=1)
    before = sorted(tmp_path.rglob("*"))
    words = (part.format(**made) for part in options)
    answer = call("sample", caption_run, "--out", tmp_path / "s.png", *words)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert problem in answer.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_an_encoder_says_how_to_name_one(call: Call, run: Path, tmp_path: Path) -> None:
    cond = (torch.zeros(8, 2), torch.rand(8, 3))
    train(cond, prior="gaussian", coupling="condot", model="mlp:width=8", out=tmp_path / "r", **TRAINING)
    for flow, problem in (
        (run, "expected int64 labels [B] in 0..9, got 'a three'"),
        (tmp_path / "r", "does not say which encoder made its embeddings; name it: flow.text_encoder"),
    ):
        answer = call("sample", flow, "--text", "a three", "--out", tmp_path / "s.png")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert problem in answer.err


def test_an_encoder_of_the_same_width_and_other_weights_gives_no_evaluation(
    call: Call, bert: Path, tmp_path: Path
) -> None:
    pictures, run = write_texts(tmp_path / "pictures", CAPTIONS), tmp_path / "run"
    data = f"image-text:path={pictures},size=8,test_fraction=0,encoder=hugging-face:path="
    parts = {"prior": "gaussian", "coupling": "condot", "model": "mlp:width=8,depth=1"}
    train(f"{data}{bert}", out=run, **parts, **TRAINING)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    other = save_bert(tmp_path / "other", seed=1)
    answer = call("evaluate", run, "--data", f"{data}{other}", "--samples", "4")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert "trained on embeddings of" in answer.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
