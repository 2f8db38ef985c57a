"""Points and velocities of affine paths: the formulas, every kind of derivative, dtypes and shapes."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError
from flowprior.ops import affine_path, interpolate

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
BOUND = {torch.float32: 2e-6, torch.float64: 1e-12, torch.bfloat16: 1e-2, torch.float16: 1e-3}
EVENTS = [(), (1,), (7,), (401,), (2, 3, 4)]


def ends(event, dtype, generator, rows=6):
    x0, x1 = torch.randn(2, rows, *event, generator=generator, dtype=torch.float64).to(dtype)
    return x0, x1


def columns(x, *values):
    return [value.double().view(-1, *[1] * (x.dim() - 1)) for value in values]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("event", EVENTS)
def test_affine_path_is_its_formula(dtype, event, generator):
    x0, x1 = ends(event, dtype, generator)
    given = tuple(torch.randn(4, 6, generator=generator))
    x_t, u_t = affine_path(x0, x1, given)
    assert x_t.dtype == u_t.dtype == dtype
    alpha, sigma, alpha_dot, sigma_dot = columns(x1, *given)
    for result, exact in (
        (x_t, alpha * x1.double() + sigma * x0.double()),
        (u_t, alpha_dot * x1.double() + sigma_dot * x0.double()),
    ):
        torch.testing.assert_close(result.double(), exact, rtol=BOUND[dtype], atol=2 * BOUND[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_interpolate_is_its_formula(dtype, event, sigma_min, generator):
    x0, x1 = ends(event, dtype, generator)
    t = torch.rand(6, generator=generator)
    x_t, u_t = interpolate(x0, x1, t, sigma_min)
    assert x_t.dtype == u_t.dtype == dtype
    (time,) = columns(x1, t)
    slope = 1 - sigma_min
    for result, exact in (
        (x_t, time * x1.double() + (1 - slope * time) * x0.double()),
        (u_t, x1.double() - slope * x0.double()),
    ):
        torch.testing.assert_close(result.double(), exact, rtol=BOUND[dtype], atol=2 * BOUND[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_are_met_exactly(dtype, generator):
    x0, x1 = ends((33,), dtype, generator)
    assert torch.equal(interpolate(x0, x1, torch.zeros(6))[0], x0)
    assert torch.equal(interpolate(x0, x1, torch.ones(6))[0], x1)


def test_derivatives_of_first_and_second_order(generator):
    x0, x1 = (x.requires_grad_() for x in ends((3, 2), torch.float64, generator, rows=3))
    t = torch.rand(3, generator=generator, dtype=torch.float64).requires_grad_()
    given = [c.requires_grad_() for c in torch.randn(4, 3, generator=generator, dtype=torch.float64)]

    def path(x0, x1, *coefficients):
        return affine_path(x0, x1, coefficients)

    def straight(x0, x1, t):
        return interpolate(x0, x1, t, 0.1)

    for function, inputs in ((path, (x0, x1, *given)), (straight, (x0, x1, t))):
        assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_transforms_of_torch_func(generator):
    x0, x1 = ends((4,), torch.float64, generator)
    t = torch.full((), 0.3, dtype=torch.float64)

    def point(time):
        return interpolate(x0, x1, time.expand(6))[0]

    _, velocity = torch.func.jvp(point, (t,), (torch.ones_like(t),))
    torch.testing.assert_close(velocity, x1 - x0)
    mapped = torch.func.vmap(lambda a, b: interpolate(a, b, t.expand(6)))(
        x0.expand(3, 6, 4), x1.expand(3, 6, 4)
    )
    torch.testing.assert_close(mapped[0][2], interpolate(x0, x1, t.expand(6))[0])


def test_mixed_dtypes_give_the_wider(generator):
    x0, x1 = ends((4,), torch.float32, generator)
    t = torch.rand(6, generator=generator, dtype=torch.float64)
    assert interpolate(x0.double(), x1, t)[0].dtype == torch.float64
    assert interpolate(x0, x1, t)[0].dtype == torch.float32
    assert interpolate(x0.bfloat16(), x1, t)[1].dtype == torch.float32


def test_strides_and_no_rows(generator):
    x0, x1 = ends((4, 5), torch.float64, generator)
    t = torch.rand(6, generator=generator)
    expected = interpolate(x0, x1, t)
    turned = x0.transpose(1, 2).contiguous().transpose(1, 2)
    wide = torch.stack([x1, x1], -1)[..., 0]
    for result, exact in zip(interpolate(turned, wide, t.repeat_interleave(2)[::2]), expected, strict=True):
        torch.testing.assert_close(result, exact, rtol=1e-15, atol=1e-15)
    assert [x.shape for x in interpolate(x0[:0], x1[:0], t[:0])] == [(0, 4, 5), (0, 4, 5)]
    assert [x.shape for x in affine_path(x0[:0], x1[:0], (t[:0],) * 4)] == [(0, 4, 5), (0, 4, 5)]


def test_inputs_that_do_not_fit():
    x, t = torch.zeros(3, 2), torch.zeros(3)
    with pytest.raises(InputError, match=r"affine_path: expected .* \[3\], \[3\], \[2\], \[3\]"):
        affine_path(x, x, (t, t, t[:2], t))
    shapes, kinds = r"x0 and x1 of one shape .* \[2, 2\] and \[3\]", "floating-point tensors on one device"
    for x0, x1, message in ((x, x[:2], shapes), (x.long(), x.long(), kinds), (x, x.to("meta"), kinds)):
        with pytest.raises(InputError, match=f"interpolate: expected {message}"):
            interpolate(x0, x1, t)
