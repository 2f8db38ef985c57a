"""A frame's algebra: projection, transposes, leverage, diagonal; a basis that hangs on no rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior import Prior
from flowprior.ops.operators import is_native
from flowprior.ops.subspace import MOST_AXES
from flowprior.priors import frame as frames
from flowprior.priors.conditional_spread import RowAxes
from flowprior.priors.frame import Axes, Frame, Subspace
from flowprior.priors.subspace import canonical_basis

LABELS, DIM, RANK = 3, 7, 2


@pytest.fixture(params=["own", "shared", "of each row"])
def frame(request, generator):
    """Of five rows, labels 0 … 2, with noise of their own; or with a rotation for each row of one basis."""
    if request.param == "of each row":
        return rotated(generator)
    noise = 0.5 + torch.rand(LABELS, DIM, generator=generator, dtype=torch.float64)
    values = {"loc": torch.randn(LABELS, DIM, generator=generator), "noise": noise}
    values["spread"] = 1 + torch.rand(LABELS, RANK, generator=generator, dtype=torch.float64) * 5
    count = LABELS if request.param == "own" else 1
    random = torch.randn(count, DIM, RANK, generator=generator, dtype=torch.float64)
    values["basis"] = torch.linalg.qr(random).Q
    if request.param == "shared":
        common = 0.5 + torch.rand(1, DIM, generator=generator, dtype=torch.float64)
        gram = values["basis"].mT @ (values["basis"] * (common / noise)[..., None])
        turned = torch.linalg.qr(torch.randn(LABELS, RANK, RANK, generator=generator, dtype=torch.float64)).Q
        eigen, vectors = torch.linalg.eigh(gram)
        values["rotation"] = (vectors * eigen.rsqrt()[:, None]) @ vectors.mT @ turned
        values |= {"common": common, "group": torch.zeros(LABELS, dtype=torch.long)}
    return Subspace.of(noise, **values).frame(torch.tensor([0, 2, 1, 0, 2]), 0.1)


def rotated(generator) -> Frame:
    """As a network gives it: everything but the basis is the row's own."""
    q = torch.linalg.qr(torch.randn(1, DIM, RANK, generator=generator, dtype=torch.float64)).Q
    turned = torch.linalg.qr(torch.randn(5, RANK, RANK, generator=generator, dtype=torch.float64)).Q
    loc = torch.randn(5, DIM, generator=generator, dtype=torch.float64)
    noise, spread = (1 + torch.rand(5, n, generator=generator, dtype=torch.float64) for n in (DIM, RANK))
    group = torch.zeros(5, dtype=torch.long)
    axes = RowAxes(q, group, lambda: q.square().sum(2), rotation=turned)
    return Frame(loc, noise, spread, axes, floor=0.1)


def bases(frame) -> torch.Tensor:
    """The orthonormal basis of each row in its own whitened coordinates, ``[5, D, r]``."""
    return torch.stack([frame.axes.into(e.expand(5, -1)) for e in torch.eye(DIM).double()], 1)


