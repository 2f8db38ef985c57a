"""flowprior sample: which samples, how many, in which file, from which conditions; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior import train
from flowprior.cli.conditions import SampleRequest
from flowprior.cli.samples_file import save_samples, title_of
from flowprior.data import load_data
from flowprior.flow import Flow
from tests.cli.conftest import SHORT, Call, call_app, drawn, succeed


@pytest.mark.parametrize(
    ("options", "rows", "columns"),
    [
        (["--cond", "3"], 8, 8),
        (["--cond", "0,1,2"], 3, 8),
        (["--cond", "all", "--count", "2"], 10, 2),
        ([], 10, 8),
    ],
)
def test_a_picture_has_one_row_a_label(
    call: Call, run: Path, tmp_path: Path, options: list[str], rows: int, columns: int
) -> None:
    answer = call("sample", run, "--nfe", "2", "--out", tmp_path / "g.png", *options)
    assert answer.code == 0, answer.err
    with Image.open(tmp_path / "g.png") as image:
        assert image.format == "PNG"
        assert image.size[0] >= columns * 52 + 4
        assert image.size[1] >= rows * 52 + 4
        assert image.size[1] < (rows + 1) * 52 + 30, "the title is all that stands above the rows"


def test_samples_are_the_librarys_own(guided_run: Path, tmp_path: Path) -> None:
    asked = ["--cond", "3,7", "--count", "5", "--nfe", "4", "--seed", "9", "--sampler", "heun"]
    found = drawn(guided_run, tmp_path / "s.npz", *asked, "--guidance", "3")
    cond = torch.tensor([3] * 5 + [7] * 5)
    generator = torch.Generator().manual_seed(9)
    expected = Flow.load(guided_run).sample(cond, nfe=4, sampler="heun", guidance=3, generator=generator)
    assert found["cond"].tolist() == cond.tolist()
    np.testing.assert_allclose(found["x"], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_json_reports_what_was_spent(call: Call, run: Path, tmp_path: Path) -> None:
    answer = call(
        "sample", run, "--cond", "1", "--count", "3", "--sampler", "rk4", "--out", tmp_path / "s.pt", "--json"
    )
    found = json.loads(answer.out)
    assert (found["count"], found["nfe"]) == (3, 12)
    assert torch.load(tmp_path / "s.pt", weights_only=True)["x"].shape == (3, 1, 8, 8)


@pytest.fixture
def cut(run: Path, tmp_path: Path) -> Path:
    """The run as it is before its flow is written."""
    shutil.copytree(run, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "flow")
    return tmp_path / "cut"


def test_a_saved_flow_and_a_run_cut_short_will_do(run: Path, cut: Path, tmp_path: Path) -> None:
    options = ["--cond", "3", "--count", "2", "--nfe", "1"]
    whole, *others = (drawn(place, tmp_path / "s.npz", *options)["x"] for place in (run, run / "flow", cut))
    assert all(np.array_equal(other, whole) for other in others)


def test_an_unfinished_run_is_named_in_one_line(call: Call, run: Path, cut: Path, tmp_path: Path) -> None:
    info = json.loads((cut / "info.json").read_text())
    (cut / "info.json").write_text(json.dumps({**info, "status": "interrupted", "step": 12}))
    answer = call("sample", cut, "--nfe", "1", "--out", tmp_path / "s.npz")
    assert answer.code == 0, answer.err
    said = [line for line in answer.err.splitlines() if "unfinished" in line]
    assert said == [
        f"flowprior: warning: the run {cut} is unfinished (interrupted): its newest checkpoint, "
        "of step 12, is used"
    ]
    assert "unfinished" not in call("sample", run, "--nfe", "1", "--out", tmp_path / "s.npz").err


def test_a_flow_without_condition(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    call(
        "train",
        "--data",
        tmp_path / "p.npz",
        "--prior",
        "gaussian",
        "--out",
        tmp_path / "r",
        "--steps",
        "2",
        *SHORT,
    )
    assert call("evaluate", tmp_path / "r", "--nfe", "1", "--samples", "20").code == 0
    assert drawn(tmp_path / "r", tmp_path / "s.npz")["x"].shape == (64, 2)
    found = drawn(tmp_path / "r", tmp_path / "s.npz", "--count", "5")
    assert {name: x.shape for name, x in found.items()} == {"x": (5, 2)}
    answer = call("sample", tmp_path / "r", "--cond", "1", "--out", tmp_path / "s.npz")
    assert (answer.code, "--cond='1' is not possible: this flow's condition is" in answer.err) == (2, True)


def test_the_temperature_is_passed_on_and_written_down(call: Call, run: Path, tmp_path: Path) -> None:
    options = ["--cond", "3", "--nfe", "0", "--count", "6"]
    warm = drawn(run, tmp_path / "a.npz", *options)["x"]
    cold = drawn(run, tmp_path / "b.npz", *options, "--temperature", "0")["x"]
    mean = Flow.load(run / "flow").prior.mean(torch.tensor([3])).numpy()
    np.testing.assert_allclose(cold, np.broadcast_to(mean, cold.shape), rtol=1e-5, atol=1e-6)
    assert np.abs(warm - mean).max() > 0.1
    assert call("sample", run, "--out", tmp_path / "g.png", *options, "--temperature", "0.4").code == 0
    with Image.open(tmp_path / "g.png") as image:
        assert image.text["temperature"] == "0.4"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "nfe", "title"),
    [
        ({}, 2, "2 evaluations, euler"),
        ({"prior_guidance": 1.5}, 1, "1 evaluation, euler, prior guidance 1.5"),
        ({"temperature": 0.5, "guidance": 3.0}, 2, "2 evaluations, euler, temperature 0.5, guidance 3"),
        ({"guidance": 2.0}, 0, "the prior alone"),
    ],
)
def test_a_title_says_what_was_changed(settings: dict[str, Any], nfe: int, title: str) -> None:
    usual = {"sampler": "euler", "temperature": None, "prior_guidance": None, "guidance": 1.0}
    assert title_of("run", SampleRequest(None), nfe, usual | settings) == f"run: {title}"


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_arrays_read_back_as_a_data_set(tmp_path: Path, generator: torch.Generator, suffix: str) -> None:
    x, cond = torch.randn(20, 3, generator=generator), torch.arange(20) % 4
    file = tmp_path / "new" / f"s{suffix}"
    save_samples(file, x, cond)
    data = load_data(f"arrays:path={file},test_fraction=0")
    read, labels = data.batch(torch.arange(20))
    assert torch.equal(read, x)
    assert labels is not None
    assert torch.equal(labels, cond)


# -- animations -----------------------------------------------------------------------------------


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


# -- conditions and source samples of files -------------------------------------------------------


SERIES = {"coupling": "condot", "steps": 3, "batch_size": 16, "sample_every": 0, "progress": False}


@pytest.fixture(scope="module")
def series() -> torch.Tensor:
    return torch.randn(60, 2, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def series_run(series, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("series") / "run"
    data = (series[:, :, -3:].clone(), series[:, :, :9].clone())
    prior = "learned-mean:mapper=linear,sigma=diagonal"
    train(data, prior=prior, model="mlp:width=8,depth=1", out=str(out), **SERIES)
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


def test_a_forecast_in_a_column_is_where_a_flow_starts(series, tmp_path):
    x, past = series[:, :, -3:], series[:, :, :9]
    forecast = past[:, :, -1:] + torch.tensor([0.1, 0.2, 0.3])  # somebody else's
    parts = {"cond.past": past.numpy(), "cond.forecast": forecast.numpy()}
    np.savez(tmp_path / "series.npz", x=x.numpy(), **parts)
    np.savez(tmp_path / "now.npz", **{name: rows[:4] for name, rows in parts.items()})
    shared = {"prior": "around:part=forecast", "model": "mlp:width=8,depth=1"}
    spec = [f"--{name}={value}" for name, value in shared.items()]
    run, steps = tmp_path / "run", SERIES["steps"]
    spec += ["--data", str(tmp_path / "series.npz")]
    trained = succeed("train", *spec, "--steps", steps, "--out", run, *SHORT)
    assert f"flowprior sample {run} --cond FILE.npz --out" in " ".join(trained.out.split())
    asked = ["--cond", tmp_path / "now.npz", "--count", "1"]
    start = drawn(run, tmp_path / "start.npz", *asked, "--nfe", "0", "--temperature", "0")["x"]
    np.testing.assert_allclose(start, forecast[:4], atol=1e-6)
    ahead = drawn(run, tmp_path / "ahead.npz", *asked, "--nfe", "2", "--seed", "3")["x"]
    cond, generator = {"past": past[:4], "forecast": forecast[:4]}, torch.Generator().manual_seed(3)
    np.testing.assert_array_equal(Flow.load(run).sample(cond, nfe=2, generator=generator).numpy(), ahead)
    np.savez(tmp_path / "past.npz", past=past[:4].numpy())
    np.savez(tmp_path / "none.npz", **{name: rows[:0] for name, rows in parts.items()})
    for rows, message in (
        ("none.npz", "with rows, got none"),
        ("past.npz", "expected arrays cond or cond.NAME with rows, got none"),
        ("gone.npz", "no file"),
        (None, "give arrays as --cond FILE.npz"),
    ):
        options = [] if rows is None else ["--cond", tmp_path / rows]
        found = call_app("sample", run, *options, "--out", tmp_path / "y.npz")
        assert found.code == 2
        assert message in found.err


def test_source_samples_of_a_file_are_where_it_starts(series_run, series, tmp_path):
    before, source = tmp_path / "before.npy", tmp_path / "source.npy"
    np.save(before, series[:4, :, :9].numpy())
    x0 = torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(1)).numpy()
    np.save(source, x0)
    asked = ("--cond", before, "--source", source)
    assert np.array_equal(drawn(series_run, tmp_path / "x0.npz", *asked, "--nfe", "0")["x"], x0)
    ahead, again = (drawn(series_run, tmp_path / f"{seed}.npz", *asked, "--seed", seed) for seed in "12")
    assert np.array_equal(ahead["x"], again["x"]), "nothing is left to be drawn"
    changed = drawn(series_run, tmp_path / "d.npz", "--cond", before, "--draft", source, "--start", "0.999")
    assert np.allclose(changed["x"], x0, atol=0.1)
    for more, message in (
        (("--count", 3), "for each of 8 samples, got 12"),
        (("--temperature", 0.5), "x0"),
        (("--draft", source), "start"),
    ):
        found = call_app("sample", series_run, *asked, *more, "--out", tmp_path / "y.npz")
        assert found.code == 2
        assert message in found.err
