"""Value, gradient, weights and dtypes of the flow-matching loss."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError
from flowprior.ops import flow_matching_loss


@pytest.mark.parametrize("event", [(1,), (5,), (3, 4, 2)])
def test_loss_is_the_mean_over_batch_and_event(event, generator):
    v, u = torch.randn(2, 6, *event, generator=generator).double()
    expected = sum(float((v[i] - u[i]).square().mean()) for i in range(6)) / 6
    assert flow_matching_loss(v, u).item() == pytest.approx(expected, rel=1e-12)


def test_weights_multiply_each_example(generator):
    v, u = torch.randn(2, 4, 3, 2, generator=generator).double()
    weight = torch.tensor([0.0, 1.0, 2.5, 0.5]).double()
    errors = [float((v[i] - u[i]).square().mean()) for i in range(4)]
    expected = sum(w * e for w, e in zip(weight.tolist(), errors, strict=True)) / 4
    assert flow_matching_loss(v, u, weight).item() == pytest.approx(expected, rel=1e-12)
    ones = flow_matching_loss(v, u, torch.ones(4))
    torch.testing.assert_close(ones, flow_matching_loss(v, u))


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_is_twice_the_weighted_difference_over_the_count(weighted, generator):
    v, u = torch.randn(2, 4, 3, generator=generator).double()
    v.requires_grad_()
    weight = torch.rand(4, generator=generator).double() if weighted else None
    flow_matching_loss(v, u, weight).backward()
    scale = torch.ones(4).double() if weight is None else weight
    torch.testing.assert_close(v.grad, 2 * scale[:, None] * (v - u).detach() / 12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_subtracted_and_summed_in_float32(dtype, generator):
    v = torch.randn(64, 100, generator=generator).to(dtype).requires_grad_()
    u = torch.randn(64, 100, generator=generator)
    loss = flow_matching_loss(v, u)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((v.double() - u.double()).square().mean().item(), rel=1e-5)
    loss.backward()
    assert v.grad is not None
    assert v.grad.dtype == dtype


def test_large_errors_in_half_precision_do_not_overflow():
    v = torch.full((2, 8), 6e4, dtype=torch.float16)
    assert flow_matching_loss(v, -v).item() == pytest.approx((2 * float(v[0, 0])) ** 2, rel=1e-6)


def test_float64_stays_float64():
    v = torch.tensor([[1.0 + 1e-12]], dtype=torch.float64)
    loss = flow_matching_loss(v, torch.ones(1, 1))
    assert loss.dtype == torch.float64
    assert 0 < loss.item() < 1e-20


@pytest.mark.parametrize(
    ("v", "u", "weight"),
    [((4, 2), (4, 3), None), ((4, 2), (2,), None), ((4, 2), (4, 2), (2,)), ((4, 2), (4, 2), (4, 1))],
)
def test_shapes_that_would_broadcast_are_refused(v, u, weight):
    weights = None if weight is None else torch.ones(weight)
    with pytest.raises(InputError, match="flow_matching_loss: expected v and u of one shape"):
        flow_matching_loss(torch.ones(v), torch.ones(u), weights)
