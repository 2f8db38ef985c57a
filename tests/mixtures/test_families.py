"""What every family of covariances must do: know its own density, and maximise the likelihood."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior.mixtures.covariance import Covariance, FitSettings, Parameters, ShrunkCovariances
from flowprior.mixtures.families import COVARIANCES, Full, LowRank, Tied, _cholesky, covariance_family
from flowprior.mixtures.moments import ConditionMoments

DIM = 4
SETTINGS = FitSettings(reg_covar=1e-6)


@pytest.fixture(params=COVARIANCES)
def family(request) -> Covariance:
    return covariance_family(request.param, rank=2)


def dense(covariance: Parameters) -> Tensor:
    """The covariance matrix that a family's parameters of one component stand for."""
    if "var" in covariance:
        return covariance["var"].expand(DIM).diag()
    if "cholesky" in covariance:
        return covariance["cholesky"] @ covariance["cholesky"].T
    return covariance["factor"] @ covariance["factor"].T + covariance["noise"].diag()


def parameters(family: Covariance, generator: torch.Generator) -> Parameters:
    """Some parameters of one component."""
    matrix = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)
    some = {
        "cholesky": torch.linalg.cholesky(matrix @ matrix.T + torch.eye(DIM)),
        "factor": matrix[:, :2],
        "noise": torch.linspace(0.2, 1, DIM, dtype=torch.float64),
    }
    return {name: some[name] for name in family.parameters}


def fit(family: Covariance, x: Tensor, responsibilities: Tensor, settings: FitSettings = SETTINGS, passes=1):
    """``passes`` M-steps of one condition with fixed responsibilities ``[n, K]``."""
    moments = ConditionMoments.over([(x, None)], full=family.full_moments)
    fitter = family.fitter(moments, responsibilities.shape[1], dtype=x.dtype, settings=settings)
    for _ in range(passes):
        fitter.accumulate(fitter.prepare(x, 0), 0, responsibilities)
        fitter.maximise(torch.ones(1, dtype=torch.bool))
    return fitter


@pytest.mark.parametrize("family", [Full(), Tied(), LowRank(2)])
def test_density_is_the_normal_density_of_the_dense_matrix(family: Full | LowRank, generator):
    covariance = parameters(family, generator)
    mean = torch.randn(DIM, generator=generator, dtype=torch.float64)
    x = torch.randn(9, DIM, generator=generator, dtype=torch.float64)
    tables = {name: value[None] for name, value in covariance.items()}
    actual = family.log_density(x, mean[None], tables)[:, 0]
    torch.testing.assert_close(actual, MultivariateNormal(mean, dense(covariance)).log_prob(x))


