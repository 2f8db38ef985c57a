"""``flowprior sample --cond FILE.npy``: conditions that nobody types, such as series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior import train
from tests.cli.conftest import call_app, drawn

SHORT = {"coupling": "condot", "steps": 3, "batch_size": 16, "sample_every": 0, "progress": False}


@pytest.fixture(scope="module")
def series() -> torch.Tensor:
    return torch.randn(60, 2, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def series_run(series, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("series") / "run"
    data = (series[:, :, -3:].clone(), series[:, :, :9].clone())
    prior = "learned-mean:mapper=linear,sigma=diagonal"
    train(data, prior=prior, model="mlp:width=8,depth=1", out=str(out), **SHORT)
    return out


def test_each_row_is_asked_for_as_often_as_said(series_run, series, tmp_path):
    file = tmp_path / "before.npy"
    np.save(file, series[:4, :, :9].numpy().astype(np.float64))
    out = tmp_path / "ahead.npz"
    written = drawn(series_run, out, "--cond", file, "--count", "5", "--nfe", "2")
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
        (b"hello", "holds no array"),
        (None, "no file"),
    ],
)
def test_other_arrays_are_refused_in_one_line(series_run, tmp_path, values, message):
    file = tmp_path / "x.npy"
    if isinstance(values, bytes):
        file.write_bytes(values)
    elif values is not None:
        np.save(file, values)
    found = call_app("sample", series_run, "--cond", file, "--out", tmp_path / "y.npz")
    assert found.code == 2
    assert message in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_a_run_of_series_says_how_it_is_asked(series_run, tmp_path):
    found = call_app("sample", series_run, "--out", tmp_path / "y.npz")
    assert "give arrays as --cond FILE.npy" in found.err
    card = (series_run / "flow" / "README.md").read_text(encoding="utf-8")
    assert "--cond FILE.npy --nfe 15 --out samples.npz" in card


def test_labels_in_a_file_serve_too(run, tmp_path):
    np.save(tmp_path / "labels.npy", np.array([3, 1]))
    options = ["--cond", tmp_path / "labels.npy", "--count", "2", "--nfe", "1"]
    assert drawn(run, tmp_path / "y.npz", *options)["cond"].tolist() == [3, 3, 1, 1]


def test_source_samples_of_a_file_are_where_it_starts(series_run, series, tmp_path):
    before, source = tmp_path / "before.npy", tmp_path / "source.npy"
    np.save(before, series[:4, :, :9].numpy())
    x0 = torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(1)).numpy()
    np.save(source, x0)
    asked = ("--cond", before, "--source", source)
    assert np.array_equal(drawn(series_run, tmp_path / "x0.npz", *asked, "--nfe", "0")["x"], x0)
    ahead, again = (drawn(series_run, tmp_path / f"{seed}.npz", *asked, "--seed", seed) for seed in "12")
    assert np.array_equal(ahead["x"], again["x"]), "nothing is left to be drawn"
    for more, message in ((("--count", 3), "for each of 8 samples, got 12"), (("--temperature", 0.5), "x0")):
        found = call_app("sample", series_run, *asked, *more, "--out", tmp_path / "y.npz")
        assert found.code == 2
        assert message in found.err
