"""zuko and flowprior on the same parameters: densities of priors and of continuous flows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal

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


def mixture(prior: Prior, label: int, covariance: str) -> object:
    """zuko's mixture with the parameters of one label."""
    loc = prior.loc[label]
    if covariance == "full":
        factor = prior.scale_tril[label] if hasattr(prior, "scale_tril") else prior.cholesky[label]
        return distributions.Mixture(MultivariateNormal(loc, scale_tril=factor), prior.logits[label])
    return distributions.Mixture(distributions.DiagNormal(loc, prior.var[label].sqrt()), prior.logits[label])


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_a_mixture_of_the_same_parameters_has_the_same_density(covariance: str) -> None:
    x, labels = labelled()
    prior = Prior.create("gmm", components=2, covariance=covariance)
    prior.fit((x, labels), generator=torch.Generator().manual_seed(0))
    print({n: b.shape for n, b in prior.named_buffers()})
    ours = prior.log_prob(x, labels)
    for label in (0, 1):
        theirs = mixture(prior, label, covariance).log_prob(x[labels == label])
        torch.testing.assert_close(theirs, ours[labels == label])
