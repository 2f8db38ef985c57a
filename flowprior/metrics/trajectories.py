"""A flow's own trajectories to a tight tolerance: their curvature and energy, and the errors of samplers.

Path energy ∫ ‖v_t(x_t)‖² dt; curvature ∫ ‖v_t(x_t) − (x_1 − x_0)‖² dt = path energy − ‖x_1 − x_0‖². Beside
the state e' = ‖v − v_0‖² is integrated: e(1) − ‖x_1 − x_0 − v_0‖² keeps its digits for straight flows.

Truncation errors of a sampler from the same source samples. Local: of a single step that starts on the
solution, Φ_h(x(t)) − x(t + h). Global: of the sample at the end, x̂_1 − x(1). Both are root mean squares over
samples, numbers of an event and steps, in units of the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.flow.sampling import batches, evaluating
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo, StepMetric
from flowprior.metrics.setup import Setup
from flowprior.metrics.transport import wasserstein2_per_condition
from flowprior.samplers import CountedVelocity, FixedStepSampler, Sampler, Velocity
from flowprior.samplers.base import PLAIN, SourceOptions
from flowprior.samplers.torchdiffeq import Limited, integrate

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Relative and absolute tolerance of dopri5; about as tight as the type allows."""
LOOSE = 1e-3
"""The tolerance for shorter types."""
MAX_NFE = 10_000
"""The largest number of evaluations of a trajectory."""


@dataclass(frozen=True)
class Trajectories:
    """The solutions of n trajectories.

    Attributes:
        times: increasing ``[T]``, from 0 to 1, in the dtype of the states.
        states: ``[T, n, *event]``.
        curvature: ``[n]``, float64.
    """

    times: Tensor
    states: Tensor
    curvature: Tensor

    @property
    def start(self) -> Tensor:
        """Return x_0 ``[n, *event]``."""
        return self.states[0]

    @property
    def end(self) -> Tensor:
        """Return x_1 ``[n, *event]``."""
        return self.states[-1]

    @property
    def energy(self) -> Tensor:
        """Return the path energy ``[n]``, float64."""
        return self.curvature + (self.end.double() - self.start.double()).flatten(1).square().sum(1).cpu()

    def at(self, time: float) -> Tensor:
        """Return the states ``[n, *event]`` at one of the times that were asked for.

        Raises:
            InputError: another time.
        """
        places = (self.times == torch.tensor(time).to(self.times)).nonzero()
        if len(places) == 0:
            raise InputError(f"trajectories: no state at t={time:g}; solve for this time as well")
        return self.states[int(places[0])]


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
    grid = torch.tensor(sorted({0.0, 1.0, *times})).to(x0).unique()
    velocity, cond = flow.guided(guidance), flow.encode_condition(cond)
    with torch.no_grad(), evaluating(flow.model):
        parts = [_solve(velocity, x, c, grid) for x, c in batches(x0, cond, batch_size)]
    states, curvature = zip(*parts, strict=True)
    return Trajectories(grid, torch.cat(states, dim=1), torch.cat(curvature))


