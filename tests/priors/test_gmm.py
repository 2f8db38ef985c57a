"""The gmm prior: its law, its conditions, its edge cases and its errors."""

from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.mixtures.families import COVARIANCES
from flowprior.priors import Prior
from flowprior.priors.gmm import GmmPrior
from tests.expected_warnings import FEW_EXAMPLES

MIXTURES = [(covariance, components) for covariance in COVARIANCES for components in (1, 3)]


def fitted(data, *, seed: int = 0, **options) -> GmmPrior:
    """A gmm fitted from a fixed seed; low rank 2 unless told otherwise."""
    prior = Prior.create("gmm", **{"rank": 2, **options})
    return prior.fit(data, generator=torch.Generator().manual_seed(seed))


def component_covariance(prior: GmmPrior, row: int, k: int) -> Tensor:
    """Dense Σ_ck."""
    own = {name: prior.get_buffer(name)[row] for name in prior.family.parameters}
    tables = {name: table[min(k, len(table) - 1)] for name, table in own.items()}
    dim = prior.loc.shape[-1]
    if "var" in tables:
        return tables["var"].expand(dim).diag()
    if "cholesky" in tables:
        return tables["cholesky"] @ tables["cholesky"].T
    return tables["factor"] @ tables["factor"].T + tables["noise"].diag()


