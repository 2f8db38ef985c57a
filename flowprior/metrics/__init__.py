"""Metrics: one a file."""

from typing import Any

from flowprior.metrics.base import (
    FlowMetric,
    Metric,
    MetricInfo,
    SampleMetric,
    StepMetric,
)
from flowprior.metrics.bits import bits_per_dimension
from flowprior.metrics.flow_measures import (
    Curvature,
    Likelihood,
    PathEnergy,
    Truncation,
)
from flowprior.metrics.frechet import FeatureMoments, frechet_distance
from flowprior.metrics.image_text import ImageText
from flowprior.metrics.kernel import (
    Kernel,
    KernelDistance,
    kernel_distance,
    polynomial_mmd2,
)
from flowprior.metrics.manifold import PrecisionRecall, precision_recall
from flowprior.metrics.memorisation import memorisation_ratio, nearest_distances
from flowprior.metrics.sample_measures import (
    Accuracy,
    Frechet,
    KernelMetric,
    Manifold,
    Memorisation,
    Sliced,
    Wasserstein,
)
from flowprior.metrics.sliced import sliced_wasserstein2_per_condition, sliced_wasserstein2_squared
from flowprior.metrics.trajectories import Trajectories, solve_trajectories
from flowprior.metrics.transport import measure_transport
from flowprior.metrics.truncation import global_error, local_error, step_times
from flowprior.metrics.wasserstein import wasserstein2_per_condition, wasserstein2_squared

__all__ = [
    "Accuracy",
    "Curvature",
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
    "Sliced",
    "StepMetric",
    "Trajectories",
    "Truncation",
    "Wasserstein",
    "bits_per_dimension",
    "frechet_distance",
    "global_error",
    "kernel_distance",
    "local_error",
    "measure_transport",
    "memorisation_ratio",
    "nearest_distances",
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
