"""Gaussian processes beside scikit-learn and GPyTorch: density, draws and fit of a series and of a field.

All have the same kernels and variances; only the fits look for their own, each with its own search. GPyTorch
holds a field as a Kronecker product, scikit-learn as a dense matrix: it gets 32 x 32, the others 64 x 64, and
fits eight columns of the series in place of all 256.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.operators.groups import WHOLE, Group, time_row
from benchmarks.operators.peers import Call, MissingError, peer
from flowprior import Prior
from flowprior.priors.kernels import KernelNoise

STEPS, CHANNELS, KNOWN, SIDE, ROWS = 512, 8, 256, 64, 32
SCALE, NOISE, DRAWS = 20.0, 0.1, 16
WAYS = (WHOLE, "GPyTorch", "scikit-learn")


@cache
def series() -> Tensor:
    """Series ``[32, 512, 8]`` of an OU process with noise."""
    return _drawn("ou", STEPS, CHANNELS)


@cache
def fields(side: int) -> Tensor:
    """Fields ``[32, 4, side, side]`` of an RBF along both axes."""
    return _drawn("white-rbf-rbf", 4, side, side)


def _drawn(kernels: str, *shape: int) -> Tensor:
    noise = KernelNoise("benchmark", kernels)
    noise.sizes, noise.positions = torch.tensor(shape), torch.cat([torch.arange(size) for size in shape])
    noise.values = torch.tensor([[SCALE, 1.0, NOISE]]).repeat(len(shape), 1)
    noise.variance = torch.ones(1)
    return noise.root.draw(ROWS, torch.empty(0, dtype=torch.float64), torch.Generator().manual_seed(0))


def _places(*sizes: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(float(size)) for size in sizes]).view(-1, len(sizes)).double()


# -- density and draws under known kernels ----------------------------------------------------------------


def _flowprior(kernels: str, x: Tensor, window: str = "") -> Call:
    """Log-densities of all rows, and draws."""
    past, event = (x[:, :KNOWN], x[:, KNOWN:]) if window else (None, x)
    prior = Prior.create("gp", kernels=kernels, window=window).fit((event, past))
    given = None if past is None else past[:DRAWS]
    return lambda: (prior.log_prob(event, past), prior.sample(given, DRAWS))


def _gpytorch(factors: list[Tensor], columns: Tensor) -> Call:
    """The same of columns ``[n, B]`` of mean 0 under a Kronecker product of covariances."""
    operators = peer("linear_operator.operators")
    dense = [operators.DenseLinearOperator(factor) for factor in factors]
    known = operators.KroneckerProductLinearOperator(*dense) if len(dense) > 1 else dense[0]
    draws = DRAWS * columns.shape[1] // ROWS

    def call() -> Any:
        found = known.inv_quad_logdet(columns, logdet=True, reduce_inv_quad=False)
        return found, known.zero_mean_mvn_samples(draws)

    return call


def _kernel(name: str, size: int) -> Tensor:
    """GPyTorch's covariance along an axis, with noise."""
    kernels = peer("gpytorch.kernels")
    kernel = kernels.MaternKernel(nu=0.5) if name == "ou" else kernels.RBFKernel()
    kernel.lengthscale = SCALE
    return kernel.double()(_places(size)).to_dense().detach() + NOISE * torch.eye(size).double()


def _gpytorch_series() -> Call:
    whole, x = _kernel("ou", STEPS), series().movedim(1, 0).flatten(1)
    gain = torch.linalg.solve(whole[:KNOWN, :KNOWN], whole[:KNOWN, KNOWN:]).mT
    left = whole[KNOWN:, KNOWN:] - gain @ whole[:KNOWN, KNOWN:]
    call = _gpytorch([left], x[KNOWN:] - gain @ x[:KNOWN])
    return lambda: (gain @ x[:KNOWN], call())


def _gpytorch_field() -> Call:
    return _gpytorch([_kernel("rbf", SIDE)] * 2, fields(SIDE).flatten(2).flatten(0, 1).mT.contiguous())


def _process(name: str, optimizer: str | None = None) -> Any:
    gp = peer("sklearn.gaussian_process")
    kernel = gp.kernels.Matern(SCALE, nu=0.5) if name == "ou" else gp.kernels.RBF(SCALE)
    return gp.GaussianProcessRegressor(kernel + gp.kernels.WhiteKernel(NOISE), alpha=0.0, optimizer=optimizer)


def _sklearn_series() -> Call:
    """The mean of all columns, and one covariance for their densities and draws."""
    x, places = series().movedim(1, 0).flatten(1).numpy(), _places(STEPS).numpy()
    every = _process("ou").fit(places[:KNOWN], x[:KNOWN])
    one = _process("ou").fit(places[:KNOWN], x[:KNOWN, 0])
    normal = peer("scipy.stats").multivariate_normal

    def call() -> Any:
        covariance = one.predict(places[KNOWN:], return_cov=True)[1]
        density = normal(cov=covariance).logpdf((x[KNOWN:] - every.predict(places[KNOWN:])).T)
        return density, one.sample_y(places[KNOWN:], DRAWS * CHANNELS)

    return call


