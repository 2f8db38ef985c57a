"""What every family of covariances must do; the low-rank fit against factor analysis and PCA."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA, FactorAnalysis
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior import Prior
from flowprior.mixtures import families
from flowprior.mixtures.covariance import Covariance, FitSettings, Parameters, ShrunkCovariances
from flowprior.mixtures.families import (
    COVARIANCES,
    LEAST_NOISE,
    Full,
    LowRank,
    LowRankFitter,
    Tied,
    _cholesky,
    covariance_family,
)
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.mixture import lowrank_log_density, lowrank_posterior_sample

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


# -- the low-rank covariance ----------------------------------------------------------------------


def factor_data(count: int, dim: int, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of a factor model, with noise variances in [0.5, 1.5], and its covariance; float64."""
    factor = torch.randn(dim, rank, generator=generator, dtype=torch.float64)
    noise = 0.5 + torch.rand(dim, generator=generator, dtype=torch.float64)
    z = torch.randn(count, rank, generator=generator, dtype=torch.float64)
    epsilon = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return 3.0 + z @ factor.T + noise.sqrt() * epsilon, factor @ factor.T + noise.diag()


def fit_lowrank(x: Tensor, rank: int, passes: int = LowRankFitter.passes, seed: int = 0, **settings):
    """One component fitted to all rows."""
    generator = torch.Generator().manual_seed(seed)
    options = FitSettings(**{"reg_covar": 0.0, "generator": generator, **settings})
    fitter = LowRank(rank).fitter(ConditionMoments.over([(x, None)]), 1, dtype=x.dtype, settings=options)
    for _ in range(passes):
        for batch in x.split(500):
            fitter.accumulate(fitter.prepare(batch, 0), 0, torch.ones(len(batch), 1, dtype=x.dtype))
        fitter.maximise(torch.ones(1, dtype=torch.bool))
    return fitter.mean[0, 0], fitter.covariance["factor"][0, 0], fitter.covariance["noise"][0, 0]


def test_covariance_of_a_factor_model_is_recovered(generator):
    x, truth = factor_data(20_000, 40, 3, generator)
    mean, factor, noise = fit_lowrank(x, 3)
    torch.testing.assert_close(mean, x.mean(0))
    error = factor @ factor.T + noise.diag() - truth
    scale = truth.diagonal().sqrt()
    # The sampling error of a covariance, relative to its two scales, is about sqrt(2 / n) = 0.01.
    assert (error.abs() / scale.outer(scale)).max() < 0.05
    torch.testing.assert_close(
        error.diagonal() + truth.diagonal(), x.var(0, correction=0), rtol=0.01, atol=0.0
    )


def test_held_out_density_is_that_of_scikit_learns_factor_analysis(generator):
    x, _ = factor_data(2000, 16, 3, generator)
    train, held_out = x[:1000], x[1000:]
    mean, factor, noise = fit_lowrank(train, 3)
    ours = lowrank_log_density(held_out, mean[None], factor[None], noise[None]).mean().item()
    theirs = FactorAnalysis(3, tol=1e-8, max_iter=200, svd_method="lapack").fit(train.numpy())
    assert ours == pytest.approx(theirs.score(held_out.numpy()), abs=0.02), "nats of about -28"


