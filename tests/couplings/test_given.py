"""Source samples that come with the data: what is trained on them, where they come from, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior import Coupling, Flow, Prior, train
from flowprior.data import load_data
from flowprior.data.base import as_data
from flowprior.data.splits import split_validation
from flowprior.errors import CouplingError, FlowpriorError, InputError, OptionError
from flowprior.training.run import RunInfo
from tests.pictures_on_disk import paint

SHORT: dict[str, Any] = {"model": "mlp:width=64,depth=2", "device": "cpu", "progress": False}
LABELS = torch.arange(256) % 2


def pairs() -> tuple[Tensor, Tensor]:
    """Source samples, and where a map carries them that random pairs do not follow."""
    x0 = torch.randn(len(LABELS), 2, generator=torch.Generator().manual_seed(1))
    return x0, 2 * x0.flip(1) + LABELS[:, None]


def test_a_flow_of_given_pairs_follows_them_in_one_evaluation(tmp_path: Path) -> None:
    x0, x1 = pairs()
    flow = train(
        (x1, LABELS, x0), prior="gaussian", coupling="given", steps=400, lr=0.01, out=tmp_path, **SHORT
    )
    assert (flow.sample(LABELS, x0=x0, nfe=1) - x1).square().mean() < 0.05, "of a variance of 4"
    measured = RunInfo(tmp_path / "info.json").read()
    assert measured["transport_cost"] == pytest.approx((x1 - x0).square().sum(1).mean().item(), rel=1e-4)
    assert measured["starts_gap"]["p_value"] > 0.01, "they are those of the prior"
    again = Flow.load(tmp_path)
    assert torch.equal(again.sample(LABELS, x0=x0, nfe=2), flow.sample(LABELS, x0=x0, nfe=2))


def test_pairs_of_a_flow_make_its_trajectories_straight() -> None:
    """One round of rectification, as the page on few evaluations has it."""
    _, x1 = pairs()
    first = train((x1, LABELS), prior="gaussian", coupling="condot", steps=400, lr=0.01, **SHORT)
    x0 = first.sample(LABELS, nfe=0, generator=torch.Generator().manual_seed(1))
    ends = first.sample(LABELS, x0=x0, nfe=30)
    second = train((ends, LABELS, x0), prior=first.prior, coupling="given", steps=400, lr=0.01, **SHORT)
    errors = [(flow.sample(LABELS, x0=x0, nfe=1) - ends).square().mean() for flow in (first, second)]
    assert errors[1] < 0.2 * errors[0]


def of_tensors(folder: Path, x: Tensor, x0: Tensor) -> Any:
    return as_data((x, None, x0))


def of_file(folder: Path, x: Tensor, x0: Tensor) -> Any:
    np.savez(folder / "pairs.npz", x=x.numpy(), x0=x0.numpy())
    return load_data(f"{folder / 'pairs.npz'}", "train")


def of_folders(folder: Path, x: Tensor, x0: Tensor) -> Any:
    for part, images in (("inputs", x0), ("targets", x)):
        for number, image in enumerate(images):
            grey = round(127.5 * (float(image.mean()) + 1))
            paint(folder / part / f"{number:02}.png", (grey, grey, grey))
    return load_data("picture-pairs:as_source=true", path=str(folder), test_fraction=0.2)


def of_column(folder: Path, x: Tensor, x0: Tensor) -> Any:
    datasets = pytest.importorskip("datasets")
    columns = {"x": x.flatten(1).numpy(), "draft": x0.flatten(1).numpy()}
    datasets.Dataset.from_dict(columns).with_format("numpy").save_to_disk(str(folder / "saved"))
    return load_data("huggingface:source=draft", path=str(folder / "saved"))


@pytest.mark.parametrize("read", [of_tensors, of_file, of_folders, of_column])
def test_every_kind_of_data_gives_the_source_samples_of_its_rows(
    tmp_path: Path, read: Callable[..., Any]
) -> None:
    levels = torch.linspace(-1, 1, 20)[:, None, None, None] * torch.ones(3, 8, 8)
    data = read(tmp_path, levels, -levels)
    assert 15 <= len(data) <= 20
    rows = torch.tensor([3, 0, 7])
    x, x0 = data.batch(rows)[0], data.sources(rows)
    assert x0.shape == x.shape
    torch.testing.assert_close(x0, -x, atol=0.01, rtol=0)
    kept, held_out = split_validation(data, 5)
    for part in (kept, held_out):
        own = torch.arange(len(part))
        torch.testing.assert_close(part.sources(own), -part.batch(own)[0], atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("data", "coupling", "error", "message"),
    [
        ((torch.zeros(8, 2),), "given", CouplingError, "expected source samples beside the data .* got none"),
        (
            (torch.zeros(8, 2), None, torch.zeros(8, 3)),
            "given",
            InputError,
            r"like x \[8, 2\], got \[8, 3\]",
        ),
        ((torch.zeros(8, 2), None, torch.full((8, 2), torch.nan)), "ot", InputError, "x0"),
        ((torch.zeros(8, 2),), "given:origin=given", OptionError, "origin=given is itself"),
        (
            (torch.zeros(8, 2), None, torch.zeros(8, 2)),
            "given:origin=posterior",
            CouplingError,
            "no latent variables",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    data: Any, coupling: str, error: type[FlowpriorError], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(data, prior="gaussian", coupling=coupling, steps=1, **SHORT)


def test_source_samples_of_another_shape_are_refused() -> None:
    prior = Prior.create("gaussian").fit(torch.zeros(4, 2))
    with pytest.raises(InputError, match=r"source samples of shape \[4, 2\], got \[4, 3\]"):
        Coupling.create("given").pairs(prior, torch.zeros(4, 2), None, x0=torch.zeros(4, 3))