def _sklearn_field() -> Call:
    columns, places = fields(SIDE // 2).flatten(2).flatten(0, 1).mT.numpy(), _places(SIDE // 2, SIDE // 2)
    one = _process("rbf")
    return lambda: (one.fit(places, columns), _process("rbf").sample_y(places, DRAWS * 4))


CALLS = {
    f"gp, density of {ROWS} and {DRAWS} draws of 256 x 8 given 256 x 8, ou": Group(
        f"gp, density of {ROWS} and {DRAWS} draws of 256 x 8 given 256 x 8, ou",
        dict(
            zip(
                WAYS,
                (lambda: _flowprior("ou", series(), "-256:0"), _gpytorch_series, _sklearn_series),
                strict=True,
            )
        ),
    ),
    f"gp, density of {ROWS} and {DRAWS} draws of 4 x 64 x 64, rbf": Group(
        f"gp, density of {ROWS} and {DRAWS} draws of 4 x 64 x 64, rbf (scikit-learn: 4 x 32 x 32)",
        dict(
            zip(
                WAYS,
                (lambda: _flowprior("white-rbf-rbf", fields(SIDE)), _gpytorch_field, _sklearn_field),
                strict=True,
            )
        ),
    ),
}


def _peak(call: Call) -> float:
    """MiB that a call takes at the most, of this process."""
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
    before, _ = _status(), call()
    return (_status()["VmHWM"] - before["VmRSS"]) / 1024


def _status() -> dict[str, int]:
    with open("/proc/self/status") as lines:
        words = [line.split() for line in lines]
    return {name.rstrip(":"): int(rest[0]) for name, *rest in words if name.startswith(("VmHWM", "VmRSS"))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CALLS)
def test_density_and_draws(benchmark, name, way):
    time_row(benchmark, CALLS[name], way)
    benchmark.extra_info["notes"] = {"peak, MiB": _peak(CALLS[name].call(way))}


# -- fits -------------------------------------------------------------------------------------------------


def _gpytorch_fit(name: str, columns: Tensor, axes: int) -> float:
    """L-BFGS over scales, noises and variance; return the log-likelihood a number."""
    operators = peer("linear_operator.operators")
    size = round(len(columns) ** (1 / axes))
    peer_kernels = peer("gpytorch.kernels")
    kernels = [
        (peer_kernels.MaternKernel(nu=0.5) if name == "ou" else peer_kernels.RBFKernel()).double()
        for _ in range(axes)
    ]
    logs = torch.full((axes + 1,), -1.0, dtype=torch.float64, requires_grad=True)  # noises, variance
    search = torch.optim.LBFGS(
        [logs, *[p for kernel in kernels for p in kernel.parameters()]],
        max_iter=100,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        eye = torch.eye(size).double()
        dense = [k(_places(size)).to_dense() + s.exp() * eye for k, s in zip(kernels, logs[1:], strict=True)]
        dense[0] = dense[0] * logs[0].exp()
        whole = [operators.DenseLinearOperator(part) for part in dense]
        known = operators.KroneckerProductLinearOperator(*whole) if axes > 1 else whole[0]
        quadratic, log_det = known.inv_quad_logdet(columns, logdet=True)
        value = (quadratic / columns.numel() + log_det / len(columns)) / 2
        value.backward()
        return value

    search.step(loss)
    return -loss().item() - 0.5 * float(torch.tensor(2 * torch.pi).log())


FITS = {"ou": (series, 1), "rbf": (lambda: fields(SIDE), 2)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FITS)
def test_fit(benchmark, name, way):
    data, axes = FITS[name]
    x = data()
    columns = (x - x.mean(0)).movedim(1, 0).flatten(1) if axes == 1 else (x - x.mean(0)).flatten(0, 1)
    columns = columns if axes == 1 else columns.flatten(1).mT.contiguous()
    benchmark.group = f"gp, fit of {name} to {ROWS} rows of {' x '.join(map(str, x.shape[1:]))}"

    def fit() -> float:
        if way == WHOLE:
            prior = Prior.create("gp", kernels="ou" if axes == 1 else "white-rbf-rbf").fit(x)
            return float(prior.log_prob(x).mean()) / x[0].numel()
        if way == "GPyTorch":
            return _gpytorch_fit(name, columns, axes)
        process = _process(name, "fmin_l_bfgs_b").fit(_places(STEPS).numpy(), columns[:, :CHANNELS].numpy())
        return process.log_marginal_likelihood_value_ / columns[:, :CHANNELS].numel()

    if way == "scikit-learn" and axes > 1:
        benchmark.skipped = True
        pytest.skip("scikit-learn's covariance would be dense, 16,384 x 16,384")
    found: list[float] = []
    try:
        peak = _peak(lambda: benchmark.pedantic(lambda: found.append(fit())))
    except MissingError as missing:
        benchmark.skipped = True
        pytest.skip(str(missing))
    benchmark.extra_info.update(way=way, notes={"log-likelihood a number": found[0], "peak, MiB": peak})
