"""Metrics: pure functions, and in the same files the classes that evaluations call."""

import flowprior.metrics.accuracy
import flowprior.metrics.c2st
from flowprior.metrics.base import (
    FeatureMetric,
    FlowMetric,
    Metric,
    MetricInfo,
    SampleMetric,
    TwoSampleMetric,
)
from flowprior.metrics.bits import bits_per_dimension
from flowprior.metrics.ensembles import crps, energy_score, member_spread
from flowprior.metrics.frechet import frechet_distance
from flowprior.metrics.kernel import kernel_distance
from flowprior.metrics.manifold import precision_recall
from flowprior.metrics.memorisation import memorisation_ratio
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import normalised_energy
from flowprior.metrics.transport import (
    sliced_wasserstein2_per_condition,
    sliced_wasserstein2_squared,
    wasserstein2_per_condition,
    wasserstein2_squared,
)

__all__ = [
    "Drawn",
    "FeatureMetric",
    "FlowMetric",
    "Metric",
    "MetricInfo",
    "SampleMetric",
    "Setup",
    "TwoSampleMetric",
    "bits_per_dimension",
    "crps",
    "energy_score",
    "frechet_distance",
    "kernel_distance",
    "member_spread",
    "memorisation_ratio",
    "normalised_energy",
    "precision_recall",
    "sliced_wasserstein2_per_condition",
    "sliced_wasserstein2_squared",
    "wasserstein2_per_condition",
    "wasserstein2_squared",
]
