"""Samplers through torchdiffeq: accuracy, counting, limits, dtypes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.samplers import AdaptiveSampler, Sampler

from .ode import solution, source_samples, velocity

ADAPTIVE = [n for n in Sampler.available() if issubclass(Sampler.record(n).factory, AdaptiveSampler)]  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_tighter_tolerance_is_closer(name: str, dtype: torch.dtype) -> None:
    x0 = source_samples(dtype)
    loose = Sampler.create(name, rtol=1e-2, atol=1e-2).solve(velocity, x0)
    tight = Sampler.create(name, rtol=3e-6, atol=3e-6).solve(velocity, x0)
    errors = [float((r.x - solution(x0)).abs().max()) for r in (loose, tight)]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0]
    assert tight.nfe > loose.nfe
    assert tight.trajectory is None
    assert tight.x.dtype == dtype


@pytest.mark.parametrize("name", ADAPTIVE)
def test_evaluations_are_counted_and_stay_in_the_interval(name: str) -> None:
    times = []

    def watched(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        times.append(t)
        assert t.dtype == x.dtype
        return 1e-3 * torch.ones_like(x)  # so slow that the first step would go far beyond t = 1

    result = Sampler.create(name).solve(watched, source_samples(torch.float32))
    assert result.nfe == len(times)
    assert all(0.0 <= float(t.min()) <= float(t.max()) <= 1.0 for t in times)
    torch.testing.assert_close(result.x, source_samples(torch.float32) + 1e-3)


def test_trajectory_at_equal_times() -> None:
    x0 = source_samples()
    result = Sampler.create("dopri5", rtol=1e-8, atol=1e-8, points=5).solve(velocity, x0, trajectory=True)
    assert result.trajectory is not None
    assert result.times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    for t, state in zip(result.times.tolist(), result.trajectory, strict=True):
        torch.testing.assert_close(state, solution(x0, t), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(result.x, result.trajectory[-1], rtol=0, atol=0)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_nfe_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}' chooses its own number of evaluations, got nfe=15"):
        Sampler.create(name).solve(velocity, source_samples(), nfe=15)


def test_the_limit_of_evaluations_holds() -> None:
    calls = []

    def watched(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        calls.append(t)
        return velocity(x, t)

    sampler = Sampler.create("dopri5", rtol=1e-10, atol=1e-10, max_nfe=40)
    with pytest.raises(
        OptionError, match=r"spent max_nfe=40 evaluations and came to t=0\.\d+ of 1; raise max_nfe"
    ):
        sampler.solve(watched, source_samples())
    assert len(calls) == 40


@pytest.mark.parametrize("name", ["dopri5", "bosh3"])
def test_a_singular_or_undefined_velocity_ends_in_one_clear_line(name: str) -> None:
    def singular(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return x / (0.5 - t[:, None]).square()

    with pytest.raises(
        OptionError, match=r"gave up at t=0\.4\d* \(underflow in dt .*solve in float64$"
    ) as caught:
        Sampler.create(name).solve(singular, source_samples(torch.float32))
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="the velocity is not finite"):
        Sampler.create(name).solve(lambda x, t, c: x * float("nan"), source_samples())


@pytest.mark.parametrize(
    "spec",
    [
        "dopri5:rtol=0,atol=0",
        "dopri5:rtol=-0.5,atol=1",
        "dopri5:rtol=1,atol=-0.5",
        "dopri5:max_nfe=0",
        "dopri5:points=1",
    ],
)
def test_impossible_options(spec: str) -> None:
    Sampler.registry.resolve("dopri5:rtol=0,atol=1,max_nfe=1,points=2")
    Sampler.registry.resolve("dopri5:atol=0")
    with pytest.raises(OptionError, match="choose"):
        Sampler.registry.resolve(spec)
