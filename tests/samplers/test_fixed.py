"""Fixed-step samplers and time grids: order, exact evaluations, times and errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowprior.errors import OptionError, UnknownComponentError
from flowprior.registry.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, TimeGrid
from flowprior.samplers.diffusion import DDIM
from flowprior.samplers.fixed import time_grid

from .ode import solution, source_samples, velocity

CONVERGING = ["uniform", "cosine"]
ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "heun3": 3, "rk4": 4}
STAGES = {"euler": 1, "midpoint": 2, "heun": 2, "heun3": 3, "rk4": 4}
STEPPING = [n for n in Sampler.available() if issubclass(Sampler.record(n).factory, FixedStepSampler)]  # type: ignore[arg-type]
FIXED = [n for n in STEPPING if n not in ("exponential", "flow-map")]
"""Those that ask for velocities, not for averages of them."""


def test_the_table_of_orders_is_complete() -> None:
    assert set(FIXED) == set(ORDERS)


@pytest.mark.parametrize("grid", CONVERGING)
@pytest.mark.parametrize("name", FIXED)
def test_order_of_convergence(name: str, grid: str) -> None:
    """Halving the steps divides the error by 2^order: the least-squares slope of log-error over log-steps."""
    sampler = Sampler.create(name, grid=grid)
    steps = torch.tensor([8, 16, 32, 64])
    x0 = source_samples()
    errors = [
        float((sampler.integrate(velocity, x0, nfe=int(n) * STAGES[name]) - solution(x0)).abs().max())
        for n in steps
    ]
    x, y = steps.double().log(), torch.tensor(errors).double().log()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    assert -slope == pytest.approx(ORDERS[name], abs=0.2)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_evaluations_are_spent_exactly(name: str, steps: int) -> None:
    calls = []

    def watched(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        calls.append(t)
        assert t.shape == (7,)
        assert cond is labels
        return velocity(x, t)

    labels = torch.arange(7)
    result = Sampler.create(name).solve(watched, source_samples(), labels, nfe=steps * STAGES[name])
    assert result.nfe == len(calls) == steps * STAGES[name]
    assert min(float(t.min()) for t in calls) >= 0.0
    assert max(float(t.max()) for t in calls) <= 1.0


@pytest.mark.parametrize("name", FIXED)
def test_without_nfe_at_most_fifteen_are_spent(name: str) -> None:
    nfe = Sampler.create(name).solve(velocity, source_samples()).nfe
    assert 15 - STAGES[name] < nfe <= 15


@pytest.mark.parametrize(
    ("name", "nfe", "nearest"),
    [
        ("heun", 15, "14 or 16"),
        ("rk4", 15, "12 or 16"),
        ("rk4", 2, "4"),
        ("euler", 0, "1"),
        ("midpoint", -3, "2"),
    ],
)
def test_an_impossible_nfe_names_the_nearest(name: str, nfe: int, nearest: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}': nfe={nfe} cannot be spent exactly.*choose {nearest}$"):
        Sampler.create(name).solve(velocity, source_samples(), nfe=nfe)


@pytest.mark.parametrize("nfe", [1_000_001, 2.0, True, "3"])
def test_evaluations_are_a_whole_number_and_not_endless(nfe: object) -> None:
    with pytest.raises(OptionError, match=rf"'euler': nfe={nfe!r} is not possible; .* 1,000,000 at most"):
        Sampler.create("euler").solve(velocity, source_samples(), nfe=nfe)  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", CONVERGING)
def test_trajectory_has_every_state_and_its_time(grid: str) -> None:
    x0 = source_samples()
    sampler = Sampler.create("rk4", grid=grid)
    result = sampler.solve(velocity, x0, nfe=40, trajectory=True)
    assert result.trajectory is not None
    assert result.trajectory.shape == (11, 7, 1)
    torch.testing.assert_close(result.times, time_grid(10, grid))
    for t, state in zip(result.times.tolist(), result.trajectory, strict=True):
        torch.testing.assert_close(state, solution(x0, t), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result.trajectory[-1], result.x, rtol=0, atol=0)
    plain = sampler.solve(velocity, x0, nfe=40)
    assert plain.trajectory is None
    assert plain.times.tolist() == [0.0, 1.0]
    torch.testing.assert_close(plain.x, result.x, rtol=0, atol=0)


# -- time grids -----------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", TimeGrid.available())
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_a_grid_runs_from_0_to_1_and_only_forward(grid: str, steps: int) -> None:
    times = time_grid(steps, grid)
    assert times.shape == (steps + 1,)
    assert times.dtype == torch.float64
    assert times[0] == 0.0
    assert times[-1] == 1.0
    assert (times.diff() > 0).all()


def test_cosine_steps_are_symmetric_and_short_at_both_ends() -> None:
    steps = time_grid(9, "cosine").diff()
    torch.testing.assert_close(steps, steps.flip(0))
    assert (steps[:4].diff() > 0).all()


@pytest.mark.parametrize(
    ("exponent", "times"), [(0.5, [0, 1 - 0.5**0.5, 1]), (1.0, [0, 0.5, 1]), (2.0, [0, 0.75, 1])]
)
def test_power_steps(exponent: float, times: list[float]) -> None:
    torch.testing.assert_close(
        time_grid(2, "power", exponent=exponent), torch.tensor(times, dtype=torch.float64)
    )


def test_the_last_step_begins_at_the_same_time_for_any_number_of_steps() -> None:
    assert time_grid(4, "last", at=0.6).tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 1])
    assert time_grid(30, "last", at=0.75)[-2] == 0.75


def test_the_last_step_is_no_shorter_than_equal_ones() -> None:
    assert time_grid(2, "last", at=0.6).tolist() == [0, 0.5, 1]
    torch.testing.assert_close(time_grid(4, "last", at=0.9), time_grid(4))


def test_unknown_grid() -> None:
    with pytest.raises(UnknownComponentError, match="did you mean 'cosine'"):
        time_grid(3, "cosin")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("euler:exponent=2", "exponent"),
        ("euler:grid=last,exponent=2", "exponent"),
        ("euler:grid=last,at=1", "expected at to be a number"),
        ("heun:grid=power,exponent=0", "expected exponent to be a number"),
        ("ddim:grid=power,at=0.5", "'at'"),
    ],
)
def test_options_of_another_grid_and_impossible_ones_are_refused(spec: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Sampler.registry.resolve(spec)


@pytest.mark.parametrize(
    "spec", ["euler:grid=last,at=0.75", "heun:grid=power,exponent=0.25", "ddim:grid=last"]
)
def test_a_samplers_grid_is_written_down_with_its_options(spec: str) -> None:
    assert spec_of(Sampler.registry, Sampler.registry.resolve(spec)) == spec


def test_a_grid_of_ones_own_by_name_and_as_an_instance() -> None:
    class Halves(TimeGrid):
        """Each step half as long as the one before, the last as long as that."""

        def times(self, steps: int) -> torch.Tensor:
            inner = 1 - 0.5 ** torch.arange(steps, dtype=torch.float64)
            return torch.cat([inner, torch.ones(1, dtype=torch.float64)])

    TimeGrid.register("halves")(Halves)
    try:
        by_name, instance = Sampler.create("euler", grid="halves"), Sampler.create("euler", grid=Halves())
        assert by_name.times(3).tolist() == instance.times(3).tolist() == [0, 0.5, 0.75, 1]
        assert DDIM(grid="halves")._grid.times(2).tolist() == [0, 0.5, 1]
    finally:
        TimeGrid.registry._records.pop("halves")
