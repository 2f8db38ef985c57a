"""A mean that is given: exact for Gaussian data, from a part or a network, saved, and what is refused."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior import Coupling, Flow, Path, Prior, train
from flowprior.conditions import Condition
from flowprior.errors import CheckpointError, InputError, OptionError

SLOPE = torch.tensor([[1.0, -0.5, 0.0], [0.3, 0.0, 2.0]])
SHIFT = torch.tensor([0.5, -1.0, 0.0])
FACTOR = torch.tensor([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.2, 0.1, 0.6]])
SPREADS = ("scalar", "diagonal", "lowrank")


class Regression(nn.Module):
    """m(c) = A c, as somebody's regression would be, without the shift of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3, bias=False)
        self.linear.weight.data = SLOPE.T.clone()

    def forward(self, c: Tensor) -> Tensor:
        return self.linear(c)


class Nothing(nn.Module):
    """A network that adds nothing to the linear velocity."""

    def forward(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        return torch.zeros_like(x)


def linear_data(n: int = 2000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    c, noise = torch.randn(n, 2, generator=generator), torch.randn(n, 3, generator=generator)
    noise = noise - noise.mean(0)
    noise = noise @ torch.linalg.inv(torch.linalg.cholesky(noise.T.cov(correction=0))).T  # of moments 0 and I
    return c @ SLOPE + SHIFT + noise @ FACTOR.T, c


def around(**options: Any) -> Prior:
    return Prior.create("around", mean=Regression().eval(), **options)


@pytest.mark.parametrize("coupling", ["condot", "posterior"])
def test_gaussian_data_around_a_linear_mean_have_the_exact_flow(coupling: str) -> None:
    x, c = linear_data()
    prior = around(sigma="lowrank", rank=3, source_noise=0.0).fit((x, c))
    condition = Condition("embeddings", 2)
    parts = Coupling.create(coupling), Path.create("condot"), condition
    flow = Flow(Nothing(), prior, *parts, prediction="residual")
    given = torch.tensor([[1.0, -2.0]])
    exact = torch.distributions.MultivariateNormal((given @ SLOPE + SHIFT)[0], FACTOR @ FACTOR.T)
    points = exact.sample((50,))
    density = flow.log_prob(points, given.expand(50, 2), rtol=1e-6, atol=1e-6)
    same_shape = prior.log_prob(points - SHIFT, given.expand(50, 2))
    torch.testing.assert_close(density, same_shape, atol=2e-3, rtol=0)
    assert (density - exact.log_prob(points)).abs().mean() < 0.05, "up to the fit of the covariance"
    drawn = flow.sample(given.expand(20_000, 2), sampler="dopri5", generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(0), exact.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), exact.covariance_matrix, atol=0.03, rtol=0)


@pytest.mark.parametrize("sigma", SPREADS)
def test_source_samples_lie_around_the_mean_as_given_with_the_spread_of_the_residuals(sigma: str) -> None:
    x, c = linear_data()
    prior = around(sigma=sigma, rank=3).fit((x, c))
    given = torch.tensor([[1.0, -2.0]]).expand(20_000, 2)
    x0 = prior.sample(given, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(x0.mean(0), (given @ SLOPE)[0], atol=0.03, rtol=0)
    torch.testing.assert_close(prior.mean(given[:1]), given[:1] @ SLOPE)
    covariance = FACTOR @ FACTOR.T
    expected = {
        "scalar": covariance.diagonal().mean() * torch.eye(3),
        "diagonal": covariance.diagonal().diag(),
        "lowrank": covariance,
    }[sigma]
    torch.testing.assert_close(x0.T.cov(), expected, atol=0.03, rtol=0)
    exact = torch.distributions.MultivariateNormal((given @ SLOPE)[0], expected)
    assert (prior.log_prob(x0[:50], given[:50]) - exact.log_prob(x0[:50])).abs().mean() < 0.05
    law = Coupling.create("condot").law(prior, given[:1])
    torch.testing.assert_close(law.data_mean - law.source_mean, SHIFT[None], atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "spec",
    ["kernel-mean:sigma=lowrank", "learned-mean:sigma=lowrank,rank=3,source_noise=0,holdout=0.5,hidden=16"],
)
def test_other_means_have_the_low_rank_covariance_of_their_residuals_too(spec: str) -> None:
    x, c = linear_data()
    labels = torch.arange(len(x)) % 2
    means = torch.tensor([[2.0, 0.0, 0.0], [0.0, -3.0, 1.0]])
    data = means[labels] + x - c @ SLOPE - SHIFT
    prior = Prior.create(spec).fit((data, labels), generator=torch.Generator().manual_seed(0))
    exact = torch.distributions.MultivariateNormal(means[1], FACTOR @ FACTOR.T)
    points, one = exact.sample((5000,)), torch.ones(5000, dtype=torch.long)
    assert (prior.log_prob(points, one) - exact.log_prob(points)).abs().mean() < 0.1
    inferred = prior.infer(points, one, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(inferred.T.cov(), points.T.cov(), atol=0.03, rtol=0)
    correlation = torch.corrcoef(torch.cat([points.T, inferred.T]))[:3, 3:].diagonal()
    assert bool((correlation > 0.3).all()), "their latents are those of the data"


def pictures(n: int = 60) -> tuple[Tensor, dict[str, Tensor]]:
    """Images, the means over squares of 2 × 2 of their pixels as drafts, and labels."""
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    draft = nn.functional.avg_pool2d(x, 2)
    return x, {"draft": draft, "label": torch.arange(n) % 3}


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic", "area"])
def test_a_part_of_the_condition_is_the_mean_and_is_resized_by_the_rule(resize: str) -> None:
    x, cond = pictures()
    prior = Prior.create(f"around:part=draft,resize={resize}").fit((x, cond))
    expected = nn.functional.interpolate(cond["draft"], (8, 8), mode=resize)
    torch.testing.assert_close(prior.mean(cond), expected)
    flow = train((x, cond), prior=prior, steps=2, model="unet:widths=4-8", device="cpu", progress=False)
    assert (flow.coupling.name, flow.prediction) == ("condot", "residual")
    assert flow.sample(cond, nfe=2).shape == x.shape


def test_the_network_stays_in_evaluation_mode_and_gets_no_gradient() -> None:
    x, c = linear_data(100)
    network = nn.Sequential(nn.Dropout(0.5), Regression()).eval()
    prior = Prior.create("around", mean=network).fit((x, c))
    known = prior.mean(c)
    network.train()
    prior.train()
    assert torch.equal(prior.mean(c), known)
    points = x.clone().requires_grad_()
    prior.log_prob(points, c).sum().backward()
    assert points.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("sigma", ["scalar", "lowrank"])
def test_pairs_of_the_null_condition_have_the_means_of_all_source_samples_and_data(sigma: str) -> None:
    x, c = linear_data()
    prior = around(sigma=sigma, rank=2).fit((x, c))
    null = Condition("embeddings", 2).null(c[:1])
    law = Coupling.create("condot").law(prior, null)
    torch.testing.assert_close(law.source_mean, (c @ SLOPE).mean(0, keepdim=True), atol=0.05, rtol=0)
    torch.testing.assert_close(law.source_mean, prior.mean(null), atol=0.05, rtol=0)
    torch.testing.assert_close(law.data_mean, x.mean(0, keepdim=True), atol=1e-4, rtol=0)


def test_a_network_of_your_own_is_saved_with_the_flow_and_given_to_load(tmp_path: FilePath) -> None:
    x, c = linear_data(200)
    flow = train((x, c), prior=around(sigma="lowrank"), steps=3, device="cpu", progress=False)
    assert flow.coupling.name == "posterior"
    flow.save(tmp_path / "flow")
    flow.prior.save(tmp_path / "prior")
    blank = Regression()
    blank.linear.weight.data.zero_()
    again = Flow.load(tmp_path / "flow", prior=Prior.create("around", mean=blank.eval(), sigma="lowrank"))
    drawn = [f.sample(c[:5], nfe=3, generator=torch.Generator().manual_seed(0)) for f in (flow, again)]
    assert torch.equal(*drawn)
    own = Prior.create("around", mean=Regression().eval(), sigma="lowrank")
    assert torch.equal(Prior.load(tmp_path / "prior", prior=own).mean(c), flow.prior.mean(c))
    with pytest.raises(CheckpointError, match=r"expected prior='around:sigma=lowrank', .* got 'around'"):
        Flow.load(tmp_path / "flow", prior=around())
    for load, folder in ((Flow.load, "flow"), (Prior.load, "prior")):
        with pytest.raises(CheckpointError, match="its mean is a network of your own; give it to load as"):
            load(tmp_path / folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": 3}, "expected mean to be a network or a function, got 3"),
        ({"mean": Regression().train()}, "expected mean in evaluation mode, got training; call mean.eval"),
        ({"sigma": "lowrnk"}, "'lowrank', or kernels such as 'ou-white', got 'lowrnk'"),
        ({"resize": "sinc"}, "resize"),
        ({"sigma": 1e-30}, "expected sigma 1e-06 or more"),
    ],
)
def test_options_that_are_not_possible_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Prior.create("around", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"numbers of shape \[60, 1, 8, 8\], got torch.float32 of shape \[60, 1, 4, 4\]; name a part="),
        ({"part": "drft"}, "drft"),
        ({"part": "label"}, "got torch.int64"),
        ({"resize": "linear"}, r"resize='linear' does not take conditions of shape \[1, 4, 4\] to events"),
        ({"mean": lambda c: c[:, :, :2]}, r"got torch.float32 of shape \[60, 1, 2, 4\]"),
        ({"mean": lambda c: c.repeat(1, 1, 2, 2) / 0}, r"got NaN or infinite ones; repair the condition"),
        ({"mean": lambda c: {}["a"]}, "the mean fails for conditions"),
        ({"mean": lambda c: None}, "got NoneType"),
        (
            {"mean": nn.Linear(4, 4).double().eval()},
            r"the mean fails for conditions torch.float32 \[60, 1, 4, 4\]",
        ),
    ],
)
def test_means_that_do_not_fit_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    prior = Prior.create("around", **{"part": "draft", **options})
    with pytest.raises(InputError, match=message) as refused:
        prior.fit(pictures())
    assert "\n" not in str(refused.value)
    assert not prior.is_fitted


def test_without_a_condition_there_is_no_mean() -> None:
    with pytest.raises(InputError, match="expected the condition that the mean is made of, got None"):
        Prior.create("around").fit(torch.zeros(4, 2))
