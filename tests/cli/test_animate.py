"""flowprior sample --animate: the way of samples as an animation, beside their file or alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.cli.conftest import Call


def test_an_animation_has_a_frame_a_state_beside_the_samples_or_alone(
    call: Call, run: Path, tmp_path: Path
) -> None:
    drawn = ["sample", run, "--cond", "0,1", "--count", "2", "--nfe", "3", "--animate", tmp_path / "flow.gif"]
    alone = json.loads(call(*drawn, "--json").out)
    assert alone["out"] == alone["animation"] == str(tmp_path / "flow.gif")
    assert [file.name for file in tmp_path.iterdir()] == ["flow.gif"]
    answer = call(*drawn, "--out", tmp_path / "samples.npz")
    assert answer.code == 0, answer.err
    assert "samples.npz and " in " ".join(answer.out.split())
    with Image.open(tmp_path / "flow.gif") as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
    with np.load(tmp_path / "samples.npz") as stored:
        assert stored["x"].shape == (4, 1, 8, 8)
