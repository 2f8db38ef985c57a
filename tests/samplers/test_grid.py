"""Time grids: from 0 to 1, only forward, of the shape their name says."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import OptionError, UnknownComponentError
from flowprior.registry.registry import spec_of
from flowprior.samplers import Sampler, TimeGrid
from flowprior.samplers.diffusion import DDIM
from flowprior.samplers.fixed import time_grid

CONVERGING = ["uniform", "cosine"]


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
