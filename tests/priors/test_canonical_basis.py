"""The basis that a fit leaves does not depend on rounding, and spans what it spanned before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.priors.subspace import canonical_basis

DIM = 12
SPREAD = torch.tensor([[9.0, 4.0, 4.0, 2.0, 1.0, 1.0]], dtype=torch.float64)


def orthonormal(seed: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(DIM, columns, generator=generator, dtype=torch.float64)).Q


def equivalent(basis: Tensor) -> Tensor:
    """Another basis that is as good: signs, a rotation of the equal pair, other directions of no spread."""
    other = basis.clone()
    other[:, [0, 3]] *= -1
    angle = torch.tensor(0.7).double()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    other[:, 1:3] = other[:, 1:3] @ turn
    rest = torch.linalg.qr(torch.cat([basis[:, :4], orthonormal(8, 2)], 1)).Q[:, 4:]
    other[:, 4:] = rest
    return other


@pytest.mark.parametrize("columns", [1, 4, 6])
def test_equivalent_bases_become_one(columns):
    """One vector, others of which two are equal, and two without spread beside them."""
    basis, given = orthonormal(1, 6), SPREAD[:, :columns]
    first, spread = canonical_basis(basis[None, :, :columns], given)
    second, _ = canonical_basis(equivalent(basis)[None, :, :columns], given * (1 + 1e-12))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-9)
    torch.testing.assert_close(spread, given, rtol=1e-12, atol=0)


def test_the_covariance_stays():
    basis = orthonormal(2, 6)
    found, spread = canonical_basis(basis[None], SPREAD)
    q = found[0]
    torch.testing.assert_close(q.T @ q, torch.eye(6).double(), rtol=0, atol=1e-12)
    before = (basis * (SPREAD[0] - 1)) @ basis.T
    torch.testing.assert_close((q * (spread[0] - 1)) @ q.T, before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [4, 400])
def test_rounding_of_the_data_does_not_move_the_draws(rows):
    """Four rows have three directions, the fit six: the others must not come from rounding."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(rows, DIM, generator=generator).double() * torch.linspace(3, 0.5, DIM)
    noise = 1e-12 * torch.randn(rows, DIM, generator=generator, dtype=torch.float64)
    draws = [
        Prior.create("latent-gmm", components=2, rank=6)
        .fit(data, generator=torch.Generator().manual_seed(0))
        .sample(n=50, generator=torch.Generator().manual_seed(1))
        for data in (x, x + noise)
    ]
    torch.testing.assert_close(*draws, rtol=0, atol=1e-6)
