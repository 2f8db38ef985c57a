"""Metrics of the flow itself (curvature, path energy, likelihood) and of a sampler's truncation errors."""

from __future__ import annotations

from typing import ClassVar

import torch

from flowprior.errors import OptionError
from flowprior.metrics.base import FlowMeasure, Measure, StepMeasure
from flowprior.metrics.bits import bits_per_dimension, choose_divergence, levels_of
from flowprior.metrics.description import Metric
from flowprior.metrics.setup import SMALL_EVENT, Setup
from flowprior.metrics.trajectories import LOOSE, TOLERANCE, Trajectories
from flowprior.metrics.truncation import global_error, local_error
from flowprior.samplers import FixedStepSampler, Sampler

LIKELIHOODS = 64
MORE_LIKELIHOODS = 500
"""For small events."""
TOLERANCE_OF_BITS = 1e-4
"""Relative and absolute, of dopri5: it moves the figure by far less than the choice of the data does."""


def solution(setup: Setup) -> str:
    """How the trajectories behind a figure are solved."""
    tolerance = TOLERANCE.get(setup.flow.dtype or torch.float32, LOOSE)
    return f"of {setup.paths} trajectories solved by dopri5 to {tolerance:g}"


@Measure.register("truncation")
class Truncation(StepMeasure):
    """Global and local truncation errors of a deterministic sampler against dopri5 at a tight tolerance."""

    def columns(self, setup: Setup) -> dict[str, Metric]:
        what = f"root mean square, {solution(setup)}, in units of the data"
        return {
            "global_error": Metric(f"global truncation error: {what}", setup.paths, "", "lower"),
            "local_error": Metric(
                f"local truncation error of single steps: {what}", setup.paths, "", "lower"
            ),
        }

    def figures(
        self,
        setup: Setup,
        sampler: Sampler,
        nfe: int | None,
        guidance: float,
        x: torch.Tensor,
        trajectories: Trajectories,
    ) -> dict[str, float]:
        if sampler.stochastic:
            return {}
        found = {"global_error": global_error(x[: setup.paths], trajectories)}
        if isinstance(sampler, FixedStepSampler) and nfe is not None:
            cond, size = setup.conditions(setup.paths), setup.batch_size
            found["local_error"] = local_error(
                setup.flow, sampler, nfe, trajectories, cond, guidance=guidance, batch_size=size
            )
        return found


@Measure.register("curvature")
class Curvature(FlowMeasure):
    """Curvature E∫‖v − (x1 − x0)‖² dt along the learned trajectories; 0 where one Euler step is exact."""

    needs_trajectories: ClassVar[bool] = True

    def columns(self, setup: Setup) -> dict[str, Metric]:
        return {"curvature": Metric(f"curvature {solution(setup)}", setup.paths, "", "lower")}

    def figures(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        assert trajectories is not None
        return {"curvature": trajectories.curvature.mean().item()}


@Measure.register("path-energy")
class PathEnergy(FlowMeasure):
    """Path energy E∫‖v‖² dt over W2² between the flow's own starts and ends, less 1; 0 for straight OT."""

    needs_trajectories: ClassVar[bool] = True

    def columns(self, setup: Setup) -> dict[str, Metric]:
        scope = "per label" if setup.is_labelled else "pooled"
        description = (
            f"normalised path energy: E∫‖v‖² dt / W2² − 1 {solution(setup)}, W2² between the flow's own "
            f"starts and ends, {scope}"
        )
        return {"path_energy": Metric(description, setup.paths, "", "lower")}

    def figures(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        assert trajectories is not None
        return {"path_energy": trajectories.normalised_energy(setup.conditions(setup.paths))}


@Measure.register("nll")
class Likelihood(FlowMeasure):
    """Negative log-likelihood of real data in bits per dimension; the dearest of the metrics.

    Args:
        count: real data that are scored; 0 takes 64, or 500 of events of at most 16 numbers.
    """

    def __init__(self, count: int = 0) -> None:
        if count < 0:
            raise OptionError(f"metric 'nll': count={count} is not possible; choose 1 or more, or 0")
        self.count = count

    def columns(self, setup: Setup) -> dict[str, Metric]:
        x, _ = setup.reference.subset(self._count(setup))
        levels = levels_of(x)
        scale = "of the density, no dequantisation" if levels is None else f"dequantised from {levels} levels"
        divergence = choose_divergence(setup.flow.event_shape.numel())
        description = (
            f"negative log-likelihood in bits per dimension, {scale}, {divergence} divergence, dopri5 to "
            f"{TOLERANCE_OF_BITS:g}"
        )
        return {"nll_bits": Metric(description, len(x), setup.reference.describe(len(x)), "lower")}

    def figures(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        x, cond = setup.reference.subset(self._count(setup))
        levels = levels_of(x)
        x = x.to(setup.device, setup.flow.dtype or x.dtype)
        bits = bits_per_dimension(
            setup.flow,
            x,
            None if cond is None else cond.to(setup.device),
            levels=levels,
            generator=setup.generator(),
            guidance=guidance,
            batch_size=setup.batch_size,
            rtol=TOLERANCE_OF_BITS,
            atol=TOLERANCE_OF_BITS,
        )
        return {"nll_bits": bits.mean().item()}

    def _count(self, setup: Setup) -> int:
        few = setup.flow.event_shape.numel() > SMALL_EVENT
        return min(self.count or (LIKELIHOODS if few else MORE_LIKELIHOODS), len(setup.reference))
