"""Truncation errors of a sampler against a tight solution of the same model from the same source samples.

Local: of a single step that starts on the solution, Φ_h(x(t)) − x(t + h). Global: of the sample at the end,
x̂_1 − x(1). Both are root mean squares over samples, numbers of an event and steps, in units of the data.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.flow import Flow
from flowprior.flow.sampling import batches, evaluating
from flowprior.metrics.base import Metric, MetricInfo, StepMetric
from flowprior.metrics.setup import Setup, Trajectories
from flowprior.metrics.trajectories import solution
from flowprior.samplers import CountedVelocity, FixedStepSampler, Sampler


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
    velocity, squares = partial(flow.velocity, guidance=guidance), []
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


@Metric.register("truncation")
class Truncation(StepMetric):
    """Global and local truncation errors of a deterministic sampler against dopri5 at a tight tolerance."""

    names = ("global_error", "local_error")

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        how = f"root mean square, {solution(setup)}, in units of the data"
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
