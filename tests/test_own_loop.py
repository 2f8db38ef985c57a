"""The tutorial's recipes for somebody else's loop: a residual flow in three lines, pairs beside torchcfm."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowprior import Coupling, Flow, Path, Prior
from flowprior.data import TensorData, load_data
from flowprior.metrics import wasserstein2_per_condition
from flowprior.ops import flow_matching_loss


def correlated(seed: int) -> TensorData:
    """Two classes of Gaussian points in four dimensions, most of whose variance is one direction."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(2000) % 2
    along = torch.randn(2000, 1, generator=generator) * torch.tensor([2.0, 2.0, -2.0, 1.0])
    x = along + 0.5 * torch.randn(2000, 4, generator=generator) + 6.0 * labels[:, None]
    return TensorData(x, labels, name="correlated", classes=2)


@pytest.fixture(scope="module", params=["posterior", "condot"])
def parts(request: pytest.FixtureRequest) -> tuple[Prior, Coupling, Path]:
    prior = Prior.create("latent-gmm", rank=1, components=1, reg_covar=1e-4)
    prior.fit(correlated(0).batches(), generator=torch.Generator().manual_seed(0))
    return prior, Coupling.create(request.param), Path.create("condot")


def test_the_recipes_loss_is_that_of_the_flow_it_ends_in(parts: tuple[Prior, Coupling, Path]) -> None:
    prior, coupling, path = parts
    data = correlated(0)
    model = lambda x, t, cond: torch.sin(x) * t[:, None]  # noqa: E731
    x1, cond = data.batch(torch.arange(256))
    generator = torch.Generator().manual_seed(1)
    x0 = coupling.draw(prior, x1, cond, generator=generator)
    x_t, u_t, t = path.interpolate(x0, x1, torch.rand(256, generator=generator))
    law = coupling.law(prior, cond)
    loss = flow_matching_loss(model(x_t, t, cond), u_t - law.velocity(x_t, path.at(t)))
    flow = Flow(model, prior, coupling, path, data.condition, prediction="residual")
    torch.testing.assert_close(loss, flow_matching_loss(flow.velocity(x_t, t, cond), u_t))


def test_the_flow_of_the_recipe_samples_rightly(parts: tuple[Prior, Coupling, Path]) -> None:
    """Of Gaussian data nothing is left to learn: with a network of zeros its samples are as near as data."""
    prior, coupling, path = parts
    real, labels = correlated(1).batch(torch.arange(1000))
    nothing = lambda x, t, cond: torch.zeros_like(x)  # noqa: E731
    flow = Flow(nothing, prior, coupling, path, correlated(0).condition, prediction="residual")
    samples = flow.sample(labels, nfe=16, generator=torch.Generator().manual_seed(2))
    twin, _ = correlated(2).batch(torch.arange(1000))
    apart, chance = (
        sum(wasserstein2_per_condition(x, labels, real, labels).values()) / 2 for x in (samples, twin)
    )
    assert apart < 1.5 * chance


def test_torchcfms_optimal_transport_joins_classes_and_ours_does_not() -> None:
    matching = pytest.importorskip("torchcfm.conditional_flow_matching")
    x1, cond = load_data("digits").batch(torch.arange(256))
    x0 = Prior.create("gmm").fit((x1, cond)).sample(cond, generator=torch.Generator().manual_seed(0))
    matcher = matching.ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
    *_, of_start, of_datum = matcher.guided_sample_location_and_conditional_flow(x0, x1, y0=cond, y1=cond)
    assert (of_start != of_datum).any()
    coupling: Any = Coupling.create("ot")
    ours = coupling.pair(x0, x1, cond)
    assert torch.equal(cond[ours], cond)  # type: ignore[index]
    plain = matching.ConditionalFlowMatcher(sigma=0.0)
    *_, u_t = plain.sample_location_and_conditional_flow(x0[ours], x1)
    torch.testing.assert_close(u_t, x1 - x0[ours])
