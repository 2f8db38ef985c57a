"""The flow map: one evaluation an interval, and no error where averages are exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.samplers import Sampler, time_grid
from flowprior.samplers.base import AveragedVelocity, AverageOf

RATE = 1.7


def average(x: Tensor, begin: Tensor, end: Tensor, cond: None) -> Tensor:
    """Of dx/dt = RATE x over the interval: (exp(RATE length) − 1) x / length, RATE x at length 0."""
    length = (end - begin)[:, None]
    return torch.where(length > 0, torch.expm1(RATE * length) / length, RATE) * x


def averaged(average: AverageOf) -> AveragedVelocity:
    """A velocity of which only averages may be asked."""

    def velocity(x: Tensor, t: Tensor, cond: None) -> Tensor:
        raise AssertionError("an average is enough")

    return AveragedVelocity(velocity, average)


@pytest.mark.parametrize("grid", ["uniform", "cosine", "power"])
@pytest.mark.parametrize("nfe", [1, 2, 9])
def test_steps_by_exact_averages_end_at_the_solution(grid: str, nfe: int) -> None:
    x0 = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = Sampler.create("flow-map", grid=grid).solve(averaged(average), x0, nfe=nfe, trajectory=True)
    assert found.nfe == nfe
    assert found.trajectory is not None
    torch.testing.assert_close(found.x, math.exp(RATE) * x0)
    expected = torch.exp(RATE * found.times)[:, None, None] * x0
    torch.testing.assert_close(found.trajectory, expected)


def test_each_evaluation_is_told_where_its_step_begins_and_ends() -> None:
    told = []

    def watched(x: Tensor, begin: Tensor, end: Tensor, cond: Tensor) -> Tensor:
        assert begin.shape == end.shape == (4,)
        told.append(torch.stack([begin[0], end[0]]))
        assert cond is labels
        return torch.zeros_like(x)

    labels = torch.arange(4)
    Sampler.create("meanflow", grid="power").solve(averaged(watched), torch.zeros(4, 2), labels, nfe=3)
    times = time_grid(3, "power").float()
    torch.testing.assert_close(torch.stack(told), torch.stack([times[:-1], times[1:]], 1))


@pytest.mark.parametrize(
    ("nfe", "told"),
    [
        (1, [(0.0, 1.0)]),
        (2, [(0.0, 0.7), (0.7, 0.7)]),
        (3, [(0.0, 0.35), (0.35, 0.7), (0.7, 0.7)]),
    ],
)
def test_on_the_grid_last_a_step_of_the_velocity_ends_whatever_the_number_of_steps(
    nfe: int, told: list[tuple[float, float]]
) -> None:
    """Of intervals of length 0 the average is the velocity; one evaluation asks for the average of it all."""
    seen: list[Tensor] = []

    def watched(x: Tensor, begin: Tensor, end: Tensor, cond: None) -> Tensor:
        seen.append(torch.stack([begin[0], end[0]]))
        return torch.ones_like(x)

    found = Sampler.create("flow-map", grid="last", at=0.7).solve(
        averaged(watched), torch.zeros(4, 2), nfe=nfe
    )
    torch.testing.assert_close(torch.stack(seen), torch.tensor(told))
    torch.testing.assert_close(found.x, torch.ones(4, 2))


def test_steps_before_the_last_one_are_exact_where_averages_are() -> None:
    """Two evaluations end where the exact solution at 0.7 and one step of the velocity from there do."""
    x0 = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for nfe in (2, 5):
        found = Sampler.create("flow-map", grid="last", at=0.7).solve(averaged(average), x0, nfe=nfe).x
        torch.testing.assert_close(found, math.exp(0.7 * RATE) * (1 + 0.3 * RATE) * x0)


def test_a_late_start_leaves_the_last_step_where_it_begins() -> None:
    late = Sampler.registry.resolve("flow-map:start=0.2,grid=last,at=0.7")
    assert late.times(2).tolist() == pytest.approx([0.2, 0.7, 1.0])
    assert late.times(1).tolist() == pytest.approx([0.2, 1.0])