def moments_of(prior: GmmPrior, row: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of p0(· | c) from the parameters."""
    weight, loc = prior.logits[row].softmax(0), prior.loc[row]
    second = sum(
        w * (component_covariance(prior, row, k) + loc[k].outer(loc[k])) for k, w in enumerate(weight)
    )
    mean = weight @ loc
    return mean, second - mean.outer(mean)


def check_sample_moments(sample: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Sample moments within five standard errors (those of a covariance from the sample itself)."""
    n = len(sample)
    assert ((sample.mean(0) - mean).abs() <= 5 * (covariance.diagonal() / n).sqrt()).all()
    centred = sample - mean
    products = centred[:, :, None] * centred[:, None]
    assert ((products.mean(0) - covariance).abs() <= 5 * products.std(0) / n**0.5).all()


# -- the law ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("covariance", "components"), MIXTURES)
def test_samples_of_each_condition_have_its_moments(covariance, components, three_classes, generator):
    prior = fitted(three_classes, covariance=covariance, components=components)
    cond = torch.arange(3).repeat(8000)
    x0 = prior.sample(cond, generator=generator)
    for label in range(3):
        check_sample_moments(x0[cond == label], *moments_of(prior, label))


@pytest.mark.parametrize(("covariance", "components"), MIXTURES)
def test_density_is_that_of_the_mixture_of_torch_normals(covariance, components, three_classes):
    x, labels = three_classes
    prior = fitted(three_classes, covariance=covariance, components=components)
    log_prob = prior.log_prob(x, labels)
    for label in range(3):
        rows = x[labels == label]
        joint = [
            prior.logits[label, k] + MultivariateNormal(prior.loc[label, k], dense).log_prob(rows)
            for k in range(components)
            for dense in [component_covariance(prior, label, k)]
        ]
        torch.testing.assert_close(log_prob[labels == label], torch.stack(joint, 1).logsumexp(1))


# -- the marginal -----------------------------------------------------------------------------


def test_marginal_draws_conditions_as_often_as_the_data_had_them(generator):
    centres = torch.tensor([[0.0], [100.0], [200.0]]).double()
    labels = torch.tensor([0] * 10 + [2] * 30)
    x = centres[labels] + torch.randn(40, 1, generator=generator, dtype=torch.float64)
    prior = fitted((x, labels))
    n = 8000
    drawn = (prior.sample_marginal(n, generator=generator) / 100).round().long()[:, 0]
    share = torch.bincount(drawn, minlength=3) / n
    truth = torch.tensor([0.25, 0.0, 0.75])
    assert ((share - truth).abs() <= 5 * (truth * (1 - truth) / n).sqrt()).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_marginal_density_is_the_weighted_sum_over_conditions(covariance, three_classes):
    x, labels = three_classes
    labels = labels * 2  # labels 1 and 3 had no example
    prior = fitted((x, labels), covariance=covariance, components=2)
    weight = torch.tensor([100, 200, 300]).double() / 600
    joint = [w.log() + prior.log_prob(x, torch.full_like(labels, 2 * c)) for c, w in enumerate(weight)]
    torch.testing.assert_close(prior.log_prob_marginal(x), torch.stack(joint, 1).logsumexp(1))


# -- latents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_responsibilities_are_bayes_rule(covariance, three_classes):
    x, labels = three_classes
    prior = fitted(three_classes, covariance=covariance, components=3)
    responsibilities = prior._responsibilities(x, labels)
    assert responsibilities.shape == (600, 3)
    label = labels[0]
    joint = torch.stack(
        [
            prior.logits[label, k].exp()
            * MultivariateNormal(prior.loc[label, k], component_covariance(prior, int(label), k))
            .log_prob(x[0])
            .exp()
            for k in range(3)
        ]
    )
    torch.testing.assert_close(responsibilities[0], joint / joint.sum())


@pytest.mark.parametrize("covariance", ["diag", "full", "tied", "spherical"])
def test_inferred_starts_come_from_the_component_of_the_datum(covariance, generator):
    side = torch.arange(400) % 2
    x = torch.randn(400, 2, generator=generator, dtype=torch.float64) + 50.0 * side[:, None]
    labels = torch.arange(400) // 200
    prior = fitted((x, labels), covariance=covariance, components=2)
    x0 = prior.infer(x, labels, generator=generator)
    assert ((x0[:, 0] > 25) == side.bool()).all()
    spread = (x0 - x)[side == 1]
    assert spread.var(0).mean() == pytest.approx(2, rel=0.3), "within it, independent of the datum"


def test_inferred_starts_follow_the_factor_and_keep_the_law_of_the_prior(generator):
    """E[x0 | x1] = μ + W E[z | x1]; over the data x0 has the prior's mean and covariance."""
    factor = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    z = torch.randn(6000, 2, generator=generator, dtype=torch.float64)
    x1 = z @ factor.T + torch.randn(6000, 4, generator=generator, dtype=torch.float64) + 5
    prior = fitted((x1, None), covariance="lowrank", rank=2)
    x0 = prior.infer(x1, generator=generator)
    mean, covariance = moments_of(prior, 0)
    check_sample_moments(x0, mean, covariance)
    wide, noise = prior.get_buffer("factor")[0, 0], prior.get_buffer("noise")[0, 0]
    explained = wide @ torch.linalg.solve(wide @ wide.T + noise.diag(), wide).T
    cross = (x0 - mean).T @ (x1 - mean) / len(x1)
    expected = explained @ x1.T.cov(correction=0)
    torch.testing.assert_close(cross, expected, rtol=0, atol=5 * float(covariance.max()) / 6000**0.5)


def test_inference_is_the_same_whatever_the_rows_are_batched_with(three_classes):
    """Noise is drawn before rows are grouped, so one row's start knows nothing of the others."""
    x, labels = three_classes
    prior = fitted(three_classes, covariance="lowrank", components=1)
    first = prior.infer(x[:50], labels[:50], generator=torch.Generator().manual_seed(0))
    other = labels[:50].clone()
    other[1:] = (other[1:] + 1) % 3
    second = prior.infer(x[:50], other, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1:], second[1:])


# -- conditions -------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_without_a_condition_there_is_one_mixture_that_ignores_what_it_is_asked_for(
    covariance, three_classes, generator
):
    x, labels = three_classes
    prior = fitted(x, covariance=covariance, components=3)
    assert not prior.seen.has_labels
    assert prior.sample(n=7, generator=generator).shape == (7, 4)
    assert torch.equal(prior.log_prob(x), prior.log_prob(x, labels))
    assert torch.equal(prior.log_prob(x), prior.log_prob_marginal(x))
    torch.testing.assert_close(prior.mean(n=1)[0], x.mean(0), rtol=0, atol=1e-3)


