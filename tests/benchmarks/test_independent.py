"""The script without flowprior: it runs, and its formulas agree with those of the library."""

from __future__ import annotations

import ast
import copy
import gzip
import re
import struct
import sys
from pathlib import Path

import pytest
import torch

from flowprior import Coupling, Prior
from flowprior import Path as FlowPath
from flowprior.data import load_data
from flowprior.data.splits import split_validation
from flowprior.flow.predictions import Prediction
from flowprior.priors import LatentGmmPrior
from flowprior.priors.averaged_gmm import unpacked

pytest.importorskip("torchcfm")
independent = pytest.importorskip("benchmarks.independent")
HELD_OUT = 100
OPTIONS = {"seed": 0, "lr": 1e-3, "times": ["uniform", "logit-normal"], "pairs": ["random", "random"]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of IDX files: 600 and 100 images that vary along four directions of their own label."""
    folder = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    directions, centres = (
        torch.randn(10, 4, 784, generator=generator),
        torch.rand(10, 784, generator=generator),
    )
    for split, count in {"train": 600, "t10k": 100}.items():
        labels = torch.arange(count) % 10
        along = torch.randn(count, 1, 4, generator=generator) @ directions[labels]
        noise = torch.randn(count, 784, generator=generator)
        x = (100 + 50 * centres[labels] + 15 * along[:, 0] + 8 * noise).clamp(0, 255).byte()
        for kind, sizes, values in (
            ("images-idx3", (count, 28, 28), x),
            ("labels-idx1", (count,), labels.byte()),
        ):
            header = struct.pack(f">{1 + len(sizes)}I", 2048 + len(sizes), *sizes)
            path = folder / f"{split}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(header + values.numpy().tobytes(), 1))
    return folder


@pytest.fixture(scope="module")
def prior(images: Path) -> LatentGmmPrior:
    """A prior of four latents with a mixture of several Gaussians, in float64."""
    train, _ = split_validation(load_data(f"fashion-mnist:root={images}"), HELD_OUT)
    mixture = "averaged-gmm:rows_each=15"
    fitted = Prior.create("latent-gmm", rank=4, distribution=mixture)
    fitted.fit(train, generator=torch.Generator().manual_seed(0))
    assert isinstance(fitted, LatentGmmPrior)
    return fitted.double()


@pytest.fixture(scope="module")
def folder(prior: LatentGmmPrior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("saved") / "prior"
    prior.save(saved)
    return saved


def test_it_imports_nothing_of_the_library_and_is_short() -> None:
    source = Path(independent.__file__).read_text(encoding="utf-8")
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [name.name for node in found for name in node.names] + [
        getattr(node, "module", "") for node in found
    ]
    assert not [name for name in names if name and name.split(".")[0] in ("flowprior", "benchmarks")]
    assert source.count("\n") <= 250


def test_the_view_is_that_of_the_prediction(
    prior: LatentGmmPrior, folder: Path, generator: torch.Generator
) -> None:
    prediction = Prediction.create(
        "preconditioned", prior=prior, coupling=Coupling.create("posterior"), path=FlowPath.create("condot")
    )
    labels, t = torch.arange(20) % 10, torch.linspace(0, 1, 20).double()
    x = torch.randn(20, 1, 28, 28, generator=generator).double()
    expected = prediction.view(x, t, prediction.given(labels, 20))
    inputs, offset, scale = independent.PriorSource(folder).view(x, t, labels)
    torch.testing.assert_close(inputs, expected.inputs)
    torch.testing.assert_close(offset, expected.offset)
    torch.testing.assert_close(scale, expected.scale)


def test_source_samples_of_training_are_those_of_the_coupling(
    prior: LatentGmmPrior, folder: Path, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    labels = torch.arange(20) % 10
    x1 = torch.randn(20, 1, 28, 28, generator=generator).double()
    noise = {width: torch.randn(20, width, 1, generator=generator).double() for width in (4, 784)}
    monkeypatch.setattr(torch, "randn_like", lambda like: noise[like.shape[1]])
    found = independent.PriorSource(folder).training(x1, labels)
    frame = prior.spread(labels, 20)
    torch.testing.assert_close(
        found.flatten(1), frame.source(x1.flatten(1), noise[4][..., 0], noise[784][..., 0])
    )


def test_source_samples_of_sampling_have_the_moments_of_the_prior(
    prior: LatentGmmPrior, folder: Path
) -> None:
    torch.manual_seed(0)
    label, count = 3, 2000
    labels = torch.full((count,), label)
    found = independent.PriorSource(folder).sampling(labels).flatten(1)
    frame, latents = prior.spread(labels, count), prior.latents
    h = frame.coordinates(found)
    weights, centres = latents.logits[label].softmax(0), latents.loc[label]
    factors = unpacked(latents.factors[label])
    mean = weights @ centres
    second = torch.einsum("k,kij->ij", weights, factors @ factors.mT + centres[:, :, None] * centres[:, None])
    assert (weights > 0.05).sum() > 1  # a mixture
    torch.testing.assert_close(h.mean(0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(h.T.cov(), second - torch.outer(mean, mean), atol=0.15, rtol=0)
    white = (found - frame.loc) / frame.noise.sqrt()
    outside = white - frame.axes.out_of(frame.axes.into(white))
    torch.testing.assert_close(outside.mean(0), torch.zeros(784).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(outside.var(0), 1 - frame.axes.leverage[0], atol=0.15, rtol=0)


def test_the_script_prints_both_distances_and_their_ratio(
    images: Path,
    prior: LatentGmmPrior,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(independent, "IMAGES", images)
    monkeypatch.setattr(independent, "HELD_OUT", HELD_OUT)
    copy.deepcopy(prior).float().save(tmp_path / "prior")
    monkeypatch.setattr(
        sys,
        "argv",
        f"independent --prior {tmp_path / 'prior'} --steps 3 --samples 20".split(),
    )
    independent.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["NFE 0", "NFE 1", "NFE 4"]
    for line in lines:
        baseline, ours, ratio = (float(number) for number in re.findall(r"\d+\.\d+", line))
        assert ratio == pytest.approx(ours / baseline, abs=0.01)
        assert baseline > ours > 0