def test_into_is_a_projection_on_orthonormal_axes_and_out_of_its_transpose(frame, generator):
    q = bases(frame)
    torch.testing.assert_close(q.mT @ q, torch.eye(RANK).double().expand(5, -1, -1))
    along = torch.randn(5, RANK, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(frame.axes.out_of(along), torch.einsum("bdr,br->bd", q, along))
    torch.testing.assert_close(frame.axes.into(frame.axes.out_of(along)), along)


def test_leverage_and_diagonal_are_those_of_the_projection(frame):
    q = bases(frame)
    torch.testing.assert_close(frame.axes.leverage, q.square().sum(2))
    weights = torch.rand(5, RANK, dtype=torch.float64)
    exact = torch.einsum("bdr,br->bd", q.square(), weights)
    found = frame.axes.diagonal(weights)
    if type(frame.axes) is Axes:
        torch.testing.assert_close(found, exact)
    else:  # an approximation, of the right sum where the noise is the common one
        assert (found.sum(1) - exact.sum(1)).abs().max() < 0.5
        assert (found > 0).all()


@pytest.mark.parametrize(
    ("dtype", "rank", "room", "served"),
    [
        (torch.float32, RANK, 0, True),
        (torch.float64, MOST_AXES, 0, True),
        (torch.float64, RANK, -1, False),
        (torch.float32, MOST_AXES + 1, 0, False),
        (torch.float32, 0, 0, False),
        (torch.float16, RANK, 0, False),
    ],
)
def test_bases_are_kept_transposed_where_operators_take_them_and_memory_allows(
    dtype, rank, room, served, monkeypatch
):
    table = torch.ones(LABELS, DIM, rank, dtype=dtype)
    monkeypatch.setattr(frames, "TRANSPOSED_NUMBERS", table.numel() + room)
    tables = {"loc": table.new_zeros(LABELS, DIM), "noise": table.new_ones(LABELS, DIM)}
    own = Subspace.of(table, basis=table, spread=table.new_ones(LABELS, rank), **tables)
    frame = own.frame(torch.tensor([0, 2]), 0.1)
    assert (frame.axes.transposed is not None) is served


def test_what_is_placed_has_its_coordinates_and_noise_outside(frame, generator):
    h = torch.randn(5, RANK, generator=generator, dtype=torch.float64)
    epsilon = torch.randn(5, DIM, generator=generator, dtype=torch.float64)
    x = frame.place(h, epsilon)
    torch.testing.assert_close(frame.coordinates(x), h)
    white = (x - frame.loc) * frame.noise.rsqrt()
    torch.testing.assert_close(
        white - frame.axes.out_of(frame.axes.into(white)),
        epsilon - frame.axes.out_of(frame.axes.into(epsilon)),
    )


def test_a_source_sample_is_what_is_inferred_and_placed(frame, generator):
    """By the native operator where bases are the conditions' own, and by the frame's own algebra."""
    x, latent, epsilon = (
        torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (DIM, RANK, DIM)
    )
    own = type(frame.axes) is Axes
    assert (frame.tables(x) is not None) == (own and is_native(x.device))
    expected = frame.place(frame.noised(frame.coordinates(x), latent), epsilon)
    torch.testing.assert_close(frame.source(x, latent, epsilon), expected, rtol=1e-10, atol=1e-10)


def test_the_density_around_is_that_of_a_gaussian(frame, generator):
    x = torch.randn(5, DIM, generator=generator, dtype=torch.float64)
    h, density = frame.log_density_around(x)
    q, root = bases(frame), frame.noise.sqrt()
    inner = torch.eye(DIM) + q @ torch.diag_embed(frame.spread - 1) @ q.mT
    law = torch.distributions.MultivariateNormal(frame.loc, root[:, :, None] * inner * root[:, None])
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(h).sum(1)
    torch.testing.assert_close(density + normal, law.log_prob(x))


def test_several_vectors_of_a_row_are_as_one_by_one(frame, generator):
    white = torch.randn(5, 3, DIM, generator=generator, dtype=torch.float64)
    along = torch.rand(5, 3, RANK, generator=generator, dtype=torch.float64)
    for method, vectors in (
        (frame.axes.into, white),
        (frame.axes.out_of, along),
        (frame.axes.diagonal, along),
    ):
        each = torch.stack([method(vectors[:, k]) for k in range(3)], 1)
        torch.testing.assert_close(method(vectors), each)


# -- the canonical basis --------------------------------------------------------------------------


WIDE = 12
SPREAD = torch.tensor([[9.0, 4.0, 4.0, 2.0, 1.0, 1.0]], dtype=torch.float64)


def orthonormal(seed: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(WIDE, columns, generator=generator, dtype=torch.float64)).Q


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
    x = torch.randn(rows, WIDE, generator=generator).double() * torch.linspace(3, 0.5, WIDE)
    noise = 1e-12 * torch.randn(rows, WIDE, generator=generator, dtype=torch.float64)
    draws = [
        Prior.create("latent-gmm", components=2, rank=6)
        .fit(data, generator=torch.Generator().manual_seed(0))
        .sample(n=50, generator=torch.Generator().manual_seed(1))
        for data in (x, x + noise)
    ]
    torch.testing.assert_close(*draws, rtol=0, atol=1e-6)
