"""A flow of standardised rows and embeddings is the one that is trained on rows standardised by hand."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior import Flow, Prior, evaluate, train
from flowprior.errors import InputError, OptionError
from flowprior.streams.user_tensors import tensor_data
from tests.cli.conftest import SHORT, drawn, succeed

SCALE, SHIFT = torch.tensor([100.0, 0.01, 1.0]), torch.tensor([1e3, 0.0, -2.0])


def raw(n: int = 200) -> tuple[Tensor, Tensor]:
    """Rows of very different units that follow embeddings of very different units."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(n, 2, generator=generator)
    x = torch.cat([c, c.sum(1, keepdim=True)], 1) + 0.5 * torch.randn(n, 3, generator=generator)
    return x * SCALE + SHIFT, c * torch.tensor([1e-3, 50.0]) + 7


def standard(x: Tensor) -> Tensor:
    mean, scale = x.double().mean(0), x.double().std(0, correction=0)
    return ((x - mean.float()) / scale.float()).float()


@pytest.mark.parametrize("prior", ["gaussian", "learned-mean:epochs=2,hidden=8,depth=1"])
def test_it_is_the_flow_of_rows_that_are_standardised_by_hand(prior: str, tmp_path: FilePath) -> None:
    x, c = raw()
    options: dict[str, Any] = {"model": "mlp:width=16", "steps": 20, "device": "cpu", "progress": False}
    flow = train((x, c), prior=prior, latent="standardise", **options)
    other = train((standard(x), standard(c)), prior=prior, **options)
    scale, mean = x.std(0, correction=0), x.mean(0)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    drawn = flow.sample(c[:50], nfe=4, generator=seeded())
    by_hand = other.sample(standard(c)[:50], nfe=4, generator=seeded())
    torch.testing.assert_close((drawn - mean) / scale, by_hand, rtol=1e-3, atol=1e-3)
    density = flow.log_prob(x[:20], c[:20])
    expected = other.log_prob(standard(x)[:20], standard(c)[:20]) - scale.log().sum()
    torch.testing.assert_close(density, expected, rtol=1e-3, atol=1e-3)
    x0 = flow.invert(x[:20], c[:20])
    z0 = other.invert(standard(x)[:20], standard(c)[:20])
    torch.testing.assert_close((x0 - mean) / scale, z0, rtol=1e-3, atol=1e-3)
    back = flow.sample(c[:20], x0=x0, sampler="dopri5:rtol=1e-6,atol=1e-6")
    torch.testing.assert_close(back / scale, x[:20] / scale, rtol=0, atol=0.01)
    again, found = flow.sample_and_log_prob(c[:20], x0=x0)
    z, densities = other.sample_and_log_prob(standard(c)[:20], x0=z0)
    torch.testing.assert_close((again - mean) / scale, z, rtol=1e-3, atol=0.01)
    torch.testing.assert_close(found, densities - scale.log().sum(), rtol=1e-3, atol=0.01)
    source = flow.sample(c[:20], nfe=0, generator=seeded())
    torch.testing.assert_close(flow.sample(c[:20], x0=source, nfe=0), source)
    changed = flow.sample(c[:20], draft=x[:20], start=0.999, nfe=1)
    torch.testing.assert_close(changed / scale, x[:20] / scale, rtol=0, atol=0.05)
    costs = [
        evaluate(f, tensor_data(*rows), nfe=[2], samples=100, metrics=["curvature"])
        for f, rows in ((flow, (x, c)), (other, (standard(x), standard(c))))
    ]
    for name in ("transport_cost", "curvature"):
        assert costs[0].value(name) == pytest.approx(costs[1].value(name), rel=0.01)
    flow.save(tmp_path)
    loaded = Flow.load(tmp_path)
    assert torch.equal(loaded.sample(c[:50], nfe=4, generator=seeded()), drawn)
    assert torch.equal(loaded.log_prob(x[:20], c[:20]), density)


@pytest.mark.parametrize("prior", ["around", "gp:window=0:2", "empirical:keep=true", "fitted"])
def test_priors_that_hold_or_are_given_values_of_events_are_refused(prior: str, tmp_path: FilePath) -> None:
    x, c = raw(40)
    given: Any = Prior.create("gaussian", moments="diagonal").fit((x, c)) if prior == "fitted" else prior
    with pytest.raises(
        OptionError, match="the encoder 'standardise' changes the units of the data, and prior"
    ):
        train((x, c), prior=given, latent="standardise", steps=1, device="cpu", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_standardises_and_returns_the_units_of_the_file(tmp_path: FilePath) -> None:
    x, c = raw()
    np.savez(tmp_path / "rows.npz", x=x.numpy(), cond=c.numpy())
    np.save(tmp_path / "cond.npy", c[:40].numpy())
    options = ["--latent", "standardise", "--model", "mlp:width=16", "--steps", "30", *SHORT]
    succeed("train", "--data", tmp_path / "rows.npz", "--out", tmp_path / "run", *options)
    found = drawn(tmp_path / "run", tmp_path / "x.npz", "--cond", tmp_path / "cond.npy")["x"]
    assert np.abs(found.mean(0) - x.mean(0).numpy()).max() < 3 * SCALE.max()
    assert found[:, 0].std() > 20 * found[:, 2].std()
    with pytest.raises(InputError, match=r"expected events \[3\], got \[2\]"):
        Flow.load(tmp_path / "run").encoder.latent_shape(torch.Size([2]))
