"""Source samples with inferred latents, in one pass, against the law that they are drawn from."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import DerivativeError, InputError
from flowprior.ops import subspace_source
from flowprior.ops.subspace_source import reference_subspace_source

from .subspaces import check_rows, normal, subspace

BOUND = {torch.float32: 3e-6, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize(("rows", "dim", "rank"), [(11, 20, 3), (40, 33, 8), (1, 1, 1), (0, 5, 2), (9, 4, 4)])
def test_it_is_the_formula(dtype, rows, dim, rank, generator):
    tables, _ = subspace(generator, rows, dim, rank, dtype)
    x1, epsilon = (normal(generator, rows, dim, dtype=dtype) for _ in range(2))
    latent = normal(generator, rows, rank, dtype=dtype)
    x0 = subspace_source(x1, latent, epsilon, tables)
    wide = [tensor.double() for tensor in (x1, latent, epsilon, *tables[:4])]
    assert x0.dtype == dtype
    exact = reference_subspace_source(*wide, tables.cond)
    torch.testing.assert_close(x0.double(), exact, rtol=BOUND[dtype], atol=3 * BOUND[dtype])


def test_strides_change_nothing(generator):
    tables, _ = subspace(generator)
    x1, epsilon, latent = normal(generator, 11, 20), normal(generator, 11, 20), normal(generator, 11, 3)
    expected = subspace_source(x1, latent, epsilon, tables)
    spaced = [torch.stack([t, t], -1)[..., 0] for t in (x1, latent, epsilon, *tables)]
    assert torch.equal(subspace_source(*spaced[:3], type(tables)(*spaced[3:])), expected)


def test_a_row_does_not_depend_on_the_others(generator):
    tables, _ = subspace(generator, 40, 33, 8, torch.float32)
    parts = [normal(generator, 40, n, dtype=torch.float32) for n in (33, 8, 33)]
    whole = subspace_source(*parts, tables)
    few = torch.tensor([31, 2, 7])
    some = type(tables)(*(t[few] for t in tables[:3]), tables.basis, tables.cond[few])
    check_rows(subspace_source(*(part[few] for part in parts), some), whole, few)


def test_it_is_not_differentiable_and_says_so(generator):
    tables, _ = subspace(generator)
    x1 = normal(generator, 11, 20).requires_grad_()
    x0 = subspace_source(x1, normal(generator, 11, 3), normal(generator, 11, 20), tables)
    with pytest.raises(DerivativeError, match=r"subspace_source: .* Frame\.noised and Frame\.place"):
        x0.sum().backward()


def test_inputs_that_do_not_fit(generator):
    tables, _ = subspace(generator)
    x1, latent, epsilon = normal(generator, 11, 20), normal(generator, 11, 3), normal(generator, 11, 20)
    wide = tables._replace(basis=torch.zeros(3, 513, 32).double(), spread=torch.ones(11, 513).double())
    half = type(tables)(*(t.half() for t in tables[:4]), tables.cond)
    wrong = {
        r"expected epsilon \[11, 20\] and latent \[11, 3\]": (x1, latent[:, :2], epsilon, tables),
        "transposed_bases makes such a basis": (
            *(x1, latent, epsilon),
            tables._replace(basis=tables.basis[..., :20]),
        ),
        "subspace_source: expected one floating-point dtype": (x1.float(), latent, epsilon, tables),
        "subspace_source: cond has label 9": (
            *(x1, latent, epsilon),
            tables._replace(cond=tables.cond * 0 + 9),
        ),
        "1 <= r <= 512": (x1, normal(generator, 11, 513), epsilon, wide),
        r"subspace_source: expected float32 or float64, got torch\.float16": (
            *(x1.half(), latent.half(), epsilon.half()),
            half,
        ),
    }
    for message, arguments in wrong.items():
        with pytest.raises(InputError, match=message):
            subspace_source(*arguments)
