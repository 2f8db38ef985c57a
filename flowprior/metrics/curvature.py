"""Curvature and path energy of a flow along its own trajectories; 0 where every one is a straight line."""

from __future__ import annotations

from torch import Tensor

from flowprior.metrics.base import FlowMetric, Metric, MetricInfo
from flowprior.metrics.setup import Setup
from flowprior.metrics.trajectories import Trajectories, solution
from flowprior.metrics.wasserstein import wasserstein2_per_condition


def normalised_energy(trajectories: Trajectories, cond: Tensor | None) -> float:
    """(E path energy − W2²) / W2² with W2² between the starts and the ends, per condition.

    0 where the flow is optimal transport along straight lines. Tong et al. 2023 (arXiv 2302.00482) take
    W2² between source samples and *data*: the same for a flow that reaches the data. The flow's own ends keep
    the value above 0 where clouds are small for their dimension.

    Args:
        trajectories: n of them.
        cond: labels ``[n]``, embeddings ``[n, E]`` (pooled) or None.
    """
    labels = cond.cpu() if cond is not None and not cond.is_floating_point() else None
    start, end, energy = trajectories.start.cpu(), trajectories.end.cpu(), trajectories.energy
    optimal = wasserstein2_per_condition(start, labels, end, labels, max_per_condition=len(start))
    energies = [energy.mean() if label < 0 else energy[labels == label].mean() for label in optimal]
    least, spent = sum(optimal.values()), float(sum(energies))
    return spent / least - 1 if least > 0 else (0.0 if spent == 0 else float("inf"))


@Metric.register("curvature")
class Curvature(FlowMetric):
    """Curvature E∫‖v − (x1 − x0)‖² dt along the learned trajectories; 0 where one Euler step is exact."""

    needs_trajectories = True

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return {"curvature": MetricInfo(f"curvature {solution(setup)}", setup.paths, "", "lower")}

    def values(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        assert trajectories is not None
        return {"curvature": trajectories.curvature.mean().item()}


@Metric.register("path-energy")
class PathEnergy(FlowMetric):
    """Path energy E∫‖v‖² dt over W2² between the flow's own starts and ends, less 1; 0 for straight OT."""

    needs_trajectories = True

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        scope = "per label" if setup.is_labelled else "pooled"
        description = (
            f"normalised path energy: E∫‖v‖² dt / W2² − 1 {solution(setup)}, W2² between the flow's own "
            f"starts and ends, {scope}"
        )
        return {"path_energy": MetricInfo(description, setup.paths, "", "lower")}

    def values(self, setup: Setup, guidance: float, trajectories: Trajectories | None) -> dict[str, float]:
        assert trajectories is not None
        return {"path_energy": normalised_energy(trajectories, setup.conditions(setup.paths))}
