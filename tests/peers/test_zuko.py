"""zuko and flowprior on the same parameters: densities of priors and of continuous flows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior import Coupling, Flow, Path, Prior
from flowprior.conditions import Condition

distributions = pytest.importorskip("zuko.distributions", reason="zuko is not installed: see the extra flows")
transforms = pytest.importorskip("zuko.transforms")

MATRIX = torch.tensor([[-0.4, 1.0], [-1.0, -0.2]], dtype=torch.float64)


def labelled(rows: int = 400) -> tuple[Tensor, Tensor]:
    """Two labels, each of two clouds."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 2
    centres = torch.tensor([[0.0, 0.0], [4.0, 1.0], [-3.0, 2.0], [1.0, -5.0]]).double()
    cloud = 2 * labels + torch.randint(2, (rows,), generator=generator)
    return centres[cloud] + torch.randn(rows, 2, generator=generator, dtype=torch.float64), labels


def velocity(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
    return x @ MATRIX.mT * (1 + t.reshape(-1, 1) ** 2)


def mixture(prior: Prior, label: int) -> Any:
    """zuko's mixture with the parameters of one label."""
    state = prior.state_dict()
    if "cholesky" in state:
        base = MultivariateNormal(state["loc"][label], scale_tril=state["cholesky"][label])
    else:
        base = distributions.DiagNormal(state["loc"][label], state["var"][label].sqrt())
    return distributions.Mixture(base, state["logits"][label])


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_a_mixture_of_the_same_parameters_has_the_same_density(covariance: str) -> None:
    x, labels = labelled()
    prior = Prior.create("gmm", components=2, covariance=covariance)
    prior.fit((x, labels), generator=torch.Generator().manual_seed(0))
    ours = prior.log_prob(x, labels)
    for label in (0, 1):
        torch.testing.assert_close(mixture(prior, label).log_prob(x[labels == label]), ours[labels == label])


def test_the_density_of_a_continuous_flow_is_that_of_their_free_form_transform() -> None:
    """Their transform runs from data to noise and is given the time of a row; the equation is the same."""
    x, _ = labelled()
    prior = Prior.create("gmm", components=2).fit(x, generator=torch.Generator().manual_seed(0))
    flow = Flow(velocity, prior, Coupling.create("condot"), Path.create("condot"), Condition())
    transform = transforms.FreeFormJacobianTransform(
        lambda t, state: velocity(state, t), t0=1.0, t1=0.0, atol=1e-8, rtol=1e-8
    )
    x0, log_det = transform.call_and_ladj(x)
    torch.testing.assert_close(
        prior.log_prob(x0) + log_det, flow.log_prob(x, rtol=1e-8, atol=1e-8), rtol=1e-5, atol=1e-5
    )