@pytest.mark.parametrize("name", ["diag", "spherical", "full", "tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_maximisation_gives_the_weighted_moments(name, dtype, generator):
    x = torch.randn(80, DIM, generator=generator, dtype=dtype) @ torch.randn(
        DIM, DIM, generator=generator, dtype=dtype
    )
    weight = torch.rand(80, 2, generator=generator, dtype=dtype)
    weight /= weight.sum(1, keepdim=True)
    fitter = fit(covariance_family(name, 1), x, weight)
    each = torch.stack([x.double().T.cov(correction=0, aweights=w.double()) for w in weight.T])
    share = weight.double().sum(0) / len(x)
    expected = {
        "diag": each.diagonal(dim1=1, dim2=2).diag_embed(),
        "spherical": each.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(DIM),
        "full": each,
        "tied": (share[:, None, None] * each).sum(0, keepdim=True),
    }[name]
    tables = fitter.covariance
    count = next(iter(tables.values())).shape[1]
    actual = torch.stack([dense({key: table[0, k] for key, table in tables.items()}) for k in range(count)])
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    regularised = expected + 1e-6 * torch.eye(DIM)
    torch.testing.assert_close(actual, regularised, rtol=tolerance, atol=tolerance)
    means = (weight.T @ x).double() / weight.sum(0)[:, None].double()
    torch.testing.assert_close(fitter.mean[0], means, rtol=tolerance, atol=tolerance)


def test_densities_while_fitting_are_those_of_the_fitted_parameters(family, generator):
    x = torch.randn(60, DIM, generator=generator, dtype=torch.float64)
    weight = torch.rand(60, 2, generator=generator, dtype=torch.float64)
    fitter = fit(family, x, weight / weight.sum(1, keepdim=True))
    tables = [
        {name: table[0, min(k, table.shape[1] - 1)] for name, table in fitter.covariance.items()}
        for k in range(2)
    ]
    laws = [MultivariateNormal(mean, dense(own)) for mean, own in zip(fitter.mean[0], tables, strict=True)]
    expected = torch.stack([law.log_prob(x) for law in laws], 1)
    torch.testing.assert_close(fitter.log_density(fitter.prepare(x, 0), 0), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("distance", [1.0, 1e2, 1e3, 1e4])
def test_tight_clusters_far_apart_keep_their_variance_in_float32(family, distance, generator):
    """The variance of a cluster is found although (distance / σ)² is beyond float32's digits."""
    side = torch.arange(2000) % 2
    x = 1e-2 * torch.randn(2000, DIM, generator=generator) + (2 * side[:, None] - 1.0) * distance * 1e-2
    weight = torch.nn.functional.one_hot(side).float()
    fitter = fit(family, x, weight, FitSettings(0.0), passes=4)
    for k in range(2):
        tables = {name: table[0, min(k, table.shape[1] - 1)] for name, table in fitter.covariance.items()}
        expected = x[side == k].double().var(0, correction=0)
        torch.testing.assert_close(dense(tables).diagonal().mean(), expected.mean(), rtol=0.03, atol=0.0)
    chosen = fitter.log_density(fitter.prepare(x, 0), 0).argmax(1)
    assert (chosen == side).double().mean() > (0.85 if distance == 1.0 else 0.9999)


def test_inactive_conditions_keep_their_parameters(family, generator):
    x = torch.randn(40, DIM, generator=generator, dtype=torch.float64)
    labels = torch.arange(40) % 2
    moments = ConditionMoments.over([(x, labels)], full=family.full_moments)
    fitter = family.fitter(moments, 1, dtype=x.dtype, settings=SETTINGS)
    for active in ([True, True], [True, False]):
        before = {name: table.clone() for name, table in fitter.covariance.items()}
        for label in range(2):
            part = x[labels == label] * (1 if all(active) else 2)
            fitter.accumulate(fitter.prepare(part, label), label, torch.ones(20, 1).double())
        fitter.maximise(torch.tensor(active))
    for name, table in before.items():
        assert torch.equal(fitter.covariance[name][1], table[1])
    assert any(not torch.equal(fitter.covariance[name][0], table[0]) for name, table in before.items())


def test_covariances_of_few_examples_are_blended_with_the_common_one(generator):
    """a S + b (W Wᵀ + diag(ψ)) where there are few, else S itself."""
    few, basis = torch.tensor([True, False, True]), torch.randn(3, 2, DIM, 5, generator=generator).double()
    own = torch.randn(3, 2, DIM, DIM, generator=generator).double()
    a, b, factor = (torch.rand(size, generator=generator).double() for size in ((3,), (3,), (DIM, 2)))
    noise = torch.rand(DIM, generator=generator).double()
    shrunk = ShrunkCovariances(few, a, b, factor, noise)
    common = b[:, None, None, None] * (factor @ factor.T + noise.diag())
    whole = torch.where(few[:, None, None, None], a[:, None, None, None] * own + common, own)
    variances = own.diagonal(dim1=2, dim2=3)
    torch.testing.assert_close(shrunk.variances(variances), whole.diagonal(dim1=2, dim2=3))
    torch.testing.assert_close(shrunk.times(basis, own @ basis), whole @ basis)
    some = torch.tensor([2, 1])
    torch.testing.assert_close(
        shrunk.of(some).times(basis[some], own[some] @ basis[some]), (whole @ basis)[some]
    )


@pytest.mark.parametrize(
    ("below", "jitter"), [(-0.1, 0.0), (1e-14, 1e-14), (1e-12, 1e-12), (1e-10, 1e-10), (1e-8, 1e-8)]
)
def test_what_rounding_took_below_zero_is_lifted_by_the_least_share_of_the_mean_variance(below, jitter):
    """Two matrices whose variances, 1 added, are (4, −below) and (12, 6): 2 and 9 in the mean."""
    covariance = torch.tensor([[3.0, -1.0 - below], [11.0, 5.0]], dtype=torch.float64).diag_embed()
    factor = _cholesky(covariance[None], 1.0)[0]
    added = (factor @ factor.mT - covariance).diagonal(dim1=1, dim2=2) - 1
    expected = jitter * torch.tensor([[2.0, 2.0], [9.0, 9.0]], dtype=torch.float64)
    torch.testing.assert_close(added, expected, rtol=0.05, atol=5e-15)


@pytest.mark.parametrize(("below", "reg_covar"), [(1e-6, 1.0), (1e-14, 0.0)])
def test_a_matrix_that_is_clearly_indefinite_or_not_to_be_changed_is_refused(below, reg_covar):
    covariance = torch.tensor([3.0, -reg_covar - below], dtype=torch.float64).diag()
    with pytest.raises(torch.linalg.LinAlgError, match="a covariance is not positive definite"):
        _cholesky(covariance[None], reg_covar)
