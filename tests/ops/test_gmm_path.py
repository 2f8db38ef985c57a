"""Draw and path in one pass, against draw and path."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import DerivativeError, InputError
from flowprior.ops import gmm_path, gmm_sample, interpolate

from .mixtures import mixture

BOUND = {torch.float32: 2e-6, torch.float64: 1e-12, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
@pytest.mark.parametrize(("event", "spherical"), [((1,), False), ((7,), True), ((2, 3, 5), False)])
def test_it_is_the_path_from_the_draw(dtype, sigma_min, event, spherical, generator):
    tables = mixture(generator, event=event, spherical=spherical, dtype=dtype)
    cond, t = torch.arange(20) % 3, torch.rand(20, generator=generator)
    x1 = torch.randn(20, *event, generator=generator).to(dtype)
    x_t, u_t, component = gmm_path(*tables, cond, x1, t, 5, sigma_min)
    assert x_t.shape == u_t.shape == x1.shape
    assert x_t.dtype == u_t.dtype == dtype
    x0, same = gmm_sample(*(table.double() for table in tables), cond, 5)
    assert torch.equal(component, same)
    expected = interpolate(x0, x1.double(), t, sigma_min)
    for result, exact in zip((x_t, u_t), expected, strict=True):
        torch.testing.assert_close(result.double(), exact, rtol=BOUND[dtype], atol=4 * BOUND[dtype])


def test_it_is_not_differentiable_and_says_so(generator):
    tables = mixture(generator)
    x1 = torch.zeros(2, 5).double().requires_grad_()
    x_t, _, _ = gmm_path(*tables, torch.tensor([0, 1]), x1, torch.rand(2), 1)
    with pytest.raises(DerivativeError, match=r"gmm_path: a draw .* standard_normal, and interpolate"):
        x_t.sum().backward()


def test_inputs_that_do_not_fit(generator):
    tables = mixture(generator)
    x1, cond, t = torch.zeros(2, 5).double(), torch.tensor([0, 1]), torch.rand(2)
    for wrong in ((cond, x1[:, :4], t), (cond, x1[:1], t), (cond, x1, t[:1]), (cond[:1], x1, t)):
        with pytest.raises(InputError, match=r"gmm_path: expected x1 \[B, \*event\], t \[B\] and cond \[B\]"):
            gmm_path(*tables, *wrong, 1)
    with pytest.raises(InputError, match="gmm_path: expected one floating-point dtype"):
        gmm_path(*tables, cond, x1.float(), t, 1)
    with pytest.raises(InputError, match="gmm_path: cond has label 7"):
        gmm_path(*tables, cond + 6, x1, t, 1)
