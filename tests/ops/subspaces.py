"""Tables of a subspace prior for the operators on them: three conditions, orthonormal bases."""

from __future__ import annotations

import torch

from flowprior.ops import SubspaceTables, transposed_bases
from flowprior.ops.operators import is_native

CONDITIONS = 3


def subspace(generator, rows=11, dim=20, rank=3, dtype=torch.float64):
    """The linear part of each row, and the squared lengths ``[C, D]`` of the bases' rows."""
    basis = torch.linalg.qr(torch.randn(CONDITIONS, dim, rank, generator=generator, dtype=torch.float64)).Q
    noise, spread = (torch.rand(rows, n, generator=generator, dtype=torch.float64) for n in (dim, rank))
    loc = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    tables = (loc, 0.3 + noise, 1.2 + 9 * spread, transposed_bases(basis))
    cond = torch.randint(CONDITIONS, (rows,), generator=generator)
    lengths = basis.square().sum(2).to(dtype)
    return SubspaceTables(*(table.to(dtype) for table in tables), cond), lengths


def check_rows(found, whole, rows):
    """That ``found`` are these rows of ``whole``: the native operator's to the last bit."""
    bound = 0.0 if is_native(found.device) else 1e-5
    torch.testing.assert_close(found, whole[rows], rtol=bound, atol=bound)


def normal(generator, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
