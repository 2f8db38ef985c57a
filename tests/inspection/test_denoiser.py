"""The regression in closed form: exact where the truth is affine, better than affine where it bends."""

from __future__ import annotations

import pytest
import torch

from flowprior.inspection.simulated_flow import fit_denoiser


def test_it_finds_an_affine_map(generator):
    x = torch.randn(200, 3, generator=generator).double()
    matrix, shift = torch.randn(3, 2, generator=generator).double(), torch.tensor([1.0, -2.0]).double()
    denoiser, error = fit_denoiser(x, x @ matrix + shift)
    fresh = torch.randn(50, 3, generator=generator).double()
    torch.testing.assert_close(denoiser(fresh), fresh @ matrix + shift, rtol=1e-3, atol=1e-3)
    assert error < 1e-6


def test_it_follows_a_curve_that_no_affine_map_can(generator):
    x = torch.randn(400, 1, generator=generator).double()
    y = (2 * x).sin()
    _, error = fit_denoiser(x, y)
    slope = (x * y).mean() / x.square().mean()
    assert error < 0.3 * (y - slope * x).square().mean().item()


def test_the_error_is_that_on_rows_left_out(generator):
    """Pure noise in 40 dimensions: the fit explains its own rows, and says that it explains no others."""
    x, y = torch.randn(2, 120, 40, generator=generator).double()
    denoiser, error = fit_denoiser(x, y)
    fresh_x, fresh_y = torch.randn(2, 2000, 40, generator=generator).double()
    assert error == pytest.approx((denoiser(fresh_x) - fresh_y).square().mean().item(), rel=0.15)
    assert (denoiser(x) - y).square().mean() < error


def test_rows_that_are_all_the_same_give_the_mean():
    denoiser, error = fit_denoiser(torch.ones(20, 2).double(), torch.arange(20.0).double()[:, None])
    assert denoiser(torch.ones(1, 2).double()).item() == pytest.approx(9.5)
    assert error > 0
