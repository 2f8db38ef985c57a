"""Trajectories: closed forms of state, energy and curvature, times, guidance; truncation errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.metrics import normalised_energy
from flowprior.metrics.trajectories import local_error, root_mean_square, solve_trajectories
from flowprior.samplers import Sampler
from tests.gaussian_flow import LinearVelocity, flow_of


def starts(generator: torch.Generator, n: int, *event: int) -> Tensor:
    return torch.randn(n, *event, generator=generator, dtype=torch.float64)


def test_states_are_the_closed_form_at_every_time(generator: torch.Generator) -> None:
    velocity = LinearVelocity(3)
    x0, times = starts(generator, 20, 3), [0.1, 0.37, 0.5, 0.93]
    found = solve_trajectories(flow_of(velocity), x0, times=times)
    fixed = torch.linalg.solve(velocity.matrix, velocity.shift)
    for t in (0.0, *times, 1.0):
        expected = (x0 + fixed) @ torch.matrix_exp(t * velocity.matrix).T - fixed
        torch.testing.assert_close(found.at(t), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(velocity.start_of(found.end), x0, rtol=1e-6, atol=1e-6)


def test_curvature_and_energy_of_a_growing_line_are_known(generator: torch.Generator) -> None:
    """x' = a x: energy a (e^2a − 1) x0² / 2, and a distance of (e^a − 1) x0."""
    a, x0 = 0.7, starts(generator, 30, 2)
    found = solve_trajectories(flow_of(lambda x, t, cond: a * x, event=(2,)), x0)
    squares = x0.square().sum(1)
    energy = a * math.expm1(2 * a) / 2 * squares
    curvature = energy - math.expm1(a) ** 2 * squares
    torch.testing.assert_close(found.energy, energy, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.curvature, curvature, rtol=1e-6, atol=1e-9)


def test_a_straight_flow_has_no_curvature_in_float32_either(generator: torch.Generator) -> None:
    x0 = 30 * torch.randn(40, 200, generator=generator)
    flow = flow_of(lambda x, t, cond: torch.full_like(x, 5.0), event=(200,), dtype=torch.float32)
    found = solve_trajectories(flow, x0)
    assert found.curvature.max() < 1e-3
    torch.testing.assert_close(found.energy, torch.full((40,), 5000.0).double(), rtol=1e-4, atol=0)


def test_normalised_energy_is_zero_for_optimal_transport_and_known_for_a_detour(
    generator: torch.Generator,
) -> None:
    x0, cond = starts(generator, 40, 3), torch.arange(40) % 2
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    straight = solve_trajectories(flow_of(lambda x, t, cond: shift.expand_as(x)), x0)
    assert normalised_energy(straight, cond) == pytest.approx(0, abs=1e-6)
    assert normalised_energy(straight, None) == pytest.approx(0, abs=1e-6)

    def accelerating(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return 2 * t[:, None] * shift

    slow_then_fast = solve_trajectories(flow_of(accelerating), x0)  # ∫ 4t² dt = 4/3
    assert normalised_energy(slow_then_fast, cond) == pytest.approx(1 / 3, rel=1e-5)
    still = solve_trajectories(flow_of(lambda x, t, cond: torch.zeros_like(x)), x0)
    assert normalised_energy(still, None) == pytest.approx(0, abs=1e-9)


def test_energy_in_each_label_counts_alike(generator: torch.Generator) -> None:
    """Label 1 swaps its two points: energy without gain."""
    x0 = torch.tensor([[0.0], [0.0], [-1.0], [1.0]], dtype=torch.float64)
    cond = torch.tensor([0, 0, 1, 1])

    def velocity(x: Tensor, t: Tensor, c: Tensor | None) -> Tensor:
        return torch.tensor([[2.0], [2.0], [2.0], [-1.0]], dtype=torch.float64)

    found = solve_trajectories(flow_of(velocity, event=(1,), classes=2), x0, cond)  # ends 2, 2, 1, 0
    # label 0: energy 4, W2² 4; label 1: energies 4 and 1; matching sorted clouds costs 1 and 0
    assert normalised_energy(found, cond) == pytest.approx((4 + 2.5) / (4 + 0.5) - 1, rel=1e-6)


def test_guidance_and_batches_are_passed_on(generator: torch.Generator) -> None:
    x0, cond = starts(generator, 6, 2), torch.tensor([0, 1, 2, 0, 1, 2])

    def velocity(x: Tensor, t: Tensor, c: Tensor | None) -> Tensor:
        assert c is not None
        return c.double()[:, None].expand_as(x)

    flow = flow_of(velocity, event=(2,), classes=3)
    whole = solve_trajectories(flow, x0, cond, guidance=2.0)
    expected = x0 + (3 + 2 * (cond - 3))[:, None]  # the null label is 3
    torch.testing.assert_close(whole.end, expected, rtol=1e-6, atol=1e-6)
    parts = solve_trajectories(flow, x0, cond, guidance=2.0, batch_size=4)
    torch.testing.assert_close(parts.end, whole.end, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "stages", "order"), [("euler", 1, 1), ("heun", 2, 2), ("rk4", 4, 4)])
def test_truncation_errors_fall_with_the_order_of_the_method(
    generator: torch.Generator, name: str, stages: int, order: int
) -> None:
    sampler, x0, flow = Sampler.create(name), starts(generator, 30, 3), flow_of(LinearVelocity(3))
    counts = [8 * stages, 16 * stages]
    solved = solve_trajectories(flow, x0, times=[t for n in counts for t in sampler.times(n).tolist()])
    local = [local_error(flow, sampler, n, solved, batch_size=7) for n in counts]
    ends = [sampler.integrate(flow.velocity, x0, nfe=n).detach() for n in counts]
    total = [root_mean_square(x, solved.end) for x in ends]
    assert math.log2(local[0] / local[1]) == pytest.approx(order + 1, abs=0.4)
    assert math.log2(total[0] / total[1]) == pytest.approx(order, abs=0.4)


def test_impossible_calls_are_refused(generator: torch.Generator) -> None:
    flow, heun = flow_of(LinearVelocity(3)), Sampler.create("heun")
    solved = solve_trajectories(flow, starts(generator, 30, 3))
    with pytest.raises(OptionError, match="nfe=3 cannot be spent exactly"):
        local_error(flow, heun, 3, solved)
    with pytest.raises(InputError, match=r"no state at t=0\.5"):
        local_error(flow, heun, 4, solved)
