"""Every operator inside torch.compile(fullgraph=True), with seeds as tensors, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.ops import (
    affine_path,
    flow_matching_loss,
    gmm_log_prob,
    gmm_log_prob_all,
    gmm_path,
    gmm_sample,
    interpolate,
    standard_normal,
)

from .mixtures import mixture


def draws(tables: list[Tensor], cond: Tensor, x1: Tensor, t: Tensor, seed: Tensor) -> list[Tensor]:
    x0, component = gmm_sample(*tables, cond, seed)
    x_t, u_t, same = gmm_path(*tables, cond, x1, t, seed, 0.01)
    noise = standard_normal(x1.shape[0], 3, x1, seed)
    return [x0, component, x_t, u_t, same, noise, *interpolate(x0, x1, t), *affine_path(x0, x1, (t, t, t, t))]


def density(x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor) -> Tensor:
    own, shares = gmm_log_prob(x, logits, mean, scale, cond)
    every, _ = gmm_log_prob_all(x, logits, mean, scale)
    return own.sum() + every.sum() + (shares * shares).sum()


def losses(v: Tensor, x0: Tensor, x1: Tensor, weight: Tensor) -> Tensor:
    each = flow_matching_loss(2 * v, x1 - x0, weight, reduction="none")
    return flow_matching_loss(v.sin(), x0=x0, x1=x1) + each.square().sum()


def compiled(function, backend: str):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_draws(backend, generator):
    tables = list(mixture(generator, event=(5,), dtype=torch.float32))
    run = compiled(draws, backend)
    for rows in (6, 9):  # the second size compiles with symbolic shapes
        x1, t = torch.randn(rows, 5, generator=generator), torch.rand(rows, generator=generator)
        arguments = (tables, torch.arange(rows) % 3, x1, t, torch.tensor([5 + rows]))
        for result, expected in zip(run(*arguments), draws(*arguments), strict=True):
            torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_gradients(backend, generator):
    tables = mixture(generator, event=(5,), dtype=torch.float32)
    x, x0, x1 = torch.randn(3, 6, 5, generator=generator)
    weight, cond = torch.rand(6, generator=generator), torch.arange(6) % 3
    for function, inputs, rest in (
        (density, [x, *tables], [cond]),
        (losses, [x, x0, x1, weight], []),
    ):
        inputs = [tensor.clone().requires_grad_() for tensor in inputs]
        expected = function(*inputs, *rest)
        value = compiled(function, backend)(*inputs, *rest)
        torch.testing.assert_close(value, expected)
        gradients = torch.autograd.grad(value, inputs)
        for result, exact in zip(gradients, torch.autograd.grad(expected, inputs), strict=True):
            torch.testing.assert_close(result, exact, rtol=1e-5, atol=1e-5)
