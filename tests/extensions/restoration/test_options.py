"""``flowprior sample --picture``: a picture in a file is the condition, what is transparent is hidden."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior import train
from flowprior.data import Subset, load_data
from flowprior.errors import InputError, OptionError
from flowprior.extensions.demo.answer import fields_of
from flowprior.extensions.restoration.options import ImageOptions
from flowprior.flow import Flow
from flowprior.pictures import given_pictures
from tests.cli.conftest import call_app, succeed

SHORT = {"steps": 2, "batch_size": 8, "warmup": 1, "checkpoint_every": 0, "sample_every": 0, "device": "cpu"}


def trained(task: str, reads: str = "") -> Flow:
    return train(
        load_data(f"restoration:of=digits,task={task},factor=2,with_label={'true' if reads else 'false'}"),
        prior=f"learned-mean:covariance=diagonal,steps=2,depth=1,hidden=128{reads}",
        coupling="condot",
        model="unet:widths=8-16,patch=1",
        **SHORT,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flow") / "flow"
    trained("super-resolution").save(folder)
    return folder


def picture(path: Path, mode: str = "L", side: int = 8) -> Path:
    """Greys from dark to light; with mode ``"LA"`` the upper half is transparent."""
    grey = np.linspace(0, 255, side * side).reshape(side, side).astype(np.uint8)
    image = Image.fromarray(grey)
    if mode == "LA":
        opacity = np.full((side, side), 255, np.uint8)
        opacity[: side // 2] = 0
        image.putalpha(Image.fromarray(opacity))
    image.save(path)
    return path


def test_each_file_is_a_row_of_the_picture(saved, tmp_path):
    files = [picture(tmp_path / f"low{i}.png") for i in range(2)]
    out = tmp_path / "restored.npz"
    options = [word for file in files for word in ("--picture", str(file))]
    succeed("sample", saved, "--out", out, *options, "--count", "3", "--nfe", "2")
    with np.load(out) as stored:
        assert stored["x"].shape == (6, 1, 8, 8)
        assert stored["cond"].shape == (6, 1, 4, 4)
        assert np.allclose(stored["cond"][0], stored["cond"][3])


def test_what_is_transparent_is_hidden(tmp_path):
    flow = trained("inpainting")
    asked = ImageOptions([picture(tmp_path / "part.png", "LA")]).read(flow, 1, {})
    assert asked.cond.shape == (1, 2, 8, 8)
    known = asked.cond[0, 1] > 0
    assert not known[:4].any()
    assert known[4:].all()
    assert not asked.cond[0, 0][~known].any()
    shown = given_pictures(asked.cond, flow.event_shape)
    assert torch.equal(shown, asked.cond[:, :1])


@pytest.mark.parametrize("task", ["super-resolution", "inpainting"])
def test_emoji_are_restored_and_shown_in_colour(task, tmp_path):
    emoji = load_data(f"restoration:of=emoji,task={task}")
    options = "covariance=diagonal,steps=2,depth=1,hidden=128"
    flow = train(
        Subset(emoji, torch.arange(40), "few"),
        prior=f"learned-mean:{options}",
        coupling="condot",
        model="unet:widths=8-16,patch=1",
        **SHORT,
    )
    flow.save(tmp_path / "flow")
    red = np.full((64, 64, 4), (255, 0, 0, 255), np.uint8)
    red[:32, :32, 3] = 0
    Image.fromarray(red if task == "inpainting" else red[..., :3]).save(tmp_path / "red.png")
    succeed(
        "sample",
        tmp_path / "flow",
        "--picture",
        tmp_path / "red.png",
        "--count",
        "2",
        "--out",
        tmp_path / "x.png",
    )
    asked = ImageOptions([tmp_path / "red.png"]).read(flow, 1, {})
    assert asked.cond.shape[1:] == emoji.condition.shape
    assert asked.cond[0, :3, -1, -1].tolist() == [1, -1, -1]
    with Image.open(tmp_path / "x.png") as drawn:
        pixels = {colour for _, colour in drawn.convert("RGB").getcolors(drawn.width * drawn.height)}
        assert (255, 0, 0) in pixels


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--cond", "3"], "--picture and --cond exclude each other"),
        (["--text", "a"], "--picture and --text"),
        (["--part", "size=3"], "leave --part size out"),
    ],
)
def test_other_conditions_beside_it_are_refused(saved, tmp_path, more, message):
    file = picture(tmp_path / "low.png")
    found = call_app("sample", saved, "--out", tmp_path / "x.npz", "--picture", file, *more)
    assert found.code == 2
    assert message in found.err


def test_a_flow_of_labels_and_a_file_that_is_no_picture_are_refused(saved, tmp_path):
    flow = Flow.load(saved)
    text = tmp_path / "low.png"
    text.write_text("no picture")
    with pytest.raises(InputError, match="cannot be decoded as an image"):
        ImageOptions([text]).read(flow, 1, {})
    labels = train("digits", prior="gmm", coupling="condot", model="mlp:width=8,depth=1", **SHORT)
    with pytest.raises(OptionError, match="--picture is not possible: this flow's condition is int64 labels"):
        ImageOptions([picture(tmp_path / "other.png")]).read(labels, 1, {})


def test_a_label_goes_beside_the_picture(tmp_path):
    flow = trained("super-resolution", ",reads=picture")
    given = ImageOptions([picture(tmp_path / f"low{i}.png") for i in range(2)])
    asked = given.read(flow, 3, {"label": "4"})
    assert asked.cond["label"].tolist() == [4] * 6
    assert asked.cond["picture"].shape == (6, 1, 4, 4)
    assert asked.names == ["low0, 4", "low1, 4"]
    with pytest.raises(OptionError, match="add --part label=NAME"):
        given.read(flow, 1, {})


def test_white_does_not_shine_through_at_the_edge_of_what_is_hidden(tmp_path):
    flow, file = trained("inpainting"), tmp_path / "black.png"
    black = np.zeros((100, 100, 2), np.uint8)
    black[..., 1] = 255
    black[31:72, 31:72, 1] = 0
    Image.fromarray(black, "LA").save(file)
    cond = ImageOptions([file]).read(flow, 1, {}).cond
    known = cond[0, 1] > 0
    assert 0 < int((~known).sum()) < 64
    assert float(cond[0, 0][known].max()) < -0.9


def test_a_flow_of_pictures_says_how_it_is_asked(saved, tmp_path):
    found = call_app("sample", saved, "--out", tmp_path / "x.png")
    assert found.code == 2
    assert "flowprior sample --help" in found.err
    assert "--picture FILE" in (saved / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("with_label", ["true", "false"])
def test_the_next_command_of_training_can_be_typed(tmp_path, with_label):
    data = f"restoration:of=digits,task=inpainting,with_label={with_label}"
    prior = "learned-mean:covariance=diagonal,depth=1,steps=2,reads=picture"
    if with_label == "false":
        prior = prior.removesuffix(",reads=picture")
    parts = ["--data", data, "--prior", prior, "--coupling", "condot", "--model", "unet:widths=8-16,patch=1"]
    budget = ["--steps", "2", "--batch-size", "8", "--device", "cpu", "--set", "training.warmup=1"]
    trained_run = succeed("train", *parts, *budget, "--out", tmp_path / "run")
    (line,) = [line for line in trained_run.out.splitlines() if line.startswith("next: flowprior ")]
    files = {"FILE": str(picture(tmp_path / "hidden.png", "LA")), "grid.png": str(tmp_path / "grid.png")}
    words = [files.get(word, word) for word in shlex.split(line.removeprefix("next: flowprior "))]
    succeed(*words)
    assert (tmp_path / "grid.png").is_file()


def test_the_demo_refuses_what_nobody_can_enter_there():
    with pytest.raises(InputError, match="cannot be entered on the page; use flowprior sample --picture"):
        fields_of(trained("super-resolution"))
