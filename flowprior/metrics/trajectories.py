"""A flow's own trajectories to a tight tolerance: where they end, how curved they are, what they cost.

Along a trajectory x_t of the model, from x_0 to x_1,

    path energy   ∫ ‖v_t(x_t)‖² dt
    curvature     ∫ ‖v_t(x_t) − (x_1 − x_0)‖² dt  =  path energy − ‖x_1 − x_0‖²

The curvature is 0 where every trajectory is a straight line at constant speed, which one Euler step solves
exactly. Both come out of the same solve: the deviation from the first velocity v_0 is integrated beside the
state, e' = ‖v − v_0‖², and curvature = e(1) − ‖x_1 − x_0 − v_0‖², which keeps its digits for nearly straight
flows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.flow.batches import batches
from flowprior.flow.evaluation_mode import evaluating
from flowprior.metrics.wasserstein import wasserstein2_per_condition
from flowprior.samplers import CountedVelocity, Velocity
from flowprior.samplers.torchdiffeq import Limited, integrate

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Relative and absolute tolerance of dopri5; about as tight as the type allows."""
LOOSE = 1e-3
"""That of shorter types."""
MAX_NFE = 10_000


@dataclass(frozen=True)
class Trajectories:
    """Solutions of n trajectories.

    Attributes:
        times: increasing ``[T]``, from 0 to 1, in the dtype of the states.
        states: ``[T, n, *event]``.
        curvature: ``[n]``, float64.
        energy: ``[n]``, float64.
        nfe: evaluations of the velocity, of the dearest batch.
        tolerance: relative and absolute, of dopri5.
    """

    times: Tensor
    states: Tensor
    curvature: Tensor
    energy: Tensor
    nfe: int
    tolerance: float

    @property
    def start(self) -> Tensor:
        """x_0 ``[n, *event]``."""
        return self.states[0]

    @property
    def end(self) -> Tensor:
        """x_1 ``[n, *event]``."""
        return self.states[-1]

    def at(self, time: float) -> Tensor:
        """The states ``[n, *event]`` at one of the times that were asked for.

        Raises:
            InputError: another time.
        """
        places = (self.times == torch.tensor(time).to(self.times)).nonzero()
        if len(places) == 0:
            raise InputError(f"trajectories: no state at t={time:g}; solve for this time as well")
        return self.states[int(places[0])]

    def normalised_energy(self, cond: Tensor | None) -> float:
        """(E path energy − W2²) / W2² with W2² between the starts and the ends, per condition.

        0 where the flow is optimal transport along straight lines. Tong et al. 2023 (arXiv 2302.00482) take
        W2² between starts and *data*: the same for a flow that reaches the data. The flow's own ends keep
        the figure above 0 where clouds are small for their dimension.

        Args:
            cond: labels ``[n]``, embeddings ``[n, E]`` (pooled) or None.
        """
        labels = cond.cpu() if cond is not None and not cond.is_floating_point() else None
        start, end = self.start.cpu(), self.end.cpu()
        optimal = wasserstein2_per_condition(start, labels, end, labels, max_per_condition=len(start))
        energies = [self.energy.mean() if k < 0 else self.energy[labels == k].mean() for k in optimal]
        least, spent = sum(optimal.values()), float(sum(energies))
        return spent / least - 1 if least > 0 else (0.0 if spent == 0 else float("inf"))


def solve_trajectories(
    flow: Flow,
    x0: Tensor,
    cond: Tensor | None = None,
    *,
    times: Iterable[float] = (),
    guidance: float = 1.0,
    batch_size: int | None = None,
) -> Trajectories:
    """Solve the flow's own equation from ``x0`` by dopri5, in the dtype and on the device of ``x0``.

    Args:
        flow: its velocity model is used, in evaluation mode.
        x0: starts ``[n, *event]``.
        cond: their conditions.
        times: further times in [0, 1] whose states are wanted.
        guidance: strength of classifier-free guidance.
        batch_size: trajectories at once.

    Raises:
        OptionError: a tolerance that cannot be met, or guidance of a flow without a condition.
    """
    tolerance = TOLERANCE.get(x0.dtype, LOOSE)
    grid = torch.tensor(sorted({0.0, 1.0, *times})).to(x0).unique()
    velocity = partial(flow.velocity, guidance=guidance)
    with torch.no_grad(), evaluating(flow.model):
        parts = [_solve(velocity, x, c, grid, tolerance) for x, c in batches(x0, cond, batch_size)]
    states = torch.cat([part[0] for part in parts], dim=1)
    curvature = torch.cat([part[1] for part in parts])
    distance = (states[-1].double() - states[0].double()).flatten(1).square().sum(1).cpu()
    nfe = max(part[2] for part in parts)
    return Trajectories(grid, states, curvature, curvature + distance, nfe, tolerance)


def _solve(
    velocity: Velocity, x0: Tensor, cond: Tensor | None, grid: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, int]:
    """States ``[T, B, *event]``, curvature float64 ``[B]`` and evaluations of one batch."""
    counted = CountedVelocity(velocity, cond)
    first = counted(x0, 0.0)

    def right_hand_side(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        v = counted(state[0], t)
        return v, (v - first).flatten(1).square().sum(1)

    limited = Limited(right_hand_side, "evaluation's reference solution", MAX_NFE)
    start = (x0, x0.new_zeros(len(x0)))
    states, deviation = integrate(limited, start, grid, method="dopri5", rtol=tolerance, atol=tolerance)
    shift = states[-1].double() - states[0].double() - first.double()
    curvature = deviation[-1].double() - shift.flatten(1).square().sum(1)
    return states, curvature.clamp_min(0).cpu(), counted.nfe
