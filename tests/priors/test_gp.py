"""Gaussian processes: equal to scikit-learn and to dense covariances, alone, given a window or a mask."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as reference
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowprior import Flow, Prior, train
from flowprior.errors import InputError, OptionError
from flowprior.priors.kernels import KernelNoise, correlation

STEPS, CHANNELS = 16, 2
KERNELS = {
    "rbf": lambda scale, period: reference.RBF(scale),
    "ou": lambda scale, period: reference.Matern(scale, nu=0.5),
    "matern": lambda scale, period: reference.Matern(scale, nu=1.5),
    "periodic": lambda scale, period: reference.ExpSineSquared(scale, period, (0.1, 10), (2, STEPS)),
}
PLACES = np.arange(float(STEPS))[:, None]


def series(n: int = 200, name: str = "ou") -> Tensor:
    """Series of scale 5 and variance 2 with noise, or of period 5, around 1; float64."""
    generator = torch.Generator().manual_seed(0)
    covariance = correlation(name, torch.arange(STEPS), 1.0 if name == "periodic" else 5.0, 5.0, 0.1)
    noise = torch.randn(n, STEPS, CHANNELS, generator=generator, dtype=torch.float64)
    return 1 + 2**0.5 * torch.linalg.cholesky(covariance) @ noise


def dense(prior: Any) -> Tensor:
    """The covariance of the whole grid, ``[D, D]``."""
    units = torch.eye(prior.loc.numel(), dtype=torch.float64).view(-1, *prior.noise.sizes.tolist())
    return prior.noise.root.times(prior.noise.root.transposed_times(units)).flatten(1)


def process_of(prior: Any, name: str) -> Any:
    """The process of scikit-learn along the first axis."""
    scale, period, noise = prior.noise.values[0].tolist()
    kernel = KERNELS[name](scale, period) + reference.WhiteKernel(noise)
    kernel = reference.ConstantKernel(float(prior.noise.variance)) * kernel
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)


@pytest.mark.parametrize("name", KERNELS)
def test_density_mean_and_covariance_given_the_past_are_those_of_scikit_learn(name: str) -> None:
    past, event = series().split([6, STEPS - 6], 1)
    prior: Any = Prior.create("gp", kernels=name, window="-6:0").fit((event, past))
    mean = prior.loc.view(STEPS, CHANNELS)
    process = process_of(prior, name).fit(PLACES[:6], (past[0] - mean[:6]).numpy())
    around, covariance = process.predict(PLACES[6:], return_cov=True)
    expected, covariance = mean[6:] + torch.tensor(around), torch.tensor(covariance[..., 0])
    torch.testing.assert_close(prior.mean(past[:1])[0], expected, rtol=0, atol=1e-8)
    units = torch.eye(event[0].numel(), dtype=torch.float64).view(-1, *event.shape[1:])
    root = prior._root.times(units).flatten(1)
    turned: Any = Prior.create("gp", kernels=f"white-{name}", window="-6:0").fit((event.mT, past.mT))
    torch.testing.assert_close(turned.mean(past[:3].mT).mT, prior.mean(past[:3]), rtol=0, atol=1e-8)
    torch.testing.assert_close(turned.log_prob(event.mT, past.mT), prior.log_prob(event, past))
    torch.testing.assert_close((root.mT @ root)[::2, ::2], covariance, rtol=0, atol=1e-8)
    density = MultivariateNormal(expected.mT, covariance).log_prob(event[0].mT).sum()
    torch.testing.assert_close(prior.log_prob(event[:1], past[:1])[0], density, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", KERNELS)
def test_parameters_are_of_no_less_likelihood_than_those_that_scikit_learn_finds(name: str) -> None:
    x = series(20, name)
    prior: Any = Prior.create("gp", kernels=name).fit(x)
    columns = (x - prior.loc.view(STEPS, CHANNELS)).movedim(1, 0).flatten(1).numpy()
    known = process_of(prior, name).fit(PLACES, columns)
    torch.testing.assert_close(
        float(prior.log_prob(x).sum()), known.log_marginal_likelihood(), rtol=1e-9, atol=0
    )
    kernel = reference.ConstantKernel(1.0) * (KERNELS[name](2.0, 8.0) + reference.WhiteKernel(0.1))
    found = GaussianProcessRegressor(kernel, alpha=1e-9, n_restarts_optimizer=2, random_state=0)
    best = found.fit(PLACES, columns).log_marginal_likelihood_value_
    assert known.log_marginal_likelihood() > best - 0.01
    if name == "ou":
        scale, _, noise = prior.noise.values[0].tolist()
        assert abs(scale - 5) < 1.5
        assert abs(noise - 0.1) < 0.1


@pytest.mark.parametrize("kernels", ["rbf-ou-white", "white-spectrum-spectrum", "periodic@1@3-matern@2-ou"])
def test_a_mask_gives_the_dense_conditional_distribution(kernels: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, 4, 2, generator=generator, dtype=torch.float64).cumsum(2)
    mask = torch.rand(3, 4, 2, generator=generator) < 0.4
    prior: Any = Prior.create("gp", kernels=kernels, mask=mask).fit((x, x))
    covariance, o = dense(prior), mask.flatten()
    known = covariance[o][:, o] + 1e-4 * covariance.diagonal().mean() * torch.eye(int(o.sum()))
    gain = covariance[:, o] @ known.inverse()
    mean = prior.loc + (x[:5].flatten(1) - prior.loc)[:, o] @ gain.mT
    torch.testing.assert_close(prior.mean(x[:5]).flatten(1), mean, rtol=0, atol=1e-8)
    left = covariance - gain @ covariance[o]
    exact = MultivariateNormal(mean, (left + left.mT) / 2)
    torch.testing.assert_close(
        prior.log_prob(x[:5], x[:5]), exact.log_prob(x[:5].flatten(1)), rtol=1e-6, atol=1e-6
    )
    drawn = prior.sample(x[:1].expand(20_000, 3, 4, 2), generator=generator).flatten(1)
    torch.testing.assert_close(drawn.mean(0), mean[0], rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.T.cov(), left, rtol=0, atol=0.1)


def test_a_window_in_the_event_is_the_mask_of_the_same_numbers() -> None:
    x, mask = series(), torch.zeros(STEPS, CHANNELS, dtype=torch.bool)
    mask[2:5] = True
    window = Prior.create("gp:window=2:5").fit((x, x[:, 2:5]))
    masked = Prior.create("gp", mask=mask).fit((x, x))
    torch.testing.assert_close(window.mean(x[:5, 2:5]), masked.mean(x[:5]))
    torch.testing.assert_close(window.log_prob(x[:5], x[:5, 2:5]), masked.log_prob(x[:5], x[:5]))
    assert (window.sample(x[:50, 2:5])[:, 2:5] - x[:50, 2:5]).abs().max() < 0.1


def test_a_later_search_leaves_the_bound_that_an_earlier_one_ended_at() -> None:
    noise: Any = KernelNoise("prior 'gp'", "ou")
    noise.learn(series()[..., 0] - 1)
    scale = float(noise.values[0, 0])
    noise.values = torch.tensor([[scale, 1.0, 1e-6]], dtype=torch.float64)
    noise._fit_group([0], series()[..., 0] - 1, anew=False)
    assert abs(float(noise.values[0, 2]) - 0.1) < 0.1
    assert float(noise.values[0, 2]) > 1e-3


@pytest.mark.parametrize(("period", "size"), [(7.0, 168), (12.0, 96), (24.0, 336), (37.3, 168)])
def test_a_period_and_none_of_its_multiples_is_found(period: float, size: int) -> None:
    covariance = correlation("periodic", torch.arange(size), 1.0, period, 0.01)
    noise = torch.randn(20, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior: Any = Prior.create("gp", kernels="periodic").fit(noise @ torch.linalg.cholesky(covariance).mT)
    torch.testing.assert_close(float(prior.noise.values[0, 1]), period, rtol=0.01, atol=0)


def test_a_power_law_of_a_field_is_found_again() -> None:
    made: Any = Prior.create("gp", kernels="white-spectrum@2.5-spectrum@2.5").fit(torch.randn(9, 2, 16, 12))
    made.noise.values[:, 2] = 1e-6
    x = made.noise.root.draw(200, torch.empty(0), torch.Generator().manual_seed(0))
    found: Any = Prior.create("gp", kernels="white-spectrum-spectrum").fit(x)
    exponent, _, noise = found.noise.values[1].tolist()
    assert abs(exponent - 2.5) < 0.1
    assert noise < 1e-3
    np.testing.assert_allclose(x.var(0).mean((0,)), found.noise.root.variances()[0], rtol=0.5)


def test_a_forecast_given_the_past_is_trained_and_saved_with_its_mask(tmp_path: FilePath) -> None:
    x = series(60).float()
    past, event = x.split([6, STEPS - 6], 1)
    mask = torch.zeros(STEPS, CHANNELS, dtype=torch.bool)
    mask[::3] = True
    for prior, data in (
        (Prior.create("gp:window=-6:0"), (event, past)),
        (Prior.create("gp", mask=mask), (x, x)),
        (Prior.create("learned-mean", sigma="ou", epochs=1), (event, past)),
    ):
        flow = train(data, prior=prior, coupling="condot", steps=2, device="cpu", progress=False)
        assert flow.prediction == "velocity"
        flow.save(tmp_path / "flow")
        again = Flow.load(tmp_path / "flow")
        drawn = [
            f.sample(data[1][:3], nfe=2, generator=torch.Generator().manual_seed(0)) for f in (flow, again)
        ]
        assert torch.equal(*drawn)
        assert torch.equal(
            again.prior.log_prob(data[0][:3], data[1][:3]), prior.log_prob(data[0][:3], data[1][:3])
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": "rbff"}, "kernel='rbff' is not possible; did you mean 'rbf'"),
        ({"kernels": "rbf@0-ou"}, "expected kernel 'rbf' as NAME@SCALE, positive numbers, got 'rbf@0-ou'"),
        ({"kernels": "white@2"}, "expected kernel 'white' as NAME, positive numbers, got 'white@2'"),
        ({"kernels": "ou-ou-ou-ou-ou"}, "kernels for 4 axes at most, got 5"),
        ({"window": "3:3"}, "expected window as BEGIN:END"),
        ({"window": "-2:1"}, "expected window as BEGIN:END"),
        ({"window": "0:2", "kernels": "spectrum"}, "no 'spectrum' along its axis"),
        ({"mask": torch.ones(2)}, "expected mask as a bool tensor without a window, got Tensor"),
    ],
)
def test_options_that_are_not_possible_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Prior.create("gp", **options)


def test_an_axis_whose_covariance_would_not_fit_in_memory_is_refused() -> None:
    with pytest.raises(OptionError, match="at most 8,192 positions an axis, got 8,193"):
        Prior.create("gp").fit(torch.zeros(2, 8193))
    assert Prior.create("gp", kernels="white").fit(torch.zeros(2, 8193)).is_fitted


@pytest.mark.parametrize(
    ("options", "cond", "message"),
    [
        ({"window": "0:16"}, (16, 2), "a window that leaves some of 16 positions, got '0:16'"),
        ({"window": "10:17"}, (7, 2), "a window that leaves some of 16 positions"),
        ({"window": "-3:0"}, (8,), r"the 6 observed numbers of an event of shape \[16, 2\] .* got 8"),
        ({"window": "-3:0"}, (2, 3), r"expected conditions of shape \[3, 2\], got \[2, 3\]"),
        ({"window": "0:3"}, (2, 16), r"expected conditions of shape \[3, 2\] or \[16, 2\], got \[2, 16\]"),
        ({"window": "-3:0"}, (), "expected the observed values as the condition, got labels"),
        ({"window": "-3:0"}, None, "expected the observed values as the condition, got None"),
        ({"mask": torch.ones(16, 2, dtype=torch.bool)}, (16, 2), "with 1 to 31 observed numbers, got 32"),
        ({"mask": torch.zeros(16, 2, dtype=torch.bool)}, (16, 2), "with 1 to 31 observed numbers, got 0"),
        ({"mask": torch.ones(16, dtype=torch.bool)}, (16, 2), r"expected a mask of shape \[16, 2\]"),
        ({"kernels": "ou-ou-ou"}, None, "expected events of 3 to 4 axes for 3 kernels, got 2"),
        ({"kernels": "white-white-ou"}, None, "expected events of 3 to 4 axes for 3 kernels, got 2"),
    ],
)
def test_what_does_not_fit_the_events_is_refused(options: dict[str, Any], cond: Any, message: str) -> None:
    prior = Prior.create("gp", **options)
    values = None if cond is None else torch.zeros(5, *cond, dtype=torch.float if cond else torch.long)
    data = (series(5).float(), values)
    with pytest.raises((InputError, OptionError), match=message) as refused:
        prior.fit(data)
    assert "\n" not in str(refused.value)
    assert not prior.is_fitted


def test_the_density_of_a_kronecker_covariance_is_that_of_gpytorch() -> None:
    operators = pytest.importorskip("linear_operator.operators", reason="see benchmarks/peers.txt")
    kernels = pytest.importorskip("gpytorch.kernels", reason="see benchmarks/peers.txt")
    noise: Any = KernelNoise("prior 'gp'", "rbf-matern")
    x = torch.randn(30, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(1)
    noise.learn(x)
    factors = []
    for kernel, size, row in zip(
        (kernels.RBFKernel(), kernels.MaternKernel(nu=1.5)), (6, 5), noise.values, strict=True
    ):
        kernel.double().lengthscale = row[0]
        places = torch.arange(size).double()[:, None]
        factors.append(kernel(places).to_dense() + row[2] * torch.eye(size))
    factors[0] = noise.variance * factors[0]
    product = operators.KroneckerProductLinearOperator(*map(operators.DenseLinearOperator, factors))
    quadratic, log_det = product.inv_quad_logdet(x.flatten(1).mT, logdet=True, reduce_inv_quad=False)
    expected = -0.5 * (quadratic + log_det + 30 * np.log(2 * np.pi))
    torch.testing.assert_close(noise.root.log_prob(x), expected, rtol=1e-8, atol=1e-8)
