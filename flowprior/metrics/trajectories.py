"""A flow's own trajectories to a tight tolerance: their curvature and energy, and the errors of samplers.

Path energy ∫ ‖v_t(x_t)‖² dt; curvature ∫ ‖v_t(x_t) − (x_1 − x_0)‖² dt = path energy − ‖x_1 − x_0‖². Beside
the state e' = ‖v − v_0‖² is integrated: e(1) − ‖x_1 − x_0 − v_0‖² keeps its digits for straight flows.

Truncation errors of a sampler from the same source samples. Local: of a single step that starts on the
solution, Φ_h(x(t)) − x(t + h). Global: of the sample at the end, x̂_1 − x(1). Both are root mean squares over
samples, numbers of an event and steps, in units of the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.flow import Flow
from flowprior.flow.sampling import batches, evaluating
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo, StepMetric
from flowprior.metrics.setup import Setup, Trajectories
from flowprior.metrics.transport import wasserstein2_per_condition
from flowprior.samplers import CountedVelocity, FixedStepSampler, Sampler, Velocity
from flowprior.samplers.torchdiffeq import Limited, integrate

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Relative and absolute tolerance of dopri5; about as tight as the type allows."""
LOOSE = 1e-3
"""That of shorter types."""
MAX_NFE = 10_000


def solve_trajectories(
    flow: Flow,
    x0: Tensor,
    cond: Conditions | None = None,
    *,
    times: Iterable[float] = (),
    guidance: float = 1.0,
    batch_size: int | None = None,
) -> Trajectories:
    """Solve the flow's own equation from ``x0`` by dopri5, in the dtype and on the device of ``x0``.

    Args:
        flow: its velocity model is used, in evaluation mode.
        x0: source samples ``[n, *event]``.
        cond: their conditions.
        times: further times in [0, 1] whose states are wanted.
        guidance: strength of classifier-free guidance.
        batch_size: trajectories at once.

    Raises:
        OptionError: a tolerance that cannot be met, or guidance of a flow without a condition.
    """
    tolerance = TOLERANCE.get(x0.dtype, LOOSE)
    grid = torch.tensor(sorted({0.0, 1.0, *times})).to(x0).unique()
    velocity = flow.guided(guidance)
    with torch.no_grad(), evaluating(flow.model):
        parts = [_solve(velocity, x, c, grid, tolerance) for x, c in batches(x0, cond, batch_size)]
    states, curvature, nfe = zip(*parts, strict=True)
    states, curvature = torch.cat(states, dim=1), torch.cat(curvature)
    distance = (states[-1].double() - states[0].double()).flatten(1).square().sum(1).cpu()
    return Trajectories(grid, states, curvature, curvature + distance, max(nfe), tolerance)


def normalised_energy(trajectories: Trajectories, cond: Conditions | None) -> float:
    """(E path energy − W2²) / W2² with W2² between source samples and ends, per condition.

    0 where the flow is optimal transport along straight lines. Tong et al. 2023 (arXiv 2302.00482) take
    W2² between source samples and *data*: the same for a flow that reaches the data. The flow's own ends keep
    the value above 0 where clouds are small for their dimension.

    Args:
        trajectories: n of them.
        cond: labels ``[n]``, embeddings ``[n, E]`` (pooled) or None.
    """
    labels = cond.cpu() if isinstance(cond, Tensor) and not cond.is_floating_point() else None
    start, end, energy = trajectories.start.cpu(), trajectories.end.cpu(), trajectories.energy
    optimal = wasserstein2_per_condition(start, labels, end, labels, max_per_condition=len(start))
    energies = [energy.mean() if label < 0 else energy[labels == label].mean() for label in optimal]
    least, spent = sum(optimal.values()), float(sum(energies))
    return spent / least - 1 if least > 0 else (0.0 if spent == 0 else float("inf"))


def global_error(x: Tensor, trajectories: Trajectories) -> float:
    """Root mean square of x ``[n, *event]``, solved from the same source samples, against their ends."""
    return (x.cpu().double() - trajectories.end.cpu().double()).square().mean().sqrt().item()


