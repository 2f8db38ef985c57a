"""Standard deviations that follow their variances, whatever happens to those."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from flowprior.ops.derived import Derived


def test_they_are_computed_once_as_long_as_nothing_changes():
    scales, var = Derived(torch.sqrt), torch.tensor([4.0, 9.0])
    first = scales.of(var)
    assert first.tolist() == [2.0, 3.0]
    assert scales.of(var) is first


@pytest.mark.parametrize(
    "change",
    [
        lambda var: var.mul_(4),
        lambda var: var.copy_(torch.full((2,), 16.0)),
        lambda var: var.__setitem__(0, 25.0),
        lambda var: torch._foreach_mul_([var], 2.0),
    ],
)
def test_a_write_to_the_variances_is_seen(change):
    scales, var = Derived(torch.sqrt), torch.tensor([4.0, 9.0])
    scales.of(var)
    change(var)
    assert torch.equal(scales.of(var), var.sqrt())


def test_another_tensor_is_seen_even_at_the_same_place():
    scales = Derived(torch.sqrt)
    for value in range(1, 50):
        var = torch.full((3,), float(value))
        assert torch.equal(scales.of(var), var.sqrt())


def test_copies_start_empty():
    scales, var = Derived(torch.sqrt), torch.tensor([4.0, 9.0])
    scales.of(var)
    for other in (copy.deepcopy(scales), pickle.loads(pickle.dumps(scales))):
        assert other._known is None


def test_a_gradient_flows_and_inference_tensors_are_taken():
    scales, var = Derived(torch.sqrt), torch.tensor([4.0], requires_grad=True)
    for _ in range(2):
        (gradient,) = torch.autograd.grad(scales.of(var).sum(), var)
        assert gradient.item() == 0.25
    with torch.inference_mode():
        inside = torch.tensor([4.0])
        inside.mul_(4)
        assert scales.of(inside).item() == 4.0
