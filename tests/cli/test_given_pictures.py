"""``flowprior sample --picture``: a picture in a file is the condition, what is transparent is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior import train
from flowprior.cli.given_pictures import read_given
from flowprior.data import load_data
from flowprior.errors import InputError, OptionError
from flowprior.flow import Flow
from flowprior.pictures.given import given_pictures
from tests.cli.conftest import call_app

SHORT = {"steps": 2, "batch_size": 8, "warmup": 1, "checkpoint_every": 0, "sample_every": 0, "device": "cpu"}


def trained(task: str) -> Flow:
    return train(
        load_data(f"restoration:of=digits,task={task},factor=2"),
        prior="learned-mean:covariance=diagonal,steps=2,depth=1,hidden=128",
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
    found = call_app("sample", saved, "--out", out, *options, "--count", "3", "--nfe", "2")
    assert found.code == 0, found.err
    with np.load(out) as stored:
        assert stored["x"].shape == (6, 1, 8, 8)
        assert stored["cond"].shape == (6, 1, 4, 4)
        assert np.allclose(stored["cond"][0], stored["cond"][3])


def test_the_picture_shows_what_was_given(saved, tmp_path):
    out = tmp_path / "restored.png"
    file = picture(tmp_path / "low.png")
    found = call_app("sample", saved, "--out", out, "--picture", file, "--count", "2", "--show-prior")
    assert found.code == 0, found.err
    with Image.open(out) as drawn:
        assert drawn.text["picture"] == "low"
        assert drawn.width > drawn.height


def test_what_is_transparent_is_hidden(tmp_path):
    flow = trained("inpainting")
    asked = read_given(flow, [picture(tmp_path / "part.png", "LA")], 1)
    assert asked.cond.shape == (1, 2, 8, 8)
    known = asked.cond[0, 1] > 0
    assert not known[:4].any()
    assert known[4:].all()
    assert not asked.cond[0, 0][~known].any()
    shown = given_pictures(asked.cond, flow.event_shape)
    assert torch.equal(shown, asked.cond[:, :1])


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--cond", "3"], "--picture and --cond exclude each other"), (["--text", "a"], "--picture and --text")],
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
    with pytest.raises(InputError, match="cannot be decoded as a picture"):
        read_given(flow, [text], 1)
    labels = train("digits", prior="gmm", coupling="condot", model="mlp:width=8,depth=1", **SHORT)
    with pytest.raises(OptionError, match="--picture is not possible: this flow's condition is int64 labels"):
        read_given(labels, [picture(tmp_path / "other.png")], 1)
