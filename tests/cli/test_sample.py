"""flowprior sample: which samples, how many, in which file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprior.flow import Flow
from tests.cli.conftest import SHORT, Call


def drawn(call: Call, run: Path, file: Path, *options: str) -> dict[str, np.ndarray]:
    answer = call("sample", run, "--out", file, *options)
    assert answer.code == 0, answer.err
    with np.load(file) as stored:
        return dict(stored)


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


def test_samples_are_the_librarys_own(call: Call, run: Path, tmp_path: Path) -> None:
    found = drawn(call, run, tmp_path / "s.npz", "--cond", "3,7", "--count", "5", "--nfe", "4", "--seed", "9")
    cond = torch.tensor([3] * 5 + [7] * 5)
    generator = torch.Generator().manual_seed(9)
    expected = Flow.load(run / "flow").sample(cond, nfe=4, generator=generator)
    assert found["cond"].tolist() == cond.tolist()
    np.testing.assert_allclose(found["x"], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_sampler_and_guidance_are_passed_on(call: Call, guided_run: Path, tmp_path: Path) -> None:
    run = guided_run
    plain = drawn(call, run, tmp_path / "a.npz", "--cond", "3", "--nfe", "4")["x"]
    heun = drawn(call, run, tmp_path / "b.npz", "--cond", "3", "--nfe", "4", "--sampler", "heun")["x"]
    guided = drawn(call, run, tmp_path / "c.npz", "--cond", "3", "--nfe", "4", "--guidance", "3")["x"]
    assert not np.allclose(plain, heun)
    assert not np.allclose(plain, guided)


def test_json_reports_what_was_spent(call: Call, run: Path, tmp_path: Path) -> None:
    answer = call(
        "sample", run, "--cond", "1", "--count", "3", "--sampler", "rk4", "--out", tmp_path / "s.pt", "--json"
    )
    found = json.loads(answer.out)
    assert (found["count"], found["nfe"]) == (3, 12)
    assert torch.load(tmp_path / "s.pt", weights_only=True)["x"].shape == (3, 1, 8, 8)


def test_a_saved_flow_and_a_run_cut_short_will_do(call: Call, run: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(run, cut)
    shutil.rmtree(cut / "flow")
    options = ["--cond", "3", "--count", "2", "--nfe", "1"]
    whole = drawn(call, run, tmp_path / "a.npz", *options)["x"]
    for index, place in enumerate((run / "flow", cut)):
        assert np.array_equal(drawn(call, place, tmp_path / f"{index}.npz", *options)["x"], whole)


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_an_unfinished_run_is_named_in_one_line(call: Call, run: Path, tmp_path: Path, command: str) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(run, cut)
    shutil.rmtree(cut / "flow")
    info = json.loads((cut / "info.json").read_text())
    (cut / "info.json").write_text(json.dumps({**info, "status": "interrupted", "step": 12}))
    options = {"sample": ["--out", tmp_path / "s.npz"], "evaluate": ["--samples", "20"]}[command]
    answer = call(command, cut, "--nfe", "1", *options)
    assert answer.code == 0, answer.err
    said = [line for line in answer.err.splitlines() if "unfinished" in line]
    assert said == [
        f"flowprior: warning: the run {cut} is unfinished (interrupted at step 12): its newest checkpoint, "
        "of step 12, is used"
    ]
    assert "unfinished" not in call(command, run, "--nfe", "1", *options).err


@pytest.mark.parametrize("name", ["s.npz", "s.pt", "s.png"])
def test_a_file_that_is_there_survives_a_failure(
    call: Call, run: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out" / name
    options = ["--cond", "3", "--count", "2", "--nfe", "1", "--out", file]
    assert call("sample", run, *options).code == 0
    before = file.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    answer = call("sample", run, *options, "--seed", "1")
    assert (answer.code, "No space left" in answer.err) == (2, True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [name]


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
    assert drawn(call, tmp_path / "r", tmp_path / "s.npz")["x"].shape == (64, 2)
    assert drawn(call, tmp_path / "r", tmp_path / "s.npz", "--count", "5")["x"].shape == (5, 2)
    answer = call("sample", tmp_path / "r", "--cond", "1", "--out", tmp_path / "s.npz")
    assert (answer.code, "no condition" in answer.err) == (2, True)


def test_the_temperature_is_passed_on_and_written_down(call: Call, run: Path, tmp_path: Path) -> None:
    options = ["--cond", "3", "--nfe", "0", "--count", "6"]
    warm = drawn(call, run, tmp_path / "a.npz", *options)["x"]
    cold = drawn(call, run, tmp_path / "b.npz", *options, "--temperature", "0")["x"]
    mean = Flow.load(run / "flow").prior.mean(torch.tensor([3])).numpy()
    np.testing.assert_allclose(cold, np.broadcast_to(mean, cold.shape), rtol=1e-5, atol=1e-6)
    assert np.abs(warm - mean).max() > 0.1
    assert call("sample", run, "--out", tmp_path / "g.png", *options, "--temperature", "0.4").code == 0
    with Image.open(tmp_path / "g.png") as image:
        assert image.text["temperature"] == "0.4"  # type: ignore[attr-defined]
    refused = call("sample", run, "--out", tmp_path / "c.npz", "--temperature", "-1")
    assert refused.code == 2
    assert "temperature=-1.0 is not possible; choose a number, 0 or more" in refused.err
    assert not (tmp_path / "c.npz").exists()


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--guidance", "2"], "guided: 2 evaluations, euler, guidance 2"),
        (["--prior-guidance", "1.5"], "guided: 2 evaluations, euler, prior guidance 1.5"),
        (
            ["--guidance", "3", "--temperature", "0.5", "--prior-guidance", "1.25"],
            "guided: 2 evaluations, euler, temperature 0.5, prior guidance 1.25, guidance 3",
        ),
        (["--nfe", "0", "--guidance", "2"], "guided: the prior alone"),
        ([], "guided: 2 evaluations, euler"),
    ],
)
def test_a_title_says_the_guidance(
    options: list[str], title: str, call: Call, guided_run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "g.svg"
    parts = ["--cond", "3,4", "--n", "2", "--nfe", "2", "--sampler", "euler", "--out", file]
    answer = call("sample", guided_run, *parts, *options)
    assert answer.code == 0, answer.err
    assert re.search(f">\\s*{re.escape(title)}\\s*</text>", file.read_text(encoding="utf-8"))
