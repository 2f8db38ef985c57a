"""A prior moved by what is trained with the flow: its law, its gradients, its terms of the loss."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from flowprior.couplings import Coupling, source_gap
from flowprior.errors import InputError, OptionError
from flowprior.priors import LatentPrior, Prior, ShiftedPrior
from flowprior.priors.shifted import direction_off, spread_from_fit
from tests.expected_warnings import UNCONVERGED

LABELS = torch.arange(60) % 3
X = torch.randn(60, 2, 3, generator=torch.Generator().manual_seed(0)) + LABELS[:, None, None]
EMBEDDINGS = torch.nn.functional.one_hot(LABELS, 4).float()
SPECS = [
    "shifted",
    "shifted:scale=true",
    "shifted:prior=latent-gmm:rank=2,scale=true",
    "shifted:prior=gmm",
    "shifted:shift=false,scale=true",
]


def moved(
    spec: str = "shifted", cond: Tensor | None = LABELS, dtype: torch.dtype = torch.float64
) -> ShiftedPrior:
    """A fitted prior whose trained numbers are none of them zero."""
    generator = torch.Generator().manual_seed(1)
    prior = cast("ShiftedPrior", Prior.registry.resolve(spec))
    prior.fit((X.to(dtype), cond if cond is None or not cond.is_floating_point() else cond.to(dtype)))
    assert prior.trained is not None
    with torch.no_grad():
        for weight in prior.trained.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=dtype))
    return prior


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- the law ------------------------------------------------------------------------------------


@UNCONVERGED
@pytest.mark.parametrize("spec", ["gaussian", "latent-gmm", "learned-mean:epochs=1", "kernel-mean"])
def test_before_it_is_trained_it_is_the_prior_that_it_moves(spec: str) -> None:
    alone = Prior.registry.resolve(spec).fit((X, LABELS), generator=seeded())
    prior = Prior.create("shifted", prior=spec).fit((X, LABELS), generator=seeded())
    torch.testing.assert_close(
        prior.sample(LABELS, generator=seeded(3)), alone.sample(LABELS, generator=seeded(3)), rtol=0, atol=0
    )
    torch.testing.assert_close(prior.log_prob(X, LABELS), alone.log_prob(X, LABELS), rtol=0, atol=0)
    torch.testing.assert_close(prior.mean(LABELS), alone.mean(LABELS), rtol=0, atol=0)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("cond", [None, LABELS], ids=["none", "labels"])
def test_mean_and_density_are_those_of_the_samples(spec: str, cond: Tensor | None) -> None:
    prior = moved(spec, cond)
    asked = None if cond is None else torch.full((20_000,), 1)
    x0 = prior.sample(asked, 20_000, generator=seeded())
    error = 5 * x0.std(0) / math.sqrt(20_000)
    assert ((x0.mean(0) - prior.mean(asked, 20_000)[0]).abs() < error).all()
    ratio = (prior.log_prob(x0 + 0.05 * x0.std(0), asked) - prior.log_prob(x0, asked)).exp().detach()
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / math.sqrt(20_000)


def test_the_scale_widens_about_the_mean_of_the_other_prior() -> None:
    prior, label = moved("shifted:prior=gmm,scale=true"), torch.full((20_000,), 2)
    fixed, own = (p.sample(label, generator=seeded()) for p in (prior.fixed, prior))
    scale = own.std(0) / fixed.std(0)
    torch.testing.assert_close(scale, scale.flatten()[0].expand_as(scale))
    assert 0.5 < float(scale.flatten()[0]) < 2
    assert abs(float(scale.flatten()[0]) - 1) > 0.05


def test_the_marginal_is_that_of_moved_conditions() -> None:
    prior = moved()
    x0 = prior.sample_marginal(20_000, generator=seeded())
    error = 5 * x0.std(0) / math.sqrt(20_000)
    assert ((x0.mean(0) - prior.marginal_mean()).abs() < error).all()
    expected = torch.stack([prior.log_prob(X.double(), torch.full((60,), c)) for c in range(3)]).logsumexp(0)
    torch.testing.assert_close(prior.log_prob_marginal(X.double()), expected - math.log(3))


def test_the_mean_of_all_follows_the_training() -> None:
    prior = moved()
    before = prior.marginal_mean()
    assert prior.trained is not None
    with torch.no_grad():
        for weight in prior.trained.parameters():
            weight.add_(1)
    torch.testing.assert_close(prior.marginal_mean(), before + 1)


def test_embeddings_have_a_network_and_labels_a_table() -> None:
    table, network = moved(), moved(cond=EMBEDDINGS)
    assert table.trained is not None
    assert network.trained is not None
    assert [tuple(p.shape) for p in table.trained.parameters()] == [(3, 6)]
    assert len(list(network.trained.parameters())) > 4
    means = network.mean(torch.eye(4, dtype=torch.float64))
    assert not torch.allclose(means[0], means[1])


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["shifted:prior=latent-gmm:rank=2", "shifted:prior=latent-gmm,scale=true"])
def test_samples_with_inferred_latents_follow_the_moved_prior(spec: str) -> None:
    """However far it has moved: training and sampling start at one law."""
    generator = seeded(5)
    labels = torch.arange(1200) % 3
    x = torch.randn(1200, 6, generator=generator) * torch.tensor([2.0, 1, 1, 1, 0.3, 0.3]) + labels[:, None]
    prior = cast("ShiftedPrior", Prior.registry.resolve(spec)).fit((x, labels), generator=generator)
    assert isinstance(prior, ShiftedPrior)
    assert prior.trained is not None
    with torch.no_grad():
        for weight in prior.trained.parameters():
            weight.copy_(3 * torch.rand(weight.shape, generator=generator))
    gap = source_gap(Coupling.create("posterior"), prior, x, labels, generator=seeded())
    assert gap.p_value > 0.01


def test_a_smoothing_prior_smooths_around_the_shift() -> None:
    few = torch.arange(12) % 3
    prior = cast("ShiftedPrior", Prior.create("shifted", prior="latent-gmm:rank=2")).fit((X[:12], few))
    assert isinstance(prior, LatentPrior)
    assert prior.smooths
    assert prior.trained is not None
    x0 = prior.infer(X[:12], few, generator=seeded())
    still, data = prior.smoothed(x0, X[:12], few, generator=seeded(1))
    with torch.no_grad():
        next(prior.trained.parameters()).fill_(2.0)
    far, same = prior.smoothed(x0 + 2, X[:12], few, generator=seeded(1))
    torch.testing.assert_close(far, still + 2)
    torch.testing.assert_close(same, data)
    assert not torch.equal(still, x0)


# -- gradients ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("cond", [None, LABELS, EMBEDDINGS], ids=["none", "labels", "embeddings"])
def test_gradients_of_rsample_are_right(spec: str, cond: Tensor | None) -> None:
    if cond is not None and cond.is_floating_point():
        if "gmm" in spec:
            pytest.skip("takes no embeddings")
        spec += ("," if ":" in spec else ":") + "hidden=3,depth=1"
        cond = cond.double()
    prior = moved(spec, cond)
    assert prior.trained is not None
    weights = list(prior.trained.parameters())

    def drawn(*given: Tensor) -> Tensor:
        return prior.rsample(None if cond is None else cond[:4], 4, generator=seeded(7))

    assert torch.equal(drawn(), prior.sample(None if cond is None else cond[:4], 4, generator=seeded(7)))
    assert torch.autograd.gradcheck(drawn, weights, raise_exception=True)
    x0 = prior.fixed.sample(None if cond is None else cond[:4], 4, generator=seeded(7))
    assert torch.equal(prior.moved(x0, None if cond is None else cond[:4]), drawn())


def test_samples_means_and_inferred_samples_ask_for_no_gradient() -> None:
    prior = moved("shifted:prior=latent-gmm:rank=2,scale=true")
    for events in (prior.sample(LABELS), prior.mean(LABELS), prior.infer(X.double(), LABELS)):
        assert not events.requires_grad
    assert prior.rsample(LABELS).requires_grad


@pytest.mark.parametrize("coupling", ["condot", "posterior", "ot"])
def test_a_coupling_draws_with_gradients(coupling: str) -> None:
    prior, pairing = moved("shifted:prior=latent-gmm:rank=2"), Coupling.create(coupling)
    assert prior.trained is not None
    x0 = pairing.rdraw(prior, X.double(), LABELS, generator=seeded())
    torch.testing.assert_close(x0, pairing.draw(prior, X.double(), LABELS, generator=seeded()))
    (x0 - X.double()).square().sum().backward()
    expected = torch.stack([2 * (x0 - X.double())[c == LABELS].sum(0).flatten() for c in range(3)])
    torch.testing.assert_close(next(prior.trained.parameters()).grad, expected.detach())


def test_what_is_not_trained_is_refused_in_one_line() -> None:
    prior = Prior.create("gmm").fit((X, LABELS))
    with pytest.raises(
        OptionError, match=r"gmm.rsample: nothing of this prior is trained.*shifted:prior=gmm"
    ):
        prior.rsample(LABELS)
    with pytest.raises(OptionError, match=r"condot.rdraw: nothing of the prior 'gmm' is trained"):
        Coupling.create("condot").rdraw(prior, X, LABELS)
    assert float(prior.loss(X, LABELS)) == 0


# -- its terms of the loss -------------------------------------------------------------------------


def test_the_variance_term_is_the_divergence_of_gaussians() -> None:
    scale = torch.tensor([[0.5], [1.0], [1.7]], dtype=torch.float64)
    own, fitted = (torch.distributions.Normal(0.0, spread) for spread in (scale, torch.ones_like(scale)))
    expected = torch.distributions.kl_divergence(own, fitted).mean()
    torch.testing.assert_close(spread_from_fit(scale), expected)
    assert float(spread_from_fit(torch.ones(3, 1))) == 0


def test_the_directional_term_is_least_along_the_datum() -> None:
    x1 = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert float(direction_off(0.5 * x1, x1)) == pytest.approx(0, abs=1e-6)
    assert float(direction_off(-x1, x1)) == pytest.approx(2)
    aside = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    assert float(direction_off(aside, x1)) == pytest.approx(1 - (0.6 + math.sqrt(0.5)) / 2)
    assert float(direction_off(torch.zeros(2, 2), torch.zeros(2, 2))) == 1
    mean = torch.zeros(2, 2, requires_grad=True)
    direction_off(mean, x1).backward()
    assert mean.grad is not None
    torch.testing.assert_close(mean.grad, -x1 / (0.2 * x1.square().sum(1, keepdim=True)))


def test_the_weights_of_the_terms_are_options() -> None:
    x1 = X.double()
    assert moved().loss(x1, LABELS).item() == 0
    one, three = (moved(f"shifted:scale=true,variance={w}").loss(x1, LABELS).item() for w in (1, 3))
    assert one > 0
    assert three == pytest.approx(3 * one)
    assert moved("shifted:align=0.5").loss(x1, LABELS).item() > 0


def test_the_scale_stays_between_a_half_and_two() -> None:
    prior = moved("shifted:scale=true")
    assert prior.trained is not None
    for value, scale in ((-100.0, 0.5), (100.0, 2.0)):
        with torch.no_grad():
            next(prior.trained.parameters()).fill_(value)
        assert prior.measures()["prior_scale"] == pytest.approx(scale)


# -- options, files, refusals ---------------------------------------------------------------------


def test_the_other_prior_may_have_options_of_its_own() -> None:
    prior = Prior.registry.resolve("shifted:prior=gmm:components=2;covariance=lowrank,rate=5")
    assert (prior.inner.components, prior.inner.covariance, prior.rate) == (2, "lowrank", 5)


def test_a_scale_may_be_trained_alone() -> None:
    prior = moved("shifted:prior=gmm,shift=false,scale=true")
    assert torch.equal(prior.mean(LABELS), prior.fixed.mean(LABELS))
    assert prior.measures().keys() == {"prior_scale"}
    with pytest.raises(OptionError, match="expected something to train"):
        Prior.create("shifted", shift=False)


def test_a_prior_that_is_trained_itself_is_refused() -> None:
    with pytest.raises(OptionError, match="expected a prior that is not trained itself, got prior=shifted"):
        Prior.create("shifted", prior="shifted")


def test_labels_that_fit_did_not_see_are_the_other_priors_business() -> None:
    with pytest.raises(InputError, match=r"shifted.sample: cond has label 9"):
        moved().sample(torch.tensor([9]))
    prior = moved("shifted:prior=latent-gmm:unseen=pooled", dtype=torch.float32)
    assert prior.sample(torch.tensor([9, 1])).shape == (2, 2, 3)
    found = prior.log_prob(X[:2], torch.tensor([9, 1]))
    torch.testing.assert_close(found[0], prior.log_prob_marginal(X[:1])[0])


def test_a_part_of_a_condition_is_read_by_both() -> None:
    parts = {"kind": LABELS, "caption": EMBEDDINGS}
    prior = Prior.create("shifted", prior="latent-gmm:rank=2", reads="kind").fit((X, parts))
    x0 = prior.infer(X, parts, generator=seeded())
    assert torch.equal(x0, prior.fixed.infer(X, parts, generator=seeded()))


def test_a_saved_prior_is_the_one_in_memory(tmp_path) -> None:
    prior = moved("shifted:prior=latent-gmm:rank=2,scale=true", dtype=torch.float32)
    prior.save(tmp_path / "prior")
    loaded = Prior.load(tmp_path / "prior")
    assert torch.equal(loaded.sample(LABELS, generator=seeded()), prior.sample(LABELS, generator=seeded()))
    assert torch.equal(loaded.log_prob(X, LABELS), prior.log_prob(X, LABELS))
