"""``flowprior sample --picture``: a picture in a file is the condition, what is transparent is hidden."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior import train
from flowprior.data import Data, Subset, load_data
from flowprior.errors import InputError, OptionError
from flowprior.extensions.demo.answer import fields_of
from flowprior.extensions.restoration.options import ImageOptions
from flowprior.flow import Flow
from flowprior.pictures import given_pictures
from tests.cli import conftest as cli
from tests.cli.conftest import call_app, drawn, succeed
from tests.extensions.conftest import refused

SHORT = {"steps": 2, "batch_size": 8, "warmup": 1, "checkpoint_every": 0, "sample_every": 0, "device": "cpu"}


def trained(data: Data | str, reads: str = "", **options: Any) -> Flow:
    parts = {"coupling": "condot", "model": "unet:widths=8-16,patch=1"}
    prior = f"learned-mean:covariance=diagonal,steps=2,depth=1,hidden=128{reads}"
    return train(data, prior=prior, **parts, **SHORT, **options)


@pytest.fixture(scope="module")
def low() -> Flow:
    """A flow from pictures of half the resolution."""
    return trained("restoration:of=digits,task=super-resolution,factor=2")


@pytest.fixture(scope="module")
def hidden() -> Flow:
    """A flow from pictures of which a part is hidden."""
    return trained("restoration:of=digits,task=inpainting")


@pytest.fixture(scope="module")
def saved(low: Flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow") / "flow"
    low.save(folder)
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
    options = [word for file in files for word in ("--picture", str(file))]
    found = drawn(saved, tmp_path / "restored.npz", *options, "--count", "3", "--nfe", "2")
    assert (found["x"].shape, found["cond"].shape) == ((6, 1, 8, 8), (6, 1, 4, 4))
    assert np.allclose(found["cond"][0], found["cond"][3])


def test_what_is_transparent_is_hidden(hidden, tmp_path):
    cond = ImageOptions([picture(tmp_path / "part.png", "LA")]).read(hidden, 1, {}).cond
    assert cond.shape == (1, 2, 8, 8)
    known = cond[0, 1] > 0
    assert not known[:4].any()
    assert known[4:].all()
    assert not cond[0, 0][~known].any()
    assert torch.equal(given_pictures(cond, hidden.event_shape), cond[:, :1])


def test_white_does_not_shine_through_at_the_edge_of_what_is_hidden(hidden, tmp_path):
    black = np.zeros((100, 100, 2), np.uint8)
    black[..., 1] = 255
    black[31:72, 31:72, 1] = 0
    Image.fromarray(black, "LA").save(tmp_path / "black.png")
    grey, known = ImageOptions([tmp_path / "black.png"]).read(hidden, 1, {}).cond[0]
    assert 0 < int((known < 0).sum()) < 64
    assert float(grey[known > 0].max()) < -0.9


@pytest.mark.parametrize("task", ["super-resolution", "inpainting"])
def test_emoji_are_restored_and_shown_in_colour(task, tmp_path):
    emoji, file = load_data(f"restoration:of=emoji,task={task}"), tmp_path / "red.png"
    flow = trained(Subset(emoji, torch.arange(40), "few"), out=tmp_path / "run")
    red = np.full((64, 64, 4), (255, 0, 0, 255), np.uint8)
    red[:32, :32, 3] = 0
    Image.fromarray(red if task == "inpainting" else red[..., :3]).save(file)
    succeed("sample", tmp_path / "run", "--picture", file, "--count", "2", "--out", tmp_path / "x.png")
    cond = ImageOptions([file]).read(flow, 1, {}).cond
    assert cond.shape[1:] == emoji.condition.shape
    assert cond[0, :3, -1, -1].tolist() == [1, -1, -1]
    with Image.open(tmp_path / "x.png") as image:
        assert (255, 0, 0) in {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--picture", "low.png", "--cond", "3"], "--picture and --cond exclude each other"),
        (["--picture", "low.png", "--text", "a"], "--picture and --text"),
        (["--picture", "low.png", "--part", "size=3"], "leave --part size out"),
        (["--picture", "text.png"], "cannot be decoded as an image"),
        ([], "flowprior sample --help"),
    ],
)
def test_what_is_no_picture_alone_is_refused(saved, tmp_path, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "low.png")
    (tmp_path / "text.png").write_text("no picture")
    found = call_app("sample", saved, "--out", "x.npz", *more)
    assert (found.code, message in found.err) == (2, True), found.err
    assert "--picture FILE" in (saved / "README.md").read_text(encoding="utf-8")


def test_a_flow_of_labels_takes_no_picture_and_the_demo_none_at_all(tiny_flow, low, tmp_path):
    with refused("--picture is not possible: this flow's condition is int64 labels", OptionError):
        ImageOptions([picture(tmp_path / "other.png")]).read(tiny_flow, 1, {})
    with refused("cannot be entered on the page; use flowprior sample --picture", InputError):
        fields_of(low)


def test_a_label_goes_beside_the_picture(tmp_path):
    flow = trained("restoration:of=digits,factor=2,with_label=true", ",reads=picture")
    given = ImageOptions([picture(tmp_path / f"low{i}.png") for i in range(2)])
    asked = given.read(flow, 3, {"label": "4"})
    assert asked.cond["label"].tolist() == [4] * 6
    assert asked.cond["picture"].shape == (6, 1, 4, 4)
    assert asked.names == ["low0, 4", "low1, 4"]
    with refused("add --part label=NAME", OptionError):
        given.read(flow, 1, {})


@pytest.mark.parametrize(("with_label", "reads"), [("true", ",reads=picture"), ("false", "")])
def test_the_next_command_of_training_can_be_typed(tmp_path, with_label, reads):
    data = f"restoration:of=digits,task=inpainting,with_label={with_label}"
    prior = f"learned-mean:covariance=diagonal,depth=1,steps=2{reads}"
    parts = ["--data", data, "--prior", prior, "--coupling", "condot", "--model", "unet:widths=8-16,patch=1"]
    answer = succeed("train", *parts, "--steps", "2", *cli.SHORT, "--out", tmp_path / "run")
    (line,) = [line for line in answer.out.splitlines() if line.startswith("next: flowprior ")]
    files = {"FILE": str(picture(tmp_path / "hidden.png", "LA")), "grid.png": str(tmp_path / "grid.png")}
    succeed(*(files.get(word, word) for word in shlex.split(line.removeprefix("next: flowprior "))))
    assert (tmp_path / "grid.png").is_file()