@pytest.mark.parametrize(("rank", "passes"), [(2, 1), (2, 10), (5, 3), (30, 2)])
@pytest.mark.parametrize("dim", [12, 60])
def test_inferred_latents_average_to_mean_zero_and_unit_covariance_exactly(rank, passes, dim, generator):
    """(1/N) Σ E[z | x] = 0 and (1/N) Σ E[z zᵀ | x] = I, however far the subspace has converged."""
    x, _ = factor_data(400, dim, 3, generator)
    x = x * torch.linspace(0.2, 5, dim)
    mean, factor, noise = fit_lowrank(x, rank, passes)
    width = factor.shape[1]
    assert width == min(rank, dim)
    centre = lowrank_posterior_sample(x, mean, factor, noise, torch.zeros(400, width).double())
    unit = torch.eye(width, dtype=torch.float64)
    spread = lowrank_posterior_sample(mean.expand(width, -1), mean, factor, noise, unit)
    second = centre.T @ centre / len(x) + spread.T @ spread
    torch.testing.assert_close(centre.mean(0), torch.zeros(width).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(second, unit, rtol=0, atol=1e-6)


def test_isotropic_noise_is_probabilistic_pca(generator):
    """Tipping & Bishop (1999): σ² is the mean of the eigenvalues left out."""
    x, _ = factor_data(500, 14, 3, generator)
    _, factor, noise = fit_lowrank(x, 3, passes=40, isotropic=True)
    pca = PCA(3, svd_solver="full").fit(x.numpy())
    ratio = (len(x) - 1) / len(x)  # scikit-learn divides by n - 1
    expected = torch.from_numpy(pca.get_covariance()) * ratio
    torch.testing.assert_close(noise, torch.full_like(noise, pca.noise_variance_ * ratio))
    torch.testing.assert_close(factor @ factor.T + noise.diag(), expected, rtol=1e-6, atol=1e-8)


def test_with_fixed_noise_the_factor_explains_what_lies_above_it(generator):
    """W Wᵀ = V (Λ − σ²)₊ Vᵀ for the leading eigenpairs (Λ, V)."""
    x, _ = factor_data(800, 14, 3, generator)
    values, vectors = torch.linalg.eigh(x.T.cov(correction=0))
    _, factor, noise = fit_lowrank(x, 14, fixed_noise=1.0)
    assert (noise == 1).all()
    above = (vectors * (values - 1).clamp_min(0)) @ vectors.T
    torch.testing.assert_close(factor @ factor.T, above, rtol=1e-8, atol=1e-8)


def test_shrinkage_adds_pooled_rows_with_a_diagonal_covariance(generator):
    x, _ = factor_data(50, 6, 2, generator)
    y = torch.randn(150, 6, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0] * 50 + [1] * 150)
    moments = ConditionMoments.over([(torch.cat([x, y]), labels)])
    settings = FitSettings(0.0, shrinkage=25.0, fixed_noise=1e-9)
    fitter = LowRank(6).fitter(moments, 1, dtype=x.dtype, settings=settings)
    for label, part in enumerate((x, y)):
        fitter.accumulate(fitter.prepare(part, label), label, torch.ones(len(part), 1).double())
    fitter.maximise(torch.ones(2, dtype=torch.bool))
    pooled = moments.pooled()
    mean = (50 * x.mean(0) + 25 * pooled.mean) / 75
    torch.testing.assert_close(fitter.mean[0, 0], mean)
    apart, moved = x.mean(0) - mean, pooled.mean - mean
    within = x.T.cov(correction=0) + apart.outer(apart)
    expected = (50 * within + 25 * (pooled.variance.diag() + moved.outer(moved))) / 75
    dense = fitter.covariance["factor"][0, 0] @ fitter.covariance["factor"][0, 0].T
    torch.testing.assert_close(dense, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 200])
def test_conditions_that_are_turned_in_parts_are_those_turned_together(at_once, generator, monkeypatch):
    labels = torch.arange(350) % 7
    x = factor_data(350, 5, 2, generator)[0] * (1 + labels[:, None])
    options = {"components": 2, "covariance": "lowrank", "rank": 2, "shrinkage": 3.0, "max_iter": 4}
    whole = Prior.create("gmm", **options).fit((x, labels), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(families, "AT_ONCE", at_once)
    parts = Prior.create("gmm", **options).fit((x, labels), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
def test_a_condition_without_examples_takes_the_pooled_diagonal_and_no_factor(shrinkage, generator):
    x, _ = factor_data(200, 6, 2, generator)
    moments = ConditionMoments.over([(x, None)], conditions=2)
    settings = FitSettings(0.0, shrinkage=shrinkage, generator=generator)
    fitter = LowRank(2).fitter(moments, 1, dtype=x.dtype, settings=settings)
    for _ in range(3):
        fitter.accumulate(fitter.prepare(x, 0), 0, torch.ones(200, 1).double())
        fitter.maximise(torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(fitter.mean[1, 0], x.mean(0))
    torch.testing.assert_close(fitter.covariance["noise"][1, 0], x.var(0, correction=0))
    assert fitter.covariance["factor"][1, 0].abs().max() < 1e-6


def test_noise_is_bounded_below_so_that_no_dimension_is_taken_for_exact(generator):
    x, _ = factor_data(300, 12, 2, generator)
    x[:, :4] = 7.0
    mean, factor, noise = fit_lowrank(x, 3, reg_covar=1e-6)
    residual = (x.var(0, correction=0) - factor.square().sum(1)).clamp_min(0)
    assert (noise >= 0.9 * LEAST_NOISE * residual.mean()).all()
    assert not factor[:4].abs().max() > 1e-6, "nothing to explain in a constant"
    assert mean[:4].tolist() == pytest.approx([7.0] * 4)


def test_as_many_as_twenty_thousand_dimensions_need_no_square_matrix(generator):
    """A matrix of 20,000 by 20,000 would take 3.2 GB and eigenvalues without end."""
    direction = torch.randn(20_000, generator=generator)
    x = torch.randn(60, 1, generator=generator) * direction + 0.1 * torch.randn(
        60, 20_000, generator=generator
    )
    _, factor, _ = fit_lowrank(x, 1, passes=3)
    overlap = torch.nn.functional.cosine_similarity(factor[:, 0].float(), direction, dim=0)
    assert overlap.abs() > 0.99
