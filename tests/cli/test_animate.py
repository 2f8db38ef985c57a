"""flowprior sample --animate: the way of samples as an animation, beside their file or alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Call


def test_frames_go_from_the_prior_to_the_samples_that_out_holds(
    call: Call, run: Path, tmp_path: Path
) -> None:
    files = ["--animate", tmp_path / "flow.gif", "--out", tmp_path / "samples.npz"]
    answer = call("sample", run, "--cond", "0,1", "--count", "2", "--nfe", "3", *files)
    assert answer.code == 0, answer.err
    assert "samples.npz and " in " ".join(answer.out.split())
    with Image.open(tmp_path / "flow.gif") as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
        image.seek(3)
        last = np.asarray(image.convert("L")).astype(float)
    with np.load(tmp_path / "samples.npz") as stored:
        first = stored["x"][0, 0]
    wanted = ((first.clip(-1, 1) + 1) * 127.5).round()
    found = [
        last[y : y + 48 : 6, x : x + 48 : 6]
        for y in range(last.shape[0] - 48)
        for x in range(last.shape[1] - 48)
    ]
    assert min(float(np.abs(part - wanted).max()) for part in found) <= 4  # of 255; a frame has 128 colours


def test_it_may_be_all_that_is_written(call: Call, run: Path, tmp_path: Path) -> None:
    answer = call("sample", run, "--cond", "3", "--nfe", "1", "--animate", tmp_path / "f.gif", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["out"] == told["animation"] == str(tmp_path / "f.gif")
    assert [file.name for file in tmp_path.iterdir()] == ["f.gif"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "missing option '--out'"),
        (["--animate", "f.png"], "ends in .gif"),
        (["--animate", "f.gif", "--show-prior"], "--show-prior draws a figure"),
    ],
)
def test_a_mistake_is_one_line(call: Call, run: Path, options: list[str], words: str) -> None:
    answer = call("sample", run, *options)
    assert answer.code == 2
    assert words in " ".join(answer.err.split())
    assert len(answer.err.strip().splitlines()) == 1
