"""Metrics: pure functions, and in the same files the classes that evaluations call."""

from typing import Any

from flowprior.metrics.base import (
    FeatureMetric,
    FlowMetric,
    Metric,
    MetricInfo,
    SampleMetric,
    StepMetric,
    TwoSampleMetric,
)
from flowprior.metrics.bits import Likelihood, bits_per_dimension
from flowprior.metrics.condition_fit import Accuracy, ImageText, clip_score
from flowprior.metrics.frechet import FeatureMoments, Frechet, frechet_distance
from flowprior.metrics.kernel import (
    Kernel,
    KernelDistance,
    KernelMetric,
    kernel_distance,
    polynomial_mmd2,
)
from flowprior.metrics.manifold import Manifold, PrecisionRecall, precision_recall
from flowprior.metrics.memorisation import Memorisation, memorisation_ratio, nearest_distances
from flowprior.metrics.setup import Drawn, Setup, Trajectories
from flowprior.metrics.trajectories import Curvature, PathEnergy, normalised_energy, solve_trajectories
from flowprior.metrics.transport import measure_transport
from flowprior.metrics.truncation import Truncation, global_error, local_error, step_times
from flowprior.metrics.wasserstein import (
    Sliced,
    Wasserstein,
    sliced_wasserstein2_per_condition,
    sliced_wasserstein2_squared,
    wasserstein2_per_condition,
    wasserstein2_squared,
)

__all__ = [
    "Accuracy",
    "Curvature",
    "Drawn",
    "FeatureMetric",
    "FeatureMoments",
    "FlowMetric",
    "Frechet",
    "ImageText",
    "Kernel",
    "KernelDistance",
    "KernelMetric",
    "Likelihood",
    "Manifold",
    "Memorisation",
    "Metric",
    "MetricInfo",
    "PathEnergy",
    "PrecisionRecall",
    "SampleMetric",
    "Setup",
    "Sliced",
    "StepMetric",
    "Trajectories",
    "Truncation",
    "TwoSampleMetric",
    "Wasserstein",
    "bits_per_dimension",
    "clip_score",
    "frechet_distance",
    "global_error",
    "kernel_distance",
    "local_error",
    "measure_transport",
    "memorisation_ratio",
    "nearest_distances",
    "normalised_energy",
    "polynomial_mmd2",
    "precision_recall",
    "sliced_wasserstein2_per_condition",
    "sliced_wasserstein2_squared",
    "solve_trajectories",
    "step_times",
    "wasserstein2_per_condition",
    "wasserstein2_squared",
]

RENAMED = {
    "Measure": "Metric",
    "SampleMeasure": "SampleMetric",
    "StepMeasure": "StepMetric",
    "FlowMeasure": "FlowMetric",
    "KernelMeasure": "KernelMetric",
}


def __getattr__(name: str) -> Any:
    """Names of the release before, for one more."""
    import warnings

    if name not in RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"flowprior.metrics.{name} is called {RENAMED[name]} now", DeprecationWarning, stacklevel=2)
    return globals()[RENAMED[name]]
