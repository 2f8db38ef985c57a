"""From one of start, datum and velocity to the others, on every path."""

from __future__ import annotations

import pytest
import torch

from flowprior.paths import Path, ends_of_velocity, velocity_of_source

from .test_paths import WITHOUT_NOISE

TIMES = torch.tensor([0.0, 0.1, 0.37, 0.5, 0.82, 0.99], dtype=torch.float64)


def ends() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, len(TIMES), 2, 3, generator=generator, dtype=torch.float64)
    return x0, x1


@pytest.mark.parametrize("spec", [*WITHOUT_NOISE, "condot:sigma_min=0.1", "vp:beta_min=1.0,beta_max=5.0"])
def test_the_ends_follow_from_point_and_velocity(spec: str) -> None:
    path, (x0, x1) = Path.registry.resolve(spec), ends()
    x_t, u_t, t = path.interpolate(x0, x1, TIMES)
    found = ends_of_velocity(path, u_t, x_t, t)
    torch.testing.assert_close(found.x0, x0)
    torch.testing.assert_close(found.x1, x1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_velocity_follows_from_the_start_on_vp(dtype: torch.dtype) -> None:
    """Also at t = 1, where σ' is taken a little before the end."""
    path, (x0, x1) = Path.create("vp"), ends()
    times = torch.cat([TIMES[:-1], torch.ones(1, dtype=torch.float64)]).to(dtype)
    x_t, u_t, t = path.interpolate(x0.to(dtype), x1.to(dtype), times)
    found = velocity_of_source(path, x0.to(dtype), x_t, t)
    assert found.dtype == dtype
    torch.testing.assert_close(found, u_t, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-4)
