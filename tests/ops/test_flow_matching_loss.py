"""Value, gradient, weights and dtypes of the flow-matching loss."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import DerivativeError, InputError
from flowprior.ops import flow_matching_loss
from flowprior.ops.backend import native_devices


@pytest.mark.usefixtures("back_end")
def test_weights_multiply_each_example(generator):
    v, u = torch.randn(2, 4, 3, 2, generator=generator).double()
    weight = torch.tensor([0.0, 1.0, 2.5, 0.5]).double()
    errors = [float((v[i] - u[i]).square().mean()) for i in range(4)]
    expected = sum(w * e for w, e in zip(weight.tolist(), errors, strict=True)) / 4
    assert flow_matching_loss(v, u, weight).item() == pytest.approx(expected, rel=1e-12)
    ones = flow_matching_loss(v, u, torch.ones(4))
    torch.testing.assert_close(ones, flow_matching_loss(v, u))


@pytest.mark.usefixtures("back_end")
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


@pytest.mark.parametrize(
    ("v", "u", "weight"),
    [((4, 2), (4, 3), None), ((4, 2), (2,), None), ((4, 2), (4, 2), (2,)), ((4, 2), (4, 2), (4, 1))],
)
def test_shapes_that_would_broadcast_are_refused(v, u, weight):
    weights = None if weight is None else torch.ones(weight)
    with pytest.raises(InputError, match="flow_matching_loss: expected v and u of one shape"):
        flow_matching_loss(torch.ones(v), torch.ones(u), weights)


# -- source samples and data instead of a velocity, losses of each example ------------------------


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_starts_and_data_stand_for_their_difference(dtype, weighted, reduction, generator):
    v, x0, x1 = torch.randn(3, 7, 2, 9, generator=generator).to(dtype)
    weight = torch.rand(7, generator=generator) if weighted else None
    loss = flow_matching_loss(v, x0=x0, x1=x1, weight=weight, reduction=reduction)
    errors = (v.double() - (x1.double() - x0.double())).square().flatten(1).mean(1)
    if weight is not None:
        errors = errors * weight.double()
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(
        loss.double(), errors.mean() if reduction == "mean" else errors, rtol=2e-6, atol=0.0
    )


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("straight", [False, True])
def test_gradients_of_everything(reduction, weighted, straight, generator):
    tensors = [x.requires_grad_() for x in torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)]
    weight = torch.rand(4, generator=generator, dtype=torch.float64).requires_grad_() if weighted else None
    inputs = tensors[: 3 if straight else 2] + ([weight] if weighted else [])

    def loss(*given):
        v, *targets = given[: 3 if straight else 2]
        chosen = {"x0": targets[0], "x1": targets[1]} if straight else {"u": targets[0]}
        return flow_matching_loss(v, **chosen, weight=given[-1] if weighted else None, reduction=reduction)

    assert torch.autograd.gradcheck(loss, inputs)


def test_a_gradient_taken_twice_and_changed_in_between(generator):
    v, u = torch.randn(2, 4, 5, generator=generator)
    v.requires_grad_()
    loss = flow_matching_loss(v, u)
    (first,) = torch.autograd.grad(loss, v, retain_graph=True)
    expected = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(loss, v)
    assert torch.equal(second, expected)


@pytest.mark.parametrize("factor", [0.0, -2.5, 1024.0])
def test_a_scaled_loss_scales_its_gradient(factor, generator):
    v, u = torch.randn(2, 4, 5, generator=generator)
    v.requires_grad_()
    (factor * flow_matching_loss(v, u)).backward()
    torch.testing.assert_close(v.grad, factor * 2 * (v - u).detach() / 20)


@pytest.mark.usefixtures("back_end")
def test_pictures_in_channels_last(generator):
    v = torch.randn(3, 4, 5, 6, generator=generator).contiguous(memory_format=torch.channels_last)
    u = torch.randn(3, 4, 5, 6, generator=generator)
    v.requires_grad_()
    loss = flow_matching_loss(v, u)
    loss.backward()
    assert loss.item() == pytest.approx((v - u).square().mean().item(), rel=1e-6)
    torch.testing.assert_close(v.grad, 2 * (v - u).detach() / v.numel())
    assert v.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("back_end")
def test_strides_do_not_matter(generator):
    base, u = torch.randn(2, 8, 6, generator=generator)
    v = torch.stack([base, base], -1)[..., 1].requires_grad_()
    turned = u.T.contiguous().T
    loss = flow_matching_loss(v, turned)
    loss.backward()
    assert loss.item() == pytest.approx((base - u).square().mean().item(), rel=1e-6)
    torch.testing.assert_close(v.grad, 2 * (base - u) / 48)


@pytest.mark.usefixtures("back_end")
def test_no_rows_have_no_mean():
    v = torch.zeros(0, 3, requires_grad=True)
    assert flow_matching_loss(v, v.detach()).isnan()
    none = flow_matching_loss(v, v.detach(), reduction="none")
    assert none.shape == (0,)
    none.sum().backward()
    assert v.grad is not None
    assert v.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_wider_targets_keep_their_digits(dtype, generator):
    v = torch.randn(4, 50, generator=generator).to(dtype)
    u = torch.randn(4, 50, generator=generator).requires_grad_()
    flow_matching_loss(v, u).backward()
    expected = -2 * (v.double() - u.detach().double()) / 200
    torch.testing.assert_close(u.grad.double(), expected, rtol=2e-6, atol=1e-9)


def test_a_second_derivative_is_right_or_refused(generator):
    v, u = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    v.requires_grad_()
    (gradient,) = torch.autograd.grad(flow_matching_loss(v, u), v, create_graph=True)
    torch.testing.assert_close(gradient.detach(), 2 * (v - u).detach() / 20)
    if "cpu" in native_devices():
        with pytest.raises(DerivativeError, match="second derivative was asked for"):
            gradient.square().sum().backward()
    else:
        gradient.square().sum().backward()
        torch.testing.assert_close(v.grad, 8 * (v - u).detach() / 400)


def test_mixed_half_precisions_meet_in_float32(generator):
    v, u = torch.randn(2, 4, 50, generator=generator)
    loss = flow_matching_loss(v.bfloat16(), u.half())
    assert loss.dtype == torch.float32
    expected = (v.bfloat16().double() - u.half().double()).square().mean().item()
    assert loss.item() == pytest.approx(expected, rel=2e-6)


def test_the_widest_of_all_is_computed_in(generator):
    v, x0, x1 = torch.randn(3, 4, 50, generator=generator, dtype=torch.float64)
    for one, zero in ((x1, x0.float()), (x1.float(), x0)):
        loss = flow_matching_loss(v.float(), x0=zero, x1=one)
        expected = (v.float().double() - (one.double() - zero.double())).square().mean()
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected u, or both x0 and x1, got none of them"),
        ({"x0": (4, 2)}, "expected u, or both x0 and x1, got x0"),
        ({"u": (4, 2), "x1": (4, 2)}, "expected u, or both x0 and x1, got u and x1"),
        (
            {"x0": (4, 2), "x1": (4, 3)},
            r"expected v and x0 and x1 of one shape .* \[4, 2\], \[4, 2\], \[4, 3\]",
        ),
    ],
)
def test_targets_that_do_not_fit(arguments, message):
    given = {name: torch.ones(shape) for name, shape in arguments.items()}
    with pytest.raises(InputError, match=f"flow_matching_loss: {message}"):
        flow_matching_loss(torch.ones(4, 2), **given)


def test_other_reductions_and_devices_are_refused():
    v = torch.ones(4, 2)
    with pytest.raises(InputError, match="expected reduction 'mean' or 'none', got 'sum'"):
        flow_matching_loss(v, v, reduction="sum")
    with pytest.raises(InputError, match=r"expected all on one device, got \['cpu', 'meta'\]"):
        flow_matching_loss(v, v.to("meta"))
