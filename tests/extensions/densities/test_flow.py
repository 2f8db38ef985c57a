"""The prior ``flow``: latents follow the data's law, the density is exact, moments are those of the data."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.errors import FlowpriorError, InputError
from flowprior.priors import Prior
from tests.couplings.test_smoothing import three_beside_many
from tests.priors.known_laws import along, two_modes

pytest.importorskip("zuko", reason="the flows extra is not installed")
QUICK = {"rank": 2, "steps": 120, "hidden": 32, "transforms": 4, "batch_size": 256, "lr": 5e-3}


def fit(name: str, data, **options) -> Prior:
    return Prior.create(name, **options).fit(data, generator=torch.Generator().manual_seed(0))


def test_a_single_coordinate_is_bent_too(generator):
    prior = fit("flow", two_modes(2000, seed=0), **{**QUICK, "rank": 1, "transforms": 2, "lr": 1e-2})
    place = along(prior.sample(torch.ones(20_000, dtype=torch.long), generator=generator), 1)
    assert (place.abs() < 0.4).float().mean() < 0.12


def test_the_inverse_is_zukos():
    from flowprior.extensions.densities.flow import LatentFlow

    torch.manual_seed(0)
    for kind in ("affine", "spline"):
        network = LatentFlow(Condition("labels", 2), 3, 3, 16, kind, 2).double().requires_grad_(False)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        noise, labels = torch.randn(50, 3).double(), torch.arange(50) % 2
        expected = network.flow(network.embed(labels)).transform.inv(noise)
        torch.testing.assert_close(network.transform(noise, labels, labels), expected)


def test_constant_data_need_a_floor():
    with pytest.raises(InputError, match="is no density; set reg_covar > 0"):
        fit("flow", torch.ones(50, 3), **{**QUICK, "reg_covar": 0.0})


def test_without_zuko_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko.distributions", None)
    with pytest.raises(FlowpriorError, match=r"pip install zuko"):
        fit("flow", two_modes(100, seed=0), **QUICK)


def test_a_flow_over_latents_is_trained_on_what_labels_are_given(monkeypatch):
    """By half of its latents' law at least, for three examples are given sixteen."""
    seen: list[Tensor] = []
    prior = Prior.create("flow", rank=8, reg_covar=0.01, steps=1, batch_size=512)
    loss = type(prior)._with_given

    def watched(self: Prior, h: Tensor, cond: Tensor, generator: torch.Generator) -> Tensor:
        found = loss(self, h, cond, generator)
        seen.append((found != h).any(1).double() + 2 * cond)
        return found

    monkeypatch.setattr(type(prior), "_with_given", watched)
    prior.fit(three_beside_many(), generator=torch.Generator().manual_seed(0))
    rows = torch.cat(seen)
    assert not (rows == 1).any(), "a label with many examples is given nothing"
    assert (rows == 3).sum() > (rows == 2).sum()
