"""Every operator inside torch.compile(fullgraph=True), forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.ops import flow_matching_loss, gmm_log_prob, gmm_sample
from flowprior.ops.gmm_log_prob import gmm_log_prob_all

from .mixtures import mixture


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
    """Of torch's own generator, rounded to their means."""
    logits, mean, _ = mixture(generator, dtype=torch.float32)
    mean = mean.round() + 10 * torch.arange(4.0)[:, None]
    run = compiled(lambda cond: gmm_sample(logits, mean, torch.full((3, 4, 1), 1e-4), cond), backend)
    for rows in (6, 9):  # the second size compiles with symbolic shapes
        cond = torch.arange(rows) % 3
        x0, component = run(cond)
        torch.testing.assert_close(x0, mean[cond, component], rtol=0, atol=1e-3)


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


def test_a_thread_draws_the_same_while_another_compiles(generator, monkeypatch):
    """The flag of torch is one for all threads, so pairs that are drawn ahead depended on the timing."""
    tables, cond = mixture(generator, dtype=torch.float32), torch.arange(300) % 3
    expected, _ = gmm_sample(*tables, cond, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
    drawn, _ = gmm_sample(*tables, cond, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, expected)