def _solve(velocity: Velocity, x0: Tensor, cond: Conditions | None, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return states ``[T, B, *event]`` and curvature float64 ``[B]`` of one batch."""
    counted, tolerance = CountedVelocity(velocity, cond), TOLERANCE.get(x0.dtype, LOOSE)
    first = counted(x0, 0.0)

    def right_hand_side(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        v = counted(state[0], t)
        return v, (v - first).flatten(1).square().sum(1)

    limited = Limited(right_hand_side, "evaluation's reference solution", MAX_NFE)
    start = (x0, x0.new_zeros(len(x0)))
    states, deviation = integrate(limited, start, grid, method="dopri5", rtol=tolerance, atol=tolerance)
    shift = states[-1].double() - states[0].double() - first.double()
    curvature = deviation[-1].double() - shift.flatten(1).square().sum(1)
    return states, curvature.clamp_min(0).cpu()


def solution_of(setup: Setup, guidance: float, options: SourceOptions = PLAIN) -> Trajectories:
    """Return the trajectories of a guidance from the first source samples of a setup, solved once."""
    key = guidance, options
    if key not in setup.solved:
        x0, cond = setup.source_samples(setup.paths, options), setup.asked(setup.paths)
        setup.solved[key] = solve_trajectories(
            setup.flow, x0, cond, times=setup.times, guidance=guidance, batch_size=setup.batch_size
        )
    return setup.solved[key]


def normalised_energy(trajectories: Trajectories, cond: Conditions | None) -> float:
    """Return (E path energy − W2²) / W2² with W2² between source samples and ends, per condition.

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


def root_mean_square(x: Tensor, y: Tensor) -> float:
    """Return the root mean square difference of x and y, both ``[n, *event]``."""
    return (x.cpu().double() - y.cpu().double()).square().mean().sqrt().item()


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
    """Return the root mean square of the errors of single steps from the solution; costs ``nfe`` evaluations.

    Args:
        flow: whose model was solved.
        sampler: one-step method.
        nfe: evaluations that its steps spend together.
        trajectories: solved at the sampler's times.
        cond: the conditions of the trajectories.
        guidance: the one of the trajectories.
        batch_size: samples at once.

    Raises:
        OptionError: an ``nfe`` that the sampler cannot spend exactly.
        InputError: trajectories without the sampler's times.
    """
    velocity, squares, cond = flow.guided(guidance), [], flow.encode_condition(cond)
    with torch.no_grad(), evaluating(flow.model):
        for start, end in pairwise(sampler.times(nfe).tolist()):
            parts = batches(trajectories.at(start), cond, batch_size)
            steps = [sampler.step(CountedVelocity(velocity, c), x, start, end - start) for x, c in parts]
            squares.append((torch.cat(steps) - trajectories.at(end)).double().square().mean())
    return torch.stack(squares).mean().sqrt().item()


@Metric.register("curvature")
class Curvature(FlowMetric):
    """Curvature E∫‖v − (x1 − x0)‖² dt along the learned trajectories; 0 where one Euler step is exact."""

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return {"curvature": MetricInfo(f"curvature {_how(setup)}", setup.paths, "", "lower")}

    def values(self, setup: Setup, guidance: float) -> dict[str, float]:
        return {"curvature": solution_of(setup, guidance).curvature.mean().item()}


@Metric.register("path-energy")
class PathEnergy(FlowMetric):
    """Path energy E∫‖v‖² dt over W2² between source samples and ends, less 1; 0 for straight OT."""

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        what = f"normalised path energy: E∫‖v‖² dt / W2² − 1 {_how(setup)}, W2² between the flow's own "
        what += f"starts and ends, {'per label' if setup.is_labelled else 'pooled'}"
        return {"path_energy": MetricInfo(what, setup.paths, "", "lower")}

    def values(self, setup: Setup, guidance: float) -> dict[str, float]:
        cond = setup.conditions(setup.paths)
        return {"path_energy": normalised_energy(solution_of(setup, guidance), cond)}


@Metric.register("truncation")
class Truncation(StepMetric):
    """Global and local truncation errors of a deterministic sampler against dopri5 at a tight tolerance."""

    names = ("global_error", "local_error")

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        how = f"root mean square, {_how(setup)}, in units of the data"
        errors = {"global_error": "global truncation error"}
        errors |= {"local_error": "local truncation error of single steps"}
        return {name: MetricInfo(f"{e}: {how}", setup.paths, "", "lower") for name, e in errors.items()}

    def values(
        self, setup: Setup, sampler: Sampler, nfe: int | None, guidance: float, x: Tensor
    ) -> dict[str, float]:
        if sampler.stochastic:
            return {}
        solved = solution_of(setup, guidance, sampler.source_options)
        found = {"global_error": root_mean_square(x[: setup.paths], setup.flow.decode(solved.end))}
        # What a late start loses is no error of a step.
        if isinstance(sampler, FixedStepSampler) and nfe is not None and sampler.start == 0:
            cond, size = setup.asked(setup.paths), setup.batch_size
            found["local_error"] = local_error(
                setup.flow, sampler, nfe, solved, cond, guidance=guidance, batch_size=size
            )
        return found


def _how(setup: Setup) -> str:
    """Describe how the trajectories behind a value are solved."""
    tolerance = TOLERANCE.get(setup.flow.dtype or torch.float32, LOOSE)
    return f"of {setup.paths} trajectories solved by dopri5 to {tolerance:g}"
