"""Metrics: pure functions, and in the same files the classes that evaluations call."""

from flowprior.metrics.accuracy import Accuracy
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
from flowprior.metrics.ensembles import (
    Crps,
    EnergyScore,
    EnsembleMetric,
    MemberSpread,
    PairedMetric,
    crps,
    energy_score,
    member_spread,
)
from flowprior.metrics.frechet import FeatureMoments, Frechet, frechet_distance
from flowprior.metrics.kernel import KernelDistance, KernelMetric, kernel_distance, polynomial_mmd2
from flowprior.metrics.manifold import Manifold, PrecisionRecall, precision_recall
from flowprior.metrics.memorisation import Memorisation, memorisation_ratio, nearest
from flowprior.metrics.setup import Drawn, Rows, Setup, Trajectories
from flowprior.metrics.trajectories import (
    Curvature,
    PathEnergy,
    Truncation,
    global_error,
    local_error,
    normalised_energy,
    solve_trajectories,
)
from flowprior.metrics.transport import (
    Sliced,
    Wasserstein,
    measure_transport,
    sliced_wasserstein2_per_condition,
    sliced_wasserstein2_squared,
    wasserstein2_per_condition,
    wasserstein2_squared,
)

__all__ = [
    "Accuracy",
    "Crps",
    "Curvature",
    "Drawn",
    "EnergyScore",
    "EnsembleMetric",
    "FeatureMetric",
    "FeatureMoments",
    "FlowMetric",
    "Frechet",
    "KernelDistance",
    "KernelMetric",
    "Likelihood",
    "Manifold",
    "MemberSpread",
    "Memorisation",
    "Metric",
    "MetricInfo",
    "PairedMetric",
    "PathEnergy",
    "PrecisionRecall",
    "Rows",
    "SampleMetric",
    "Setup",
    "Sliced",
    "StepMetric",
    "Trajectories",
    "Truncation",
    "TwoSampleMetric",
    "Wasserstein",
    "bits_per_dimension",
    "crps",
    "energy_score",
    "frechet_distance",
    "global_error",
    "kernel_distance",
    "local_error",
    "measure_transport",
    "member_spread",
    "memorisation_ratio",
    "nearest",
    "normalised_energy",
    "polynomial_mmd2",
    "precision_recall",
    "sliced_wasserstein2_per_condition",
    "sliced_wasserstein2_squared",
    "solve_trajectories",
    "wasserstein2_per_condition",
    "wasserstein2_squared",
]
