"""Other data as the source: rows of the same condition, named by their file or kept, and what is refused."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior import Flow, Prior, train
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.streams.array_files import read_arrays
from tests.cli.conftest import SHORT, succeed

SHIFT = torch.tensor([3.0, -1.0])
TARGETS = torch.arange(40) % 2


def control(n: int = 60) -> tuple[Tensor, Tensor]:
    """Rows of three labels, each around its own place."""
    labels = torch.arange(n) % 3
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0)) + 10 * labels[:, None], labels


def treated() -> tuple[Tensor, Tensor]:
    """Rows of two of the labels, moved from the control."""
    return torch.randn(40, 2, generator=torch.Generator().manual_seed(1)) + 10 * TARGETS[
        :, None
    ] + SHIFT, TARGETS


@pytest.fixture
def file(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> FilePath:
    monkeypatch.chdir(tmp_path)
    x, labels = control()
    np.savez("control.npz", x=x.numpy(), cond=labels.numpy())
    x, labels = treated()
    np.savez("treated.npz", x=x.numpy(), cond=labels.numpy())
    return tmp_path / "control.npz"


@pytest.mark.parametrize("kind", ["labels", "embeddings", "none"])
def test_source_samples_are_rows_of_the_same_condition_each_as_often(kind: str) -> None:
    x, labels = control()
    cond = {"labels": labels, "embeddings": torch.eye(3)[labels] + 1, "none": None}[kind]
    prior = Prior.create("empirical").fit((x, cond))
    same = x[labels == 1] if cond is not None else x
    asked = None if cond is None else cond[1:2].expand(20_000, *cond.shape[1:])
    drawn = prior.sample(asked, 20_000, generator=torch.Generator().manual_seed(0))
    rows, counts = drawn.unique(dim=0, return_counts=True)
    torch.testing.assert_close(rows, same.unique(dim=0))
    assert (counts - 20_000 / len(same)).abs().max() < 5 * (20_000 / len(same)) ** 0.5
    torch.testing.assert_close(prior.mean(None if asked is None else asked[:1], 1)[0], same.mean(0))


def test_an_unpaired_translation_moves_each_label_to_its_own_target() -> None:
    prior = Prior.create("empirical").fit(control())
    flow = train(treated(), prior=prior, steps=300, lr=1e-2, device="cpu", progress=False)
    assert flow.coupling.name == "ot"
    x0, labels = control()
    known = labels < 2
    moved = flow.sample(labels[known], x0=x0[known], nfe=4) - x0[known]
    for label in (0, 1):
        torch.testing.assert_close(moved[labels[known] == label].mean(0), SHIFT, atol=0.6, rtol=0)


def test_the_command_line_names_the_file_and_its_digest_and_reads_it_again(file: FilePath) -> None:
    spec = "empirical:data=control.npz"
    succeed("train", "--data", "treated.npz", "--prior", spec, "--steps", "2", "--out", "run", *SHORT)
    flow = Flow.load("run")
    assert str(flow.specs["prior"]) == spec
    stored = b"".join(path.read_bytes() for path in FilePath("run").rglob("*.safetensors"))
    assert control()[0][0].numpy().tobytes() not in stored
    assert not flow.prior.kept_data
    drawn = flow.prior.sample(torch.zeros(9, dtype=torch.long))
    assert torch.isin(drawn[:, 0], control()[0][:, 0]).all()
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match=r"control.npz has sha256 .* expected"):
        Flow.load("run")
    file.unlink()
    with pytest.raises(CheckpointError, match=r"no file control.npz"):
        Flow.load("run")


def test_rows_in_memory_are_saved_only_on_request(tmp_path: FilePath) -> None:
    for keep in (False, True):
        prior = Prior.create("empirical", keep=keep).fit(control())
        flow = train(treated(), prior=prior, steps=1, device="cpu", progress=False)
        if not keep:
            with pytest.raises(
                InputError, match="its rows were given in memory and are not saved; give keep=true"
            ):
                flow.save(tmp_path / "flow")
            assert not (tmp_path / "flow").exists()
            with pytest.raises(InputError, match="are not saved"):  # before the first step
                train(treated(), prior=prior, steps=1, device="cpu", progress=False, out=tmp_path / "run")
            assert not (tmp_path / "run" / "metrics.jsonl").exists()
            continue
        flow.save(tmp_path / "flow")
        again = Flow.load(tmp_path / "flow")
        assert torch.equal(again.prior.mean(TARGETS), prior.mean(TARGETS))
        assert again.prior.kept_data == "60 source samples"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 3), "f4"), "cond": np.arange(4)}, r"expected rows of shape \[2\], .* got \[3\]"),
        (
            {"x": np.zeros((4, 2), "f4"), "cond": np.ones(4, int)},
            "none of 20 of 40, such as label 0; add rows",
        ),
        ({"x": np.zeros((4, 2), "f4")}, "none of 40 of 40, such as label 0"),
        ({"y": np.zeros((4, 2), "f4")}, "expected an array x, got y"),
    ],
)
def test_files_that_do_not_fit_are_refused(file: FilePath, arrays: dict[str, Any], message: str) -> None:
    np.savez(file, **arrays)
    prior = Prior.create("empirical", data=file.name)
    with pytest.raises(InputError, match=message) as refused:
        prior.fit(treated())
    assert "\n" not in str(refused.value)
    assert not prior.is_fitted
    for outside in (str(file), "~/control.npz"):
        with pytest.raises(OptionError, match=r"relative to the working directory, got [/~]"):
            Prior.create("empirical", data=outside)


def test_a_file_that_changes_while_it_is_read_is_refused(
    file: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(path: FilePath) -> dict[str, Tensor]:
        np.savez(path, x=control()[0].numpy() + 1, cond=control()[1].numpy())
        return read_arrays(path)

    monkeypatch.setattr("flowprior.priors.empirical.read_arrays", changed)
    with pytest.raises(InputError, match=r"control.npz has sha256 .* expected"):
        Prior.create("empirical", data=file.name).fit(treated())