def test_labels_that_the_fit_did_not_see_are_refused(three_classes):
    x, labels = three_classes
    prior = fitted((x, labels * 2))
    calls = (prior.sample, prior.mean, lambda cond: prior.log_prob(x[: len(cond)], cond))
    for label, why in (
        (5, r"expected labels 0\.\.4"),
        (-1, "expected labels"),
        (3, "no example.*unseen=pooled"),
    ):
        for call in calls:
            with pytest.raises(InputError, match=f"^gmm.*: cond has label {label}, .*{why}"):
                call(torch.tensor([0, label]))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_unseen_labels_may_start_from_the_marginal_source(covariance, three_classes):
    x, labels = three_classes
    prior = fitted((x, labels * 2), covariance=covariance, components=2, unseen="pooled")
    cond = torch.tensor([1, 9, -3, 3])
    torch.testing.assert_close(prior.mean(cond), x.mean(0).expand(4, -1))
    torch.testing.assert_close(prior.log_prob(x[:4], cond), prior.log_prob_marginal(x[:4]))
    mixed = torch.tensor([1, 4, 0, 9])
    expected = torch.where(
        mixed % 9 == 4, prior.log_prob(x[:4], torch.full((4,), 4)), prior.log_prob_marginal(x[:4])
    )
    expected[2] = prior.log_prob(x[2:3], mixed[2:3])[0]
    torch.testing.assert_close(prior.log_prob(x[:4], mixed), expected)
    assert prior.unseen_rows(mixed).tolist() == [True, False, False, True]
    drawn = prior.sample(torch.full((3000,), 7), generator=torch.Generator().manual_seed(0))
    marginal = prior.sample_marginal(3000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(0), marginal.mean(0), atol=0.25, rtol=0.1)
    torch.testing.assert_close(drawn.var(0), marginal.var(0), atol=0.1, rtol=0.15)
    seen = torch.tensor([0, 4])
    alone = fitted((x, labels * 2), covariance=covariance, components=2)
    assert torch.equal(prior.log_prob(x[:2], seen), alone.log_prob(x[:2], seen))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_shrinkage_serves_classes_with_no_one_or_two_examples(covariance, generator):
    x = torch.randn(203, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0])
    labels = torch.tensor([1] * 200 + [2] * 1 + [3] * 2)
    s = 4.0
    prior = fitted((x, labels), covariance=covariance, rank=3, shrinkage=s, conditions=5)
    pooled_mean, pooled = x.mean(0), x.T.cov(correction=0)
    held = pooled if covariance in ("full", "tied") else pooled.diagonal().diag()
    for label, count in ((0, 0), (4, 0), (2, 1), (3, 2), (1, 200)):
        part = x[labels == label]
        mean = (part.sum(0) + s * pooled_mean) / (count + s)
        second = (part.T @ part + s * (held + pooled_mean.outer(pooled_mean))) / (count + s)
        expected = second - mean.outer(mean)
        ours_mean, ours = moments_of(prior, label)
        torch.testing.assert_close(ours_mean, mean)
        if covariance in ("full", "tied"):
            torch.testing.assert_close(ours, expected + 1e-6 * torch.eye(3))
        elif covariance == "diag":
            torch.testing.assert_close(ours.diagonal(), expected.diagonal() + 1e-6)
        elif covariance == "spherical":
            torch.testing.assert_close(ours.trace(), expected.trace() + 3e-6)
        else:
            torch.testing.assert_close(ours.diagonal(), expected.diagonal(), rtol=0.1, atol=0.0)
    assert prior.sample(torch.tensor([0, 2, 3, 4]), generator=generator).isfinite().all()


def test_conditions_name_the_number_of_classes(three_classes):
    assert len(fitted(three_classes, conditions=7).count) == 7
    with pytest.raises(InputError, match=r"labels reach 2, expected 0\.\.1; raise conditions= or drop"):
        fitted(three_classes, conditions=2)
    with pytest.raises(InputError, match="label 6, which had no example"):
        fitted(three_classes, conditions=7).sample(torch.tensor([6]))


