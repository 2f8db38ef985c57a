"""``flowprior sample --cond FILE.npy``: conditions that nobody types, such as series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior import train
from tests.cli.conftest import call_app, succeed

SHORT = {"coupling": "condot", "steps": 3, "batch_size": 16, "sample_every": 0, "progress": False}


@pytest.fixture(scope="module")
def series() -> torch.Tensor:
    return torch.randn(60, 2, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def run(series, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("series") / "run"
    data = (series[:, :, -3:].clone(), series[:, :, :9].clone())
    prior = "learned-mean:mapper=linear,sigma=diagonal"
    train(data, prior=prior, model="mlp:width=8,depth=1", out=str(out), **SHORT)
    return out


def write(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def test_each_row_is_asked_for_as_often_as_said(run, series, tmp_path):
    file = write(tmp_path / "before.npy", series[:4, :, :9].numpy().astype(np.float64))
    out = tmp_path / "ahead.npz"
    succeed("sample", run, "--cond", file, "--count", "5", "--nfe", "2", "--out", out)
    written = np.load(out)
    assert written["x"].shape == (20, 2, 3)
    assert np.allclose(written["cond"], series[:4, :, :9].repeat_interleave(5, 0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 2, 8), np.float32), r"expected a floating-point tensor [B, 2, 9]"),
        (np.zeros((4, 2, 9), np.int64), r"expected a floating-point tensor [B, 2, 9]"),
        (np.full((4, 2, 9), np.nan, np.float32), "finite"),
        (np.zeros((0, 2, 9), np.float32), "holds no row"),
        (np.float32(3.0), "holds no row"),
        (np.full((4, 2, 9), 1e300), "finite"),
    ],
)
def test_other_arrays_are_refused_in_one_line(run, tmp_path, values, message):
    found = call_app("sample", run, "--cond", write(tmp_path / "x.npy", values), "--out", tmp_path / "y.npz")
    assert found.code == 2
    assert message in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_files_that_hold_none_are_refused(run, tmp_path):
    (tmp_path / "x.npy").write_bytes(b"hello")
    for name, message in {"x": "holds no array", "gone": "no file"}.items():
        found = call_app("sample", run, "--cond", tmp_path / f"{name}.npy", "--out", tmp_path / "y.npz")
        assert (found.code, message in found.err) == (2, True)


def test_a_run_of_series_says_how_it_is_asked(run, tmp_path):
    found = call_app("sample", run, "--out", tmp_path / "y.npz")
    assert "give arrays as --cond FILE.npy" in found.err
    card = (run / "flow" / "README.md").read_text(encoding="utf-8")
    assert "--cond FILE.npy --nfe 15 --out samples.npz" in card


def test_labels_in_a_file_serve_too(tmp_path):
    x, labels = torch.randn(40, 2), torch.arange(40) % 4
    out = tmp_path / "run"
    train((x, labels), prior="gmm", model="mlp:width=8,depth=1", out=str(out), **SHORT)
    file = write(tmp_path / "labels.npy", np.array([3, 1]))
    succeed("sample", out, "--cond", file, "--count", "2", "--out", tmp_path / "y.npz")
    assert np.load(tmp_path / "y.npz")["cond"].tolist() == [3, 3, 1, 1]