def local_error(
    flow: Flow,
    sampler: FixedStepSampler,
    nfe: int,
    trajectories: Trajectories,
    cond: Conditions | None = None,
    *,
    guidance: float = 1.0,
    batch_size: int | None = None,
) -> float:
    """Root mean square of the errors of single steps from the solution; costs ``nfe`` evaluations.

    Args:
        flow: whose model was solved.
        sampler: one-step method.
        nfe: evaluations that its steps spend together.
        trajectories: solved at the sampler's times, see :func:`step_times`.
        cond: the conditions of the trajectories.
        guidance: the one of the trajectories.
        batch_size: samples at once.

    Raises:
        OptionError: an ``nfe`` that the sampler cannot spend exactly.
        InputError: trajectories without the sampler's times.
    """
    velocity, squares = flow.guided(guidance), []
    with torch.no_grad(), evaluating(flow.model):
        for start, end in pairwise(step_times(sampler, nfe)):
            parts = batches(trajectories.at(start), cond, batch_size)
            steps = [sampler.step(CountedVelocity(velocity, c), x, start, end - start) for x, c in parts]
            squares.append((torch.cat(steps) - trajectories.at(end)).double().square().mean())
    return torch.stack(squares).mean().sqrt().item()


def step_times(sampler: FixedStepSampler, nfe: int) -> list[float]:
    """The times between which the sampler steps.

    Raises:
        OptionError: an ``nfe`` that it cannot spend exactly.
    """
    return sampler.times(nfe).tolist()


@Metric.register("curvature")
class Curvature(FlowMetric):
    """Curvature E∫‖v − (x1 − x0)‖² dt along the learned trajectories; 0 where one Euler step is exact."""

    needs_trajectories = True

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return {"curvature": MetricInfo(f"curvature {_solution(setup)}", setup.paths, "", "lower")}

    def values(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        assert trajectories is not None
        return {"curvature": trajectories.curvature.mean().item()}


@Metric.register("path-energy")
class PathEnergy(FlowMetric):
    """Path energy E∫‖v‖² dt over W2² between source samples and ends, less 1; 0 for straight OT."""

    needs_trajectories = True

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = f"normalised path energy: E∫‖v‖² dt / W2² − 1 {_solution(setup)}, W2² between the flow's own "
        what += f"starts and ends, {'per label' if setup.is_labelled else 'pooled'}"
        return {"path_energy": MetricInfo(what, setup.paths, "", "lower")}

    def values(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        assert trajectories is not None
        return {"path_energy": normalised_energy(trajectories, setup.conditions(setup.paths))}


@Metric.register("truncation")
class Truncation(StepMetric):
    """Global and local truncation errors of a deterministic sampler against dopri5 at a tight tolerance."""

    names = ("global_error", "local_error")

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        how = f"root mean square, {_solution(setup)}, in units of the data"
        errors = {"global_error": "global truncation error"}
        errors |= {"local_error": "local truncation error of single steps"}
        return {name: MetricInfo(f"{e}: {how}", setup.paths, "", "lower") for name, e in errors.items()}

    def values(
        self,
        setup: Setup,
        sampler: Sampler,
        nfe: int | None,
        guidance: float,
        x: Tensor,
        trajectories: Trajectories,
    ) -> dict[str, float]:
        if sampler.stochastic:
            return {}
        end = setup.flow.decode(trajectories.end)
        found = {"global_error": global_error(x[: setup.paths], replace(trajectories, states=end[None]))}
        # What a late start loses is no error of a step.
        if isinstance(sampler, FixedStepSampler) and nfe is not None and sampler.start == 0:
            cond, size = setup.asked(setup.paths), setup.batch_size
            found["local_error"] = local_error(
                setup.flow, sampler, nfe, trajectories, cond, guidance=guidance, batch_size=size
            )
        return found


def _solution(setup: Setup) -> str:
    """How the trajectories behind a value are solved, for descriptions."""
    tolerance = TOLERANCE.get(setup.flow.dtype or torch.float32, LOOSE)
    return f"of {setup.paths} trajectories solved by dopri5 to {tolerance:g}"


def _solve(
    velocity: Velocity, x0: Tensor, cond: Conditions | None, grid: Tensor, tolerance: float
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