@FEW_EXAMPLES
def test_more_components_than_examples_are_refused(three_classes):
    x, _ = three_classes
    labels = torch.tensor([0] * 597 + [1] * 3)
    with pytest.raises(InputError) as caught:
        fitted((x, labels), components=4)
    assert str(caught.value) == (
        "gmm.fit: condition 1 has 3 example(s), fewer than components=4; lower components, "
        "or set shrinkage > 0"
    )
    with pytest.raises(InputError, match=r"the data set has 2 example\(s\)"):
        fitted(x[:2], components=3)
    assert fitted((x, labels), components=4, shrinkage=1.0).is_fitted


@pytest.mark.parametrize("cond", [None, torch.zeros(2), torch.zeros(2, 1).long(), torch.zeros(2, 3)])
def test_conditions_of_another_kind_are_refused(cond, three_classes):
    with pytest.raises(InputError, match=r"^gmm\.sample: expected .*labels \[B\].*, got"):
        fitted(three_classes).sample(cond, 2 if cond is None else None)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (torch.zeros(600), r"got whole numbers as torch.float32 \[600\]; pass labels as integers"),
        (torch.rand(600), r"expected labels as integers \[B\] or None"),
        (torch.zeros(600, 2), r"expected labels as integers \[B\] or None"),
        (torch.zeros(600, 2).long(), r"expected labels as integers \[B\] or None"),
    ],
)
def test_only_labels_can_be_fitted(cond, message, three_classes):
    with pytest.raises(InputError, match=f"gmm.fit: {message}"):
        fitted((three_classes[0], cond))


# -- options and degenerate data ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "components=0 is not possible; expected a whole number, 1 or more"),
        ({"components": 2.0}, "components=2.0 is not possible; expected a whole number"),
        ({"components": True}, "components=True is not possible; expected a whole number"),
        ({"rank": 0}, "rank=0 is not possible; expected a whole number, 1 or more"),
        ({"max_iter": 0}, "max_iter=0 is not possible; expected a whole number, 1 or more"),
        ({"conditions": 0}, "conditions=0 is not possible; expected a whole number, 1 or more"),
        ({"reg_covar": -1e-6}, "expected reg_covar to be a finite number >= 0"),
        ({"reg_covar": "small"}, "reg_covar='small' is not possible; expected a finite number"),
        ({"shrinkage": float("inf")}, "shrinkage=inf is not possible; expected a finite number"),
        ({"tol": float("nan")}, "tol=nan is not possible; expected a finite number"),
        ({"covariance": "diagonal"}, "covariance='diagonal' is not possible; did you mean 'diag'"),
        ({"unseen": "pool"}, "unseen='pool' is not possible; did you mean 'pooled'"),
        ({"component": 3}, "has no option 'component'; did you mean 'components'"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options, message):
    with pytest.raises(OptionError, match=message) as caught:
        Prior.create("gmm", **options)
    assert "gmm" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("covariance", "components"), MIXTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_spread_and_no_floor_is_an_error_and_never_a_nan(covariance, components, dtype, generator):
    x = torch.randn(20, 3, generator=generator).to(dtype)
    labels = torch.tensor([0] * 10 + [1] * 10)
    x[labels == 1] = 2.0
    with pytest.raises(InputError, match=r"no spread in some dimension and reg_covar=0.*; set reg_covar > 0"):
        fitted((x, labels), covariance=covariance, components=components, reg_covar=0.0)
    prior = fitted((x, labels), covariance=covariance, components=components)
    assert prior.log_prob(x, labels).isfinite().all()


def test_a_full_covariance_that_cannot_fit_in_memory_is_refused():
    x = torch.zeros(2, 40_000)
    with pytest.raises(OptionError, match=r"in 40000 dimensions takes 12 GiB .* use covariance='lowrank'"):
        fitted(x, covariance="full")


# -- state ------------------------------------------------------------------------------------


def test_a_checkpoint_with_another_number_of_components_is_refused(three_classes):
    state = fitted(three_classes, components=3).state_dict()
    with pytest.raises(CheckpointError, match="has components=3, this prior components=1; create it with"):
        Prior.create("gmm", components=1).load_state_dict(state)


def test_defaults_are_those_of_scikit_learn():
    own, theirs = Prior.create("gmm"), GaussianMixture()
    assert own.components == theirs.n_components
    assert (own.tol, own.reg_covar, own.max_iter) == (theirs.tol, theirs.reg_covar, theirs.max_iter)
