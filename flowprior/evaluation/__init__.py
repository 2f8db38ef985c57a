"""Evaluation: exact distances, the data set's classifier, one table for each flow."""

from flowprior.evaluation.bits import bits_per_dimension
from flowprior.evaluation.classifier import Classifier, accuracy_on
from flowprior.evaluation.classifier_training import data_classifier, train_classifier
from flowprior.evaluation.clip import ClipFeatures
from flowprior.evaluation.contrastive import PairHeads, PairScore, train_heads
from flowprior.evaluation.evaluate import evaluate
from flowprior.evaluation.features import FEATURES, FeatureExtractor, NetworkFeatures, as_extractor
from flowprior.evaluation.flow_measures import Curvature, Likelihood, PathEnergy, Truncation
from flowprior.evaluation.frechet import FeatureMoments, frechet_distance
from flowprior.evaluation.image_text import ImageText
from flowprior.evaluation.inception import InceptionFeatures
from flowprior.evaluation.kernel import Kernel, KernelDistance, kernel_distance, polynomial_mmd2
from flowprior.evaluation.lite0 import Lite0Features
from flowprior.evaluation.manifold import PrecisionRecall, precision_recall
from flowprior.evaluation.measure import FlowMeasure, Measure, SampleMeasure, StepMeasure
from flowprior.evaluation.memorisation import memorisation_ratio, nearest_distances
from flowprior.evaluation.result import Evaluation, Metric
from flowprior.evaluation.sample_measures import (
    Accuracy,
    Frechet,
    KernelMeasure,
    Manifold,
    Memorisation,
    Sliced,
    Wasserstein,
)
from flowprior.evaluation.samples_file import save_samples
from flowprior.evaluation.setup import Setup
from flowprior.evaluation.sliced import sliced_wasserstein2_per_condition, sliced_wasserstein2_squared
from flowprior.evaluation.sweep import sweep
from flowprior.evaluation.sweep_result import Sweep
from flowprior.evaluation.trajectories import Trajectories, solve_trajectories
from flowprior.evaluation.transport import measure_transport
from flowprior.evaluation.truncation import global_error, local_error, step_times
from flowprior.evaluation.wasserstein import wasserstein2_per_condition, wasserstein2_squared
from flowprior.pictures import save_grid, save_picture, save_scatter

__all__ = [
    "FEATURES",
    "Accuracy",
    "Classifier",
    "ClipFeatures",
    "Curvature",
    "Evaluation",
    "FeatureExtractor",
    "FeatureMoments",
    "FlowMeasure",
    "Frechet",
    "ImageText",
    "InceptionFeatures",
    "Kernel",
    "KernelDistance",
    "KernelMeasure",
    "Likelihood",
    "Lite0Features",
    "Manifold",
    "Measure",
    "Memorisation",
    "Metric",
    "NetworkFeatures",
    "PairHeads",
    "PairScore",
    "PathEnergy",
    "PrecisionRecall",
    "SampleMeasure",
    "Setup",
    "Sliced",
    "StepMeasure",
    "Sweep",
    "Trajectories",
    "Truncation",
    "Wasserstein",
    "accuracy_on",
    "as_extractor",
    "bits_per_dimension",
    "data_classifier",
    "evaluate",
    "frechet_distance",
    "global_error",
    "kernel_distance",
    "local_error",
    "measure_transport",
    "memorisation_ratio",
    "nearest_distances",
    "polynomial_mmd2",
    "precision_recall",
    "save_grid",
    "save_picture",
    "save_samples",
    "save_scatter",
    "sliced_wasserstein2_per_condition",
    "sliced_wasserstein2_squared",
    "solve_trajectories",
    "step_times",
    "sweep",
    "train_classifier",
    "train_heads",
    "wasserstein2_per_condition",
    "wasserstein2_squared",
]
