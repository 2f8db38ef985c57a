"""Expectation-maximisation against scikit-learn, known mixtures and its own guarantees."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from flowprior.mixtures.covariance import FitSettings
from flowprior.mixtures.em import Mixture, fit_mixture
from flowprior.mixtures.families import COVARIANCES, covariance_family
from flowprior.mixtures.moments import ConditionMoments
from flowprior.streams.batches import CheckedBatches

DENSE = [name for name in COVARIANCES if name != "lowrank"]


def blobs(count: int, generator: torch.Generator, apart: float, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Two correlated Gaussians in three dimensions for each class, 30 % and 70 %; float64."""
    labels = torch.randint(classes, (count,), generator=generator)
    second = (torch.rand(count, generator=generator) < 0.7).long()
    noise = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    mix = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0.3, 0.5]], dtype=torch.float64)
    centre = torch.stack([labels * 2.0, second * apart, -second * apart], 1).double()
    return centre + noise @ mix.T, labels


def fit(x: Tensor, labels: Tensor | None, covariance: str, components: int = 2, **options) -> Mixture:
    """Fit from a fixed seed."""
    limits = {"tol": options.pop("tol", 1e-3), "max_iter": options.pop("max_iter", 100)}
    data = CheckedBatches(options.pop("data", (x, labels)), "gmm")
    family = covariance_family(covariance, options.pop("rank", 1))
    moments = ConditionMoments.over(data, full=family.full_moments)
    generator = torch.Generator().manual_seed(options.pop("seed", 0))
    settings = FitSettings(**{"reg_covar": 1e-6, "generator": generator, **options})
    return fit_mixture(data, moments, family, components, settings=settings, **limits)


def dense(mixture: Mixture, dim: int = 3) -> Tensor:
    """Covariance matrices ``[C, K, D, D]``."""
    tables = mixture.covariance
    if "var" in tables:
        return tables["var"].expand(*tables["var"].shape[:2], dim).diag_embed()
    if "cholesky" in tables:
        matrices = tables["cholesky"] @ tables["cholesky"].mT
    else:
        matrices = tables["factor"] @ tables["factor"].mT + tables["noise"].diag_embed()
    return matrices.expand(-1, mixture.mean.shape[1], -1, -1)


@pytest.mark.parametrize("covariance", DENSE)
def test_passes_are_those_of_scikit_learn_to_eight_digits(covariance, generator):
    """Started from our parameters after two passes, its next six are our next six."""
    x, labels = blobs(500, generator, apart=1.5)
    start, end = (fit(x, labels, covariance, max_iter=m, tol=0.0) for m in (2, 8))
    for label in range(2):
        precisions = np.linalg.inv(dense(start)[label].numpy())
        reference = GaussianMixture(
            2,
            covariance_type=covariance,
            tol=0.0,
            max_iter=6,
            reg_covar=1e-6,
            weights_init=start.logits[label].exp().numpy(),
            means_init=start.mean[label].numpy(),
            precisions_init={
                "diag": precisions.diagonal(axis1=1, axis2=2),
                "spherical": precisions[:, 0, 0],
                "full": precisions,
                "tied": precisions[0],
            }[covariance],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            reference.fit(x[labels == label].numpy())
        theirs = reference.covariances_
        ours = {
            "diag": lambda m: m.diagonal(axis1=1, axis2=2),
            "spherical": lambda m: m[:, 0, 0],
            "full": lambda m: m,
            "tied": lambda m: m[0],
        }[covariance](dense(end)[label].numpy())
        np.testing.assert_allclose(end.logits[label].exp().numpy(), reference.weights_, rtol=1e-8)
        np.testing.assert_allclose(end.mean[label].numpy(), reference.means_, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-8)
        assert end.log_likelihood[label].item() == pytest.approx(reference.lower_bound_, rel=1e-9)


@pytest.mark.parametrize("covariance", DENSE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_likelihood_never_falls(covariance, dtype, generator):
    x, labels = blobs(300, generator, apart=1.0)
    x = x.to(dtype)
    bounds = [
        fit(x, labels, covariance, components=4, max_iter=passes, tol=0.0).log_likelihood
        for passes in range(1, 12)
    ]
    rounding = 1e-5 if dtype == torch.float32 else 1e-9
    gains = torch.stack(bounds).diff(dim=0)
    assert (gains > -rounding).all()
    assert (gains[0] > 0).all()


def test_a_condition_stops_when_it_has_converged_and_the_rest_go_on(generator):
    easy, _ = blobs(400, generator, apart=30.0, classes=1)
    hard, _ = blobs(400, generator, apart=2.0, classes=1)
    labels = torch.tensor([0] * 400 + [1] * 400)
    mixture = fit(torch.cat([easy, hard]), labels, "full", tol=1e-5)
    assert mixture.iterations[0] <= 4 < mixture.iterations[1] < 100
    strict = fit(torch.cat([easy, hard]), labels, "full", tol=1e-9)
    assert strict.iterations[1] > mixture.iterations[1]
    assert fit(torch.cat([easy, hard]), labels, "full", tol=1e-12, max_iter=5).iterations[1] == 5


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("components", [1, 3])
def test_the_fit_does_not_depend_on_the_size_of_batches(covariance, components, generator):
    x, labels = blobs(300, generator, apart=2.0)
    whole = fit(x, labels, covariance, components, max_iter=5)
    batches = list(zip(x.split(17), labels.split(17), strict=True))
    cut = fit(x, labels, covariance, components, max_iter=5, data=batches)
    torch.testing.assert_close(whole.mean, cut.mean, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(dense(whole), dense(cut), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("components", [1, 2, 4])
def test_duplicates_and_constant_dimensions_survive(covariance, components, generator):
    x = torch.randn(40, 3, generator=generator).repeat_interleave(5, 0)
    x[:, 1] = 4.0
    labels = torch.tensor([0, 1]).repeat_interleave(100)
    x[labels == 1] = torch.tensor([1.0, 2.0, 3.0])
    mixture = fit(x, labels, covariance, components)
    assert mixture.mean.isfinite().all()
    assert dense(mixture).isfinite().all()
    assert (torch.linalg.eigvalsh(dense(mixture)) > 0).all()
    assert mixture.logits.exp().sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert fit(x[:1], None, covariance, components).logits.amax() == 0, "one row is of one component"
    weight = mixture.logits[1].exp()
    torch.testing.assert_close(weight @ mixture.mean[1], torch.tensor([1.0, 2.0, 3.0]).double())
    used = dense(mixture)[1][weight > 0]
    torch.testing.assert_close(used, 1e-6 * torch.eye(3).double().expand_as(used), rtol=0, atol=1e-8)
